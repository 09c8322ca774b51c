"""A chat is read from any cursor, subscribed to without a gap, and its values are listed."""

import asyncio
import random
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import AppId, ChatId, Seq, StreamSeq, UserId
from infra.servers import NatsServer
from services.chassis.jetstream import direct_get
from services.chassis.jetstream.event_log import Place, decision_of
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.chassis.story import (
    Chat,
    chunk,
    events_of,
    gateway_of,
    many,
    new_chat,
    said,
    seqs,
    texts,
    until,
)

pytestmark = [pytest.mark.broker]
LONG_AGO = "2020-01-01T00:00:00Z"


async def interleaved(gateway: JetStreamGateway, dice: random.Random) -> list[Chat]:
    """Chats of very different lengths, their events mixed in the stream."""
    chats = [Chat(gateway, new_chat()) for _ in range(5)]
    for _ in range(60):
        [chat] = dice.choices(chats, weights=[1, 2, 4, 16, 32])
        await chat.append(*many(dice.randint(1, 4)))
    return chats


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_chat_is_read_from_any_cursor(gateway: JetStreamGateway, seed: int) -> None:
    for chat in await interleaved(gateway, random.Random(seed)):
        for cursor in range(chat.seq + 3):
            read = await chat.past(cursor)
            assert seqs(read) == list(range(cursor + 1, chat.seq + 1))


async def test_a_cursor_in_a_long_chat_beside_a_longer_one_is_found(
    gateway: JetStreamGateway,
) -> None:
    chat, noise = Chat(gateway, new_chat()), Chat(gateway, new_chat())
    for _ in range(3):
        await chat.append(*many(40))
        for _ in range(50):
            await noise.append(*many(3))
    for cursor in (1, 39, 40, 41, 79, 80, 81, 119, 120):
        read = await chat.past(cursor)
        assert seqs(read) == list(range(cursor + 1, 121))


