"""Facts are stored all or none, once, in order: whatever happens to the server meanwhile."""

import asyncio
import os
import random
import signal

import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from contracts.codec import encode
from contracts.events.business import BusinessLogged
from contracts.ids import StreamSeq
from infra.servers import NatsServer
from services.chassis import bus as chassis
from services.chassis.bus import (
    HEADER_BYTES,
    MAX_BATCH,
    Bus,
    PositionConflictError,
    RefusedError,
    Stored,
    UnavailableError,
)
from tests.chassis.story import Chat, many, new_chat, said, seqs, texts, told, until

pytestmark = [pytest.mark.broker]
START = StreamSeq(0)


@pytest.mark.parametrize("count", [1, 2, 7, MAX_BATCH])
async def test_what_is_appended_is_read_back_byte_for_byte(bus: Bus, count: int) -> None:
    key = new_chat()
    envelopes = told(key, many(count))
    reached = await bus.append(envelopes, after=START)
    stored = [one async for one in bus.read(key, after=START)]
    assert [one.envelope() for one in stored] == envelopes
    assert stored[-1].position == reached
    assert [one.position for one in stored] == sorted({one.position for one in stored})


async def test_appends_follow_one_another(chat: Chat) -> None:
    for count in (1, 3, 1, 2):
        await chat.append(*many(count))
    assert seqs(await chat.stored()) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("count", [1, 4])
async def test_a_stale_append_is_refused_with_nothing_stored_or_shown(
    chat: Chat, count: int
) -> None:
    first = await chat.append(said("first"))
    heard: list[bytes] = []

    async def hear(message: Msg) -> None:
        heard.append(message.data)

    async with chat.bus.watching(chat.key, hear):
        await chat.append(said("second"))
        stale = told(chat.key, [said("stale")] * count, after=1)
        for after in (START, first):
            with pytest.raises(PositionConflictError):
                await chat.bus.append(stale, after=after)
        await chat.append(said("third"))
        await until(lambda: len(heard) > 1)
    assert [one.data for one in (await chat.stored())[1:]] == heard
    assert texts(await chat.stored()) == ["first", "second", "third"]


async def test_a_position_that_is_not_reached_yet_is_refused(chat: Chat) -> None:
    reached = await chat.append(said("first"))
    with pytest.raises(PositionConflictError):
        await chat.bus.append(
            told(chat.key, [said("ahead")], after=1), after=StreamSeq(reached + 1000)
        )
    assert seqs(await chat.stored()) == [1]


async def test_of_many_who_append_at_once_one_wins_and_nothing_interleaves(
    nats: NatsServer, bus: Bus
) -> None:
    key = new_chat()

    async def write(name: int) -> bool:
        try:
            await bus.append(told(key, [said(f"{name}")] * 3), after=START)
        except PositionConflictError:
            return False
        return True

    assert nats.child.running
    won = await asyncio.gather(*(write(name) for name in range(20)))
    winner = won.index(True)
    assert sum(won) == 1
    stored = [one async for one in bus.read(key, after=START)]
    assert texts(stored) == [f"{winner}"] * 3


async def test_a_refused_append_may_be_made_again_from_where_the_chat_is(chat: Chat) -> None:
    first = await chat.append(said("first"))
    with pytest.raises(PositionConflictError):
        await chat.bus.append(told(chat.key, [said("a"), said("b")], after=0), after=START)
    await chat.bus.append(told(chat.key, [said("a"), said("b")], after=1), after=first)
    assert texts(await chat.stored()) == ["first", "a", "b"]


async def test_chats_of_one_name_in_two_apps_do_not_meet(bus: Bus) -> None:
    keys = [new_chat()]
    keys += [keys[0]._replace(app=type(keys[0].app)(app)) for app in ("acme", "*", ">", "acme.c")]
    for key in keys:
        await bus.append(told(key, [said(key.app)]), after=START)
    for key in keys:
        assert texts([one async for one in bus.read(key, after=START)]) == [key.app]


@pytest.mark.parametrize("count", [0, MAX_BATCH + 1])
async def test_an_append_of_none_or_too_many_is_refused(bus: Bus, count: int) -> None:
    key = new_chat()
    with pytest.raises(RefusedError, match=f"1 to {MAX_BATCH} events, got {count}"):
        await bus.append(told(key, many(count)), after=START)
    assert await bus.last(key) is None


def filling(chat: Chat, spare: int) -> BusinessLogged:
    """An event whose envelope leaves so many bytes of the most that NATS takes."""
    [empty] = told(chat.key, [BusinessLogged(log_event_type="A", message="")])
    room = chat.bus.nc.max_payload - len(encode(empty))
    return BusinessLogged(log_event_type="A", message="x" * (room - spare))


@pytest.mark.parametrize("spare", [-1, HEADER_BYTES - 1])
async def test_an_event_that_nats_cannot_take_is_refused_and_its_batch_with_it(
    chat: Chat, spare: int
) -> None:
    huge = filling(chat, spare)
    with pytest.raises(RefusedError, match=r"business: \d+ bytes, NATS takes \d+"):
        await chat.append(said("first"), huge)
    with pytest.raises(RefusedError, match="NATS takes"):
        await chat.append(huge)
    await chat.append(said("the connection stands"))
    assert texts(await chat.stored()) == ["the connection stands"]


