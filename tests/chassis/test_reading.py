"""One chat is read from any cursor, watched without a gap, and its small values are found."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import AppId, ChatId, UserId
from infra.servers import NatsServer
from services.chassis import direct_get
from services.chassis.bus import Bus
from services.chassis.event_log import decision_of
from tests.chassis.story import (
    Chat,
    bus_of,
    chunk,
    events_of,
    many,
    new_chat,
    said,
    seqs,
    texts,
    until,
)

pytestmark = [pytest.mark.broker]
LONG_AGO = "2020-01-01T00:00:00Z"


async def interleaved(bus: Bus, dice: random.Random) -> list[Chat]:
    """Chats of very different lengths, their events strewn over the stream."""
    chats = [Chat(bus, new_chat()) for _ in range(5)]
    for _ in range(60):
        [chat] = dice.choices(chats, weights=[1, 2, 4, 16, 32])
        await chat.append(*many(dice.randint(1, 4)))
    return chats


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_chat_is_read_from_any_cursor(bus: Bus, seed: int) -> None:
    for chat in await interleaved(bus, random.Random(seed)):
        for cursor in range(chat.seq + 3):
            read = await chat.past(cursor)
            assert seqs(read) == list(range(cursor + 1, chat.seq + 1))


async def test_a_cursor_in_a_long_chat_beside_a_longer_one_is_found(bus: Bus) -> None:
    chat, noise = Chat(bus, new_chat()), Chat(bus, new_chat())
    for _ in range(3):
        await chat.append(*many(40))
        for _ in range(50):
            await noise.append(*many(3))
    for cursor in (1, 39, 40, 41, 79, 80, 81, 119, 120):
        read = await chat.past(cursor)
        assert seqs(read) == list(range(cursor + 1, 121))


async def test_a_chat_of_several_pages_is_read_whole(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_get, "PAGE", 7)
    for number in range(30):
        await chat.append(*many(number % 3 + 1))
    assert seqs(await chat.stored()) == list(range(1, 61))


async def test_a_chat_is_read_past_a_place(chat: Chat) -> None:
    await chat.append(*many(3))
    place = chat.place
    expected: list[str] = []
    for text in ("later", "and later"):
        await chat.append(said(text))
        expected.append(text)
        read = events_of([one async for one in chat.bus.events.read(chat.key, after=place)])
        assert texts(read) == expected


async def test_what_a_chat_began_with_and_how_far_it_goes_are_found(chat: Chat) -> None:
    await Chat(chat.bus, new_chat()).append(said("noise"))
    await chat.append(*many(4))
    await chat.append(*many(1))
    await Chat(chat.bus, new_chat()).append(said("noise"))
    first = await chat.bus.events.first(chat.key)
    assert first is not None
    assert seqs(first.events) == [1, 2, 3, 4]
    assert await chat.bus.events.last_position(chat.key) == chat.place.position


async def test_a_chat_that_never_was_is_empty(bus: Bus) -> None:
    nobody = Chat(bus)
    assert await bus.events.first(nobody.key) is None
    assert await bus.events.last_position(nobody.key) == 0
    assert await nobody.stored() == []
    assert await nobody.past(3) == []


async def test_many_readers_at_once_read_the_same(chat: Chat) -> None:
    for _ in range(100):
        await chat.append(*many(3))

    async def read() -> list[int]:
        return seqs(await chat.past(100))

    assert await asyncio.gather(*(read() for _ in range(20))) == [list(range(101, 301))] * 20


async def test_watching_misses_nothing_from_the_moment_it_began(chat: Chat) -> None:
    await chat.append(*many(5))
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    other = Chat(chat.bus, new_chat())
    async with chat.bus.watching(chat.key, hear):
        for _ in range(20):
            await asyncio.gather(chat.append(*many(3)), other.append(said("not for these ears")))
        await until(lambda: len(heard) >= 20)
    await chat.append(said("too late"))
    commits = (await chat.commits())[1:21]
    found = [decision_of(message) for message in heard]
    assert [decision.events for _, decision in found] == [one.events for one in commits]
    assert [position for position, _ in found] == [one.place.position for one in commits]
    assert [subjects.parse(message.subject).key for message in heard] == [chat.key] * 20


async def test_history_and_watching_together_leave_no_gap(bus: Bus) -> None:
    chat = Chat(bus, new_chat())
    heard: list[int] = []

    async def hear(message: Msg) -> None:
        heard.extend(seqs(decision_of(message)[1].events))

    async def write() -> None:
        while chat.seq < 200:
            await chat.append(said("and on"))

    writing = asyncio.create_task(write())
    await until(lambda: chat.seq > 20)
    async with bus.watching(chat.key, hear):
        history = seqs(await chat.stored())
        await writing
        await until(lambda: bool(heard) and heard[-1] == chat.seq)
    seen = sorted({*history, *heard})
    assert seen == list(range(1, 201))
    assert all(later == earlier + 1 for earlier, later in pairwise(heard))


async def test_streamed_text_is_heard_and_read_again_in_order(chat: Chat) -> None:
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        assert subjects.parse(message.subject).leaf == "delta"
        heard.append(message.data)

    chunks = [chunk(place, "ü") for place in range(30)]
    async with chat.bus.watching(chat.key, hear):
        for one in chunks:
            await chat.bus.show(chat.key, one)
        await chat.bus.show(new_chat(), chunk(0, "elsewhere"))
        await until(lambda: len(heard) >= 30)
    assert await chat.bus.read_deltas(chat.key, since=LONG_AGO) == chunks
    assert [one.model_dump_json().encode() for one in chunks] == heard


async def test_streamed_text_of_several_pages_is_read_whole(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_get, "PAGE", 7)
    heard: list[Msg] = []

    async def hear(message: Msg) -> None:
        heard.append(message)

    async with chat.bus.watching(chat.key, hear):
        for place in range(23):
            await chat.bus.show(chat.key, chunk(place, "x"))
        await until(lambda: len(heard) >= 23)
    read = await chat.bus.read_deltas(chat.key, since=LONG_AGO)
    assert [one.offset for one in read] == list(range(23))


async def test_there_is_no_streamed_text_before_any_was_streamed(chat: Chat) -> None:
    assert await chat.bus.read_deltas(chat.key, since=LONG_AGO) == []


async def test_there_is_no_streamed_text_from_the_future(chat: Chat) -> None:
    await chat.bus.show(chat.key, chunk(0, "now"))
    await chat.bus.nc.flush()
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert await chat.bus.read_deltas(chat.key, since=tomorrow) == []


async def test_what_is_only_shown_is_lost_while_nats_is_away_and_nothing_fails(
    own_nats: NatsServer,
) -> None:
    async with bus_of(own_nats) as bus:
        chat = Chat(bus)
        await chat.append(said("before"))
        await asyncio.to_thread(own_nats.kill)
        await until(lambda: not bus.nc.is_connected)
        for place in range(4):  # more than is held back for the time after
            await bus.show(chat.key, chunk(place, 900_000 * "x"))
        await asyncio.to_thread(own_nats.start)
        await chat.append(said("after"))
        await bus.nc.close()
        await bus.show(chat.key, chunk(4, "x"))


async def test_only_living_values_under_the_prefix_are_found(bus: Bus) -> None:
    app, ana, anna = AppId(new_chat().chat), UserId("ana"), UserId("ana.a")
    bucket = await bus.bucket(subjects.CHATS)

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
    assert sorted(await bus.values_under(subjects.CHATS, prefix)) == [b"new", b"odd"]
    assert await bus.values_under(subjects.CHATS, f"{prefix}x") == []


async def test_the_value_written_last_stands_at_the_end_however_many_there_are(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct_get, "PAGE", 5)
    app, bucket = AppId(new_chat().chat), await bus.bucket(subjects.CHATS)
    for number in [*range(12), 3]:
        key = subjects.chat_summary_key(app, UserId("ana"), ChatId(f"{number}"))
        await bucket.put(key, f"{number}".encode())
    prefix = subjects.user_summaries_prefix(app, UserId("ana"))
    found = [int(value) for value in await bus.values_under(subjects.CHATS, prefix)]
    assert found == [0, 1, 2, *range(4, 12), 3]


async def test_an_empty_prefix_finds_the_whole_bucket(bus: Bus) -> None:
    bucket = await bus.bucket(subjects.WORKFLOWS)
    await bucket.put("Hello", b"hello")
    await bucket.put("Generator", b"generator")
    assert {b"hello", b"generator"} <= set(await bus.values_under(subjects.WORKFLOWS, ""))
