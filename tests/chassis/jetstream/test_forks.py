"""The log of a fork begins with the events of its origin, which stay where they are."""

from contextlib import aclosing
from itertools import pairwise
from typing import Any

import pytest

from contracts import subjects
from contracts.event_log import EMPTY
from contracts.events.chat import ChatCompleted, ChatForked, ChatStarted, Segment
from contracts.events.turn import USER, SpeakerSelected
from contracts.forks import ForkPositionError, segments_before
from contracts.ids import AppId, ChatKey, Seq, StreamSeq
from services.chassis.jetstream.direct_get import DirectReader
from services.chassis.jetstream.event_log import OriginLostError, Place
from services.chassis.jetstream.forks import LocatedFork, locate_fork, read_origin
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.chassis.story import ANA, Chat, events_of, many, new_chat, said, seqs

pytestmark = pytest.mark.broker

STARTED = ChatStarted(user_id=ANA, seed=7)
YOUR_TURN = SpeakerSelected(turn=2, agent=USER, by="after_work")


async def started(gateway: JetStreamGateway, messages: int = 6) -> Chat:
    """A chat of `messages` messages with three events each after its first."""
    chat = Chat(gateway, new_chat())
    await chat.append(STARTED)
    for _ in range(messages):
        await chat.append(*many(3))
    return chat


async def located(gateway: JetStreamGateway, origin: Chat, seq: int) -> LocatedFork:
    read = await read_origin(gateway.events, origin.key)
    assert read is not None
    found = await locate_fork(gateway.events, origin.key, read, Seq(seq))
    assert found is not None
    again = await locate_fork(gateway.events, origin.key, read, Seq(seq), found.position)
    assert found == again
    return found


async def forked(gateway: JetStreamGateway, origin: Chat, seq: int) -> Chat:
    """A fork of a chat, with its first message."""
    found = await located(gateway, origin, seq)
    head = found.point.head
    event = ChatForked(
        user_id=ANA, origin=origin.key.chat, seq=head.seq, segments=list(found.segments)
    )
    fork = Chat(gateway, new_chat(), Place(StreamSeq(0), head))
    await fork.append(event)
    return fork


async def test_a_fork_is_read_as_one_chain_of_events_from_the_first_on(
    gateway: JetStreamGateway,
) -> None:
    origin = await started(gateway)
    fork = await forked(gateway, origin, 10)
    await fork.append(*many(2))
    read = await fork.stored()
    assert seqs(read) == list(range(1, 14))
    assert [one.envelope.chat_id for one in read[:10]] == [origin.key.chat] * 10
    assert [one.envelope.chat_id for one in read[10:]] == [fork.key.chat] * 3
    heads = [EMPTY.digest, *(one.head.digest for one in read)]
    assert all(
        (one.envelope.previous or "") == head for one, head in zip(read, heads, strict=False)
    )
    assert [one.data for one in read[:10]] == [one.data for one in (await origin.stored())[:10]]


async def test_what_happens_in_one_chat_after_the_fork_is_not_in_the_other(
    gateway: JetStreamGateway,
) -> None:
    origin = await started(gateway)
    fork = await forked(gateway, origin, 4)
    await fork.append(said("in the fork"))
    await origin.append(said("in the origin"))
    assert seqs(await origin.stored()) == list(range(1, 21))
    assert seqs(await fork.stored()) == list(range(1, 7))


async def test_forks_of_forks_are_read_from_the_chats_that_hold_the_events(
    gateway: JetStreamGateway,
) -> None:
    first = await started(gateway)
    second = await forked(gateway, first, 7)
    await second.append(*many(4))  # 9 to 12
    third = await forked(gateway, second, 12)
    beside = await forked(gateway, second, 4)  # of an event that the first chat holds
    assert [one.envelope.chat_id for one in await third.stored()] == [
        *[first.key.chat] * 7,
        *[second.key.chat] * 5,
        third.key.chat,
    ]
    assert [one.envelope.chat_id for one in await beside.stored()] == [
        *[first.key.chat] * 4,
        beside.key.chat,
    ]


async def test_a_fork_is_read_from_any_cursor(gateway: JetStreamGateway) -> None:
    first = await started(gateway, 14)
    second = await forked(gateway, first, 40)
    await second.append_each(9)
    third = await forked(gateway, second, 47)
    await third.append_each(36)
    for chat in (second, third):
        for cursor in (0, 1, 2, 5, *range(36, chat.seq + 2, 3)):
            assert seqs(await chat.past(cursor)) == list(range(cursor + 1, chat.seq + 1)), cursor