async def test_the_largest_event_that_nats_takes_is_stored_and_read(chat: Chat) -> None:
    await chat.append(filling(chat, 5_000), said("and more"))
    assert seqs(await chat.stored()) == [1, 2]


async def test_a_killed_server_loses_and_doubles_nothing_that_was_acknowledged(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis, "ACK_SECONDS", 0.3)
    monkeypatch.setattr(chassis, "READ_SECONDS", 0.3)
    chats = [Chat(own_bus, new_chat()) for _ in range(3)]
    dice = random.Random(7)
    acknowledged = 0
    kills = 0

    async def write(chat: Chat) -> None:
        nonlocal acknowledged
        while kills < 4:
            await chat.append(*many(dice.randint(1, 4)))
            acknowledged += 1

    async def kill() -> None:
        nonlocal kills
        for _ in range(4):
            seen = acknowledged
            await until(lambda: acknowledged > seen + 20)  # noqa: B023  # awaited right here
            await asyncio.to_thread(own_nats.kill)
            await asyncio.to_thread(own_nats.start)
            kills += 1

    await asyncio.gather(kill(), *(write(chat) for chat in chats))
    for chat in chats:
        stored = await chat.stored()
        assert seqs(stored) == list(range(1, chat.seq + 1))
        assert stored[-1].position == chat.position


async def test_an_append_whose_answer_was_late_is_known_as_ones_own(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis, "ACK_SECONDS", 0.1)
    monkeypatch.setattr(chassis, "READ_SECONDS", 0.1)
    for count in (1, 3):
        chat = Chat(own_bus, new_chat())
        await chat.append(said("first"))
        os.kill(own_nats.child.pid, signal.SIGSTOP)
        try:
            writing = asyncio.create_task(chat.append(*many(count)))
            await asyncio.sleep(0.7)  # long enough for several tries, none of them answered
        finally:
            os.kill(own_nats.child.pid, signal.SIGCONT)
        await writing
        assert seqs(await chat.stored()) == list(range(1, count + 2))


async def test_an_answer_that_is_lost_while_the_log_lags_is_still_ones_own(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, read = chat.bus.nc.request, chat.bus.read
    lost: list[bool] = []

    async def losing(*args: object, **options: object) -> Msg:
        answer = await request(*args, **options)  # type: ignore[arg-type]
        if not lost:
            lost.append(True)
            raise NatsTimeoutError
        return answer

    async def lagging(*args: object, **options: object) -> object:
        stored = [one async for one in read(*args, **options)]  # type: ignore[arg-type]
        for one in stored if len(lost) > 1 else []:
            yield one
        lost.append(True)

    monkeypatch.setattr(chat.bus.nc, "request", losing)
    monkeypatch.setattr(chat.bus, "read", lagging)
    await chat.append(*many(3))
    monkeypatch.undo()
    assert seqs(await chat.stored()) == [1, 2, 3]


async def test_what_another_appended_while_the_answer_was_lost_is_a_conflict(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = chat.bus.nc.request
    await chat.append(said("first"))
    position = chat.position

    async def another_comes_first(*_: object, **__: object) -> Msg:
        monkeypatch.setattr(chat.bus.nc, "request", request)
        await chat.bus.append(told(chat.key, [said("theirs")], after=1), after=position)
        raise NatsTimeoutError

    monkeypatch.setattr(chat.bus.nc, "request", another_comes_first)
    with pytest.raises(PositionConflictError):
        await chat.append(said("ours"))
    assert texts(await chat.stored()) == ["first", "theirs"]


async def test_an_append_to_a_server_that_stays_away_ends_with_a_name(
    own_nats: NatsServer, own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis, "ACK_SECONDS", 0.05)
    monkeypatch.setattr(chassis, "READ_SECONDS", 0.05)
    monkeypatch.setattr(chassis, "OUTAGE_SECONDS", 0.2)
    chat = Chat(own_bus, new_chat())
    await chat.append(said("first"))
    await asyncio.to_thread(own_nats.kill)
    await until(lambda: not own_bus.nc.is_connected)
    with pytest.raises(UnavailableError):
        await chat.append(said("x" * 1_000_000))
    with pytest.raises(UnavailableError):  # by now the client's own buffer is full
        await chat.append(*[said("x" * 900_000)] * 3)
    with pytest.raises(UnavailableError):
        await own_bus.last(chat.key)
    with pytest.raises(UnavailableError):
        [one async for one in own_bus.read(chat.key, after=START)]
    with pytest.raises(UnavailableError):
        await own_bus.read_deltas(chat.key, since="2020-01-01T00:00:00Z")
    with pytest.raises(UnavailableError):
        await own_bus.values_under("chats", "")
    await asyncio.to_thread(own_nats.start)


async def test_a_stored_event_has_the_headers_of_its_envelope(chat: Chat) -> None:
    await chat.append(said("first"), said("second"))
    stored: list[Stored] = await chat.stored()
    for one in stored:
        raw = await chat.bus.js.get_msg("EVENTS", one.position)
        assert raw.headers is not None
        assert raw.headers["Nats-Msg-Id"] == one.envelope().event_id
        assert raw.headers["ce-type"] == "mozaiks.chat.user_message_received.v1"