async def test_a_place_in_a_chat_is_found_by_few_reads_wherever_its_messages_lie(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    evenly, unevenly, noise = (Chat(gateway, new_chat()) for _ in range(3))
    await unevenly.append_each(100)
    for _ in range(200):
        await evenly.append(*many(2))
        await noise.append(*many(3))
    await unevenly.append_each(5)
    reads = 0
    usual = direct_get.DirectReader.next

    async def counted(*query: Any) -> Any:
        nonlocal reads
        reads += 1
        return await usual(*query)

    monkeypatch.setattr(direct_get.DirectReader, "next", counted)
    for chat, most in ((evenly, 6), (unevenly, 24)):
        for cursor in range(1, chat.seq, 7):
            reads = 0
            assert seqs(await chat.past(cursor)) == list(range(cursor + 1, chat.seq + 1))
            assert reads <= most, cursor


async def test_a_chat_is_read_from_a_message_that_is_known(gateway: JetStreamGateway) -> None:
    for chat in await interleaved(gateway, random.Random(4)):
        known = [commit async for commit in gateway.events.read(chat.key)]
        for commit in known:
            near, first = commit.place.position, commit.events[0].envelope.seq
            reading = gateway.events.read_from(
                chat.key, Seq(first - 1), known=chat.place, near=near
            )
            read = events_of([one async for one in reading])
            assert seqs(read)[-1] == chat.seq
            assert set(seqs(read)) >= set(range(first, chat.seq + 1))


async def test_a_part_of_a_chat_is_read_without_what_follows(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    for _ in range(30):
        await chat.append(*many(3))
    commits = [commit async for commit in gateway.events.read(chat.key)]
    for first, last in ((1, 1), (1, 90), (40, 41), (45, 60), (90, 90)):
        near = commits[(first - 1) // 3].place.position
        for position in (near, None):
            reading = gateway.events.read_part(
                chat.key, Seq(first), Seq(last), known=chat.place, near=position
            )
            read = seqs(events_of([one async for one in reading]))
            assert set(read) >= set(range(first, last + 1))
            assert read[-1] <= last + 2


async def test_a_known_message_that_is_not_there_any_more_hides_nothing(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(*many(5))
    garbage = (await gateway.js.publish(subjects.event(chat.key, "runtime"), b"nonsense")).seq
    chat.place = Place(StreamSeq(garbage), chat.place.head)
    await chat.append(*many(5))
    for near in (garbage, garbage - 1, garbage + 1000):
        reading = gateway.events.read_from(chat.key, Seq(7), known=chat.place, near=StreamSeq(near))
        read = seqs(events_of([one async for one in reading]))
        assert [seq for seq in read if seq > 7] == [8, 9, 10]


async def test_a_chat_of_several_pages_is_read_completely(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_get, "PAGE", 7)
    for number in range(30):
        await chat.append(*many(number % 3 + 1))
    assert seqs(await chat.stored()) == list(range(1, 61))


async def test_a_chat_is_read_after_a_place(chat: Chat) -> None:
    await chat.append(*many(3))
    place = chat.place
    expected: list[str] = []
    for text in ("later", "and later"):
        await chat.append(said(text))
        expected.append(text)
        read = events_of([one async for one in chat.gateway.events.read(chat.key, after=place)])
        assert texts(read) == expected


async def test_the_first_event_and_the_last_position_of_a_chat_are_found(chat: Chat) -> None:
    await Chat(chat.gateway, new_chat()).append(said("noise"))
    await chat.append(*many(4))
    await chat.append(*many(1))
    await Chat(chat.gateway, new_chat()).append(said("noise"))
    first = await chat.gateway.events.first(chat.key)
    assert first is not None
    assert seqs(first.events) == [1, 2, 3, 4]
    assert await chat.gateway.events.last_position(chat.key) == chat.place.position


async def test_an_unknown_chat_is_empty(gateway: JetStreamGateway) -> None:
    nobody = Chat(gateway)
    assert await gateway.events.first(nobody.key) is None
    assert await gateway.events.last_position(nobody.key) == 0
    assert await nobody.stored() == []
    assert await nobody.past(3) == []


async def test_many_readers_at_once_read_the_same(chat: Chat) -> None:
    for _ in range(100):
        await chat.append(*many(3))

    async def read() -> list[int]:
        return seqs(await chat.past(100))

    assert await asyncio.gather(*(read() for _ in range(20))) == [list(range(101, 301))] * 20


async def test_a_subscription_misses_nothing_once_it_is_confirmed(chat: Chat) -> None:
    await chat.append(*many(5))
    heard: list[Msg] = []

    def hear(message: Msg) -> None:
        heard.append(message)

    other = Chat(chat.gateway, new_chat())
    async with aclosing(await chat.gateway.live.subscribe(chat.key, hear)):
        for _ in range(20):
            await asyncio.gather(chat.append(*many(3)), other.append(said("not for these ears")))
        await until(lambda: len(heard) >= 20)
    await chat.append(said("too late"))
    commits = (await chat.commits())[1:21]
    found = [decision_of(message) for message in heard]
    assert [decision.events for _, decision in found] == [one.events for one in commits]
    assert [position for position, _ in found] == [one.place.position for one in commits]
    assert [subjects.parse(message.subject).key for message in heard] == [chat.key] * 20


async def test_history_and_subscription_together_leave_no_gap(gateway: JetStreamGateway) -> None:
    chat = Chat(gateway, new_chat())
    heard: list[int] = []

    def hear(message: Msg) -> None:
        heard.extend(seqs(decision_of(message)[1].events))

    async def write() -> None:
        while chat.seq < 200:
            await chat.append(said("and on"))

    writing = asyncio.create_task(write())
    await until(lambda: chat.seq > 20)
    async with aclosing(await gateway.live.subscribe(chat.key, hear)):
        history = seqs(await chat.stored())
        await writing
        await until(lambda: bool(heard) and heard[-1] == chat.seq)
    seen = sorted({*history, *heard})
    assert seen == list(range(1, 201))
    assert all(later == earlier + 1 for earlier, later in pairwise(heard))


async def test_streamed_text_is_received_and_read_again_in_order(chat: Chat) -> None:
    heard: list[bytes] = []

    def hear(message: Msg) -> None:
        assert subjects.parse(message.subject).leaf == "delta"
        heard.append(message.data)

    chunks = [chunk(place, "ü") for place in range(30)]
    async with aclosing(await chat.gateway.live.subscribe(chat.key, hear)):
        for one in chunks:
            await chat.gateway.live.publish_delta(chat.key, one)
        await chat.gateway.live.publish_delta(new_chat(), chunk(0, "elsewhere"))
        await until(lambda: len(heard) >= 30)
    assert await chat.gateway.live.read_deltas(chat.key, since=LONG_AGO) == chunks
    assert [one.model_dump_json().encode() for one in chunks] == heard


async def test_streamed_text_of_several_pages_is_read_completely(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_get, "PAGE", 7)
    heard: list[Msg] = []

    def hear(message: Msg) -> None:
        heard.append(message)

    async with aclosing(await chat.gateway.live.subscribe(chat.key, hear)):
        for place in range(23):
            await chat.gateway.live.publish_delta(chat.key, chunk(place, "x"))
        await until(lambda: len(heard) >= 23)
    read = await chat.gateway.live.read_deltas(chat.key, since=LONG_AGO)
    assert [one.offset for one in read] == list(range(23))


async def test_there_is_no_streamed_text_before_any_was_streamed(chat: Chat) -> None:
    assert await chat.gateway.live.read_deltas(chat.key, since=LONG_AGO) == []


async def test_there_is_no_streamed_text_from_the_future(chat: Chat) -> None:
    await chat.gateway.live.publish_delta(chat.key, chunk(0, "now"))
    await chat.gateway.nc.flush()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await chat.gateway.live.read_deltas(chat.key, since=tomorrow) == []


async def test_deltas_are_dropped_without_an_error_while_nats_is_unavailable(
    own_nats: NatsServer,
) -> None:
    async with gateway_of(own_nats) as gateway:
        chat = Chat(gateway)
        await chat.append(said("before"))
        await asyncio.to_thread(own_nats.kill)
        await until(lambda: not gateway.nc.is_connected)
        for place in range(4):  # more than the client buffers
            await gateway.live.publish_delta(chat.key, chunk(place, 900_000 * "x"))
        await asyncio.to_thread(own_nats.start)
        await chat.append(said("after"))
        await gateway.nc.close()
        await gateway.live.publish_delta(chat.key, chunk(4, "x"))


async def test_only_values_below_the_prefix_that_are_not_deleted_are_listed(
    gateway: JetStreamGateway,
) -> None:
    app, ana, anna = AppId(new_chat().chat), UserId("ana"), UserId("ana.a")
    bucket = await gateway.key_values.bucket(subjects.CHATS)

    def key(user: UserId, chat: str) -> str:
        return subjects.chat_summary_key(app, user, ChatId(chat))

    for user, name, value in [
        (ana, "kept", b"old"),
        (ana, "kept", b"new"),
        (ana, "deleted", b"x"),
        (ana, "purged", b"x"),
        (ana, "with space", b"odd"),
        (anna, "kept", b"theirs"),
    ]:
        await bucket.put(key(user, name), value)
    await bucket.delete(key(ana, "deleted"))
    await bucket.purge(key(ana, "purged"))
    prefix = subjects.user_summaries_prefix(app, ana)
    assert sorted(await gateway.key_values.list_values(subjects.CHATS, prefix)) == [b"new", b"odd"]
    assert await gateway.key_values.list_values(subjects.CHATS, f"{prefix}x") == []


async def test_the_value_written_last_is_at_the_end_of_any_number(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_get, "PAGE", 5)
    app, bucket = AppId(new_chat().chat), await gateway.key_values.bucket(subjects.CHATS)
    for number in [*range(12), 3]:
        key = subjects.chat_summary_key(app, UserId("ana"), ChatId(f"{number}"))
        await bucket.put(key, f"{number}".encode())
    prefix = subjects.user_summaries_prefix(app, UserId("ana"))
    found = [int(value) for value in await gateway.key_values.list_values(subjects.CHATS, prefix)]
    assert found == [0, 1, 2, *range(4, 12), 3]


async def test_an_empty_prefix_lists_the_whole_bucket(gateway: JetStreamGateway) -> None:
    bucket = await gateway.key_values.bucket(subjects.WORKFLOWS)
    await bucket.put("Hello", b"hello")
    await bucket.put("Generator", b"generator")
    assert {b"hello", b"generator"} <= set(
        await gateway.key_values.list_values(subjects.WORKFLOWS, "")
    )