async def test_a_part_of_a_fork_is_read_without_the_whole_history(
    gateway: JetStreamGateway,
) -> None:
    origin = await started(gateway, 30)
    fork = await forked(gateway, origin, 91)
    await fork.append_each(3)
    for start, last in ((1, 1), (40, 41), (88, 93), (92, 95)):
        reading = gateway.events.read_part(fork.key, Seq(start), Seq(last), known=fork.place)
        read = seqs(events_of([one async for one in reading]))
        assert set(read) >= set(range(start, last + 1))
        assert read[-1] <= last + 3


async def test_a_reader_goes_on_from_any_place_at_which_it_was_cut_off(
    gateway: JetStreamGateway,
) -> None:
    first = await started(gateway)
    second = await forked(gateway, first, 7)
    await second.append(*many(4))
    third = await forked(gateway, second, 12)
    await third.append_each(2)
    commits = await third.commits()
    assert all(one.place.position <= later.place.position for one, later in pairwise(commits))
    for cut in commits:
        rest = [one async for one in gateway.events.read(third.key, after=cut.place)]
        assert seqs(events_of(rest)) == list(range(cut.place.head.seq + 1, third.seq + 1))


async def test_the_first_event_of_a_fork_is_its_own(gateway: JetStreamGateway) -> None:
    origin = await started(gateway)
    fork = await forked(gateway, origin, 4)
    found = await gateway.events.first(fork.key)
    assert found is not None
    assert seqs(found.events) == [5]
    read = await read_origin(gateway.events, fork.key)
    assert read is not None
    assert read.user == ANA
    assert await gateway.events.last_seq(fork.key) == 5


async def test_a_position_within_a_message_means_its_end(gateway: JetStreamGateway) -> None:
    origin = await started(gateway)
    assert [(await located(gateway, origin, seq)).point.head.seq for seq in range(1, 9)] == [
        *[1],
        *[4] * 3,
        *[7] * 3,
        *[10],
    ]


async def test_a_fork_does_not_take_over_the_end_of_its_origin(gateway: JetStreamGateway) -> None:
    origin = await started(gateway, 1)
    await origin.append(said("last"), ChatCompleted(reason="terminate", turns=1))
    for seq in (5, 6):
        assert (await located(gateway, origin, seq)).point.head.seq == 5
    fork = await forked(gateway, origin, 6)
    assert seqs(await fork.stored()) == [1, 2, 3, 4, 5, 6]


async def test_nothing_is_to_be_run_where_the_user_is_to_speak(gateway: JetStreamGateway) -> None:
    origin = await started(gateway, 1)
    assert not (await located(gateway, origin, 4)).point.waits_for_user
    await origin.append(said("Hello"), YOUR_TURN)
    assert (await located(gateway, origin, 6)).point.waits_for_user


async def test_a_chat_or_an_event_that_is_not_there_is_not_located(
    gateway: JetStreamGateway,
) -> None:
    origin = await started(gateway, 1)
    read = await read_origin(gateway.events, origin.key)
    assert read is not None
    assert await locate_fork(gateway.events, origin.key, read, Seq(5)) is None
    other_app = ChatKey(AppId("other"), origin.key.chat)
    for nowhere in (new_chat(), other_app):
        assert await read_origin(gateway.events, nowhere) is None
        assert await locate_fork(gateway.events, nowhere, read, Seq(1)) is None


async def test_a_position_is_located_by_few_reads_whatever_the_length_of_the_chat(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = await started(gateway, 300)
    reads = 0
    for name in ("_ask", "_direct_get"):
        usual = getattr(DirectReader, name)

        async def counted(*query: Any, usual: Any = usual) -> Any:
            nonlocal reads
            reads += 1
            return await usual(*query)

        monkeypatch.setattr(DirectReader, name, counted)
    for seq in (1, 2, 450, 899, 901):
        reads = 0
        assert (await located(gateway, origin, seq)).point.head.seq >= seq
        assert reads <= 10, seq


async def test_a_fork_whose_origin_is_gone_cannot_be_read(gateway: JetStreamGateway) -> None:
    origin = await started(gateway)
    fork = await forked(gateway, origin, 10)
    await gateway.js.purge_stream(subjects.EVENTS, subject=subjects.events_of(origin.key))
    with pytest.raises(OriginLostError) as lost:
        async with aclosing(gateway.events.read(fork.key)) as commits:  # type: ignore[type-var]
            [one async for one in commits]
    assert lost.value.origin == origin.key


async def test_forks_of_forks_are_limited(gateway: JetStreamGateway) -> None:
    chat, segments = (await started(gateway, 0)).key.chat, tuple[Segment, ...]()
    for number in range(1, 65):
        segments = segments_before(chat, segments, Seq(number))
        chat = new_chat().chat
    with pytest.raises(ForkPositionError, match="64 deep"):
        segments_before(chat, segments, Seq(65))
