"""Events are stored all or none, once and in order, whatever happens to the server."""

import asyncio
import json
import os
import random
import signal
from contextlib import aclosing
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from contracts import subjects
from contracts.codec import Origin
from contracts.event_log import EMPTY, seal
from contracts.events import Event
from contracts.events.chat import UserMessageReceived
from contracts.ids import AppId, StreamSeq, WorkflowName
from contracts.subjects import chat_tokens
from infra.servers import NatsServer
from services.chassis.jetstream import direct_get, event_log, publish
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.event_log import Place, PositionConflictError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import HEADER_BYTES
from tests.chassis.story import (
    NOON,
    Chat,
    counted,
    decided,
    many,
    new_chat,
    said,
    seqs,
    texts,
    until,
)

pytestmark = [pytest.mark.broker]
NOWHERE = StreamSeq(0)
ORIGIN = Origin(new_chat(), WorkflowName("Hello"), NOON, "test")


@pytest.mark.parametrize("count", [1, 2, 7, 500])
async def test_an_append_is_one_message_and_is_read_back_byte_for_byte(
    gateway: JetStreamGateway, count: int
) -> None:
    decision = decided(new_chat(), *many(count))
    reached = await gateway.events.append(decision, after=NOWHERE)
    (commit,) = [one async for one in gateway.events.read(decision.key)]
    assert commit.events == decision.events
    assert commit.place == Place(reached, decision.head)


async def test_appends_follow_one_another(chat: Chat) -> None:
    for count in (1, 3, 1, 2):
        await chat.append(*many(count))
    stored = await chat.stored()
    assert seqs(stored) == [1, 2, 3, 4, 5, 6, 7]
    chain = [one.head.digest for one in stored]
    assert [one.envelope.previous for one in stored] == [None, *chain[:-1]]


async def test_business_events_are_messages_of_their_own_for_subscribers(
    chat: Chat,
) -> None:
    await chat.append(*many(2))
    await chat.append(counted(1))
    await chat.append(*many(1))
    await chat.append(counted(2))
    assert seqs(await chat.stored()) == [1, 2, 3, 4, 5]
    wanted = subjects.business_events_of(chat.key.app)
    found = await chat.gateway.js.pull_subscribe(wanted, stream=subjects.EVENTS)
    messages = await found.fetch(100, timeout=5)
    ours = [m for m in messages if subjects.parse(m.subject).key == chat.key]
    assert [json.loads(m.data)["body"]["message"] for m in ours] == ["1", "2"]
    assert [(m.headers or {})["ce-id"] for m in ours] == [
        f"{chat_tokens(chat.key)}.{n}" for n in (3, 5)
    ]
    await found.unsubscribe()


@pytest.mark.parametrize("events", [(), (said("a"), counted(1)), (counted(1), counted(2))])
def test_a_decision_that_is_not_one_message_is_rejected(events: tuple[Event, ...]) -> None:
    with pytest.raises(ValueError, match="one message holds one decision, or one business event"):
        seal(events, EMPTY, [ORIGIN] * len(events))


@pytest.mark.parametrize("count", [1, 4])
async def test_a_stale_append_is_rejected_with_nothing_stored_or_published(
    chat: Chat, count: int
) -> None:
    first = await chat.append(said("first"))
    head = chat.place.head
    heard: list[bytes] = []

    def hear(message: Msg) -> None:
        heard.append(message.data)

    async with aclosing(await chat.gateway.live.subscribe(chat.key, hear)):
        await chat.append(said("second"))
        stale = decided(chat.key, *[said("stale")] * count, after=head)
        for after in (NOWHERE, first):
            with pytest.raises(PositionConflictError):
                await chat.gateway.events.append(stale, after=after)
        await chat.append(said("third"))
        await until(lambda: len(heard) > 1)
    assert [one.data for one in (await chat.stored())[1:]] == heard
    assert texts(await chat.stored()) == ["first", "second", "third"]


async def test_an_append_after_a_future_position_is_rejected(chat: Chat) -> None:
    reached = await chat.append(said("first"))
    before = appends(chat)
    ahead = decided(chat.key, said("ahead"), after=chat.place.head)
    with pytest.raises(PositionConflictError):
        await chat.gateway.events.append(ahead, after=StreamSeq(reached + 1000))
    assert seqs(await chat.stored()) == [1]
    assert appends(chat) == {**before, "conflict": before["conflict"] + 1}


def appends(chat: Chat) -> dict[str, float]:
    """How many appends there were with each outcome."""
    registry = chat.gateway.metrics.registry
    name = "mozaiks_append_duration_seconds_count"
    return {
        outcome: registry.get_sample_value(name, {"outcome": outcome}) or 0.0
        for outcome in ("stored", "conflict", "unavailable", "failed")
    }


async def test_of_many_simultaneous_appends_one_wins_and_nothing_interleaves(
    gateway: JetStreamGateway,
) -> None:
    chat = Chat(gateway)

    async def write(name: int) -> bool:
        try:
            await gateway.events.append(decided(chat.key, *[said(f"{name}")] * 3), after=NOWHERE)
        except PositionConflictError:
            return False
        return True

    won = await asyncio.gather(*(write(name) for name in range(20)))
    assert sum(won) == 1
    assert texts(await chat.stored()) == [f"{won.index(True)}"] * 3


async def test_a_rejected_append_can_be_repeated_from_the_current_position(chat: Chat) -> None:
    await chat.append(said("first"))
    with pytest.raises(PositionConflictError):
        await chat.gateway.events.append(decided(chat.key, said("a"), said("b")), after=NOWHERE)
    await chat.append(said("a"), said("b"))
    assert texts(await chat.stored()) == ["first", "a", "b"]


async def test_chats_with_the_same_id_in_two_apps_are_separate(gateway: JetStreamGateway) -> None:
    first = new_chat()
    keys = [first]
    keys += [first._replace(app=AppId(app)) for app in ("acme", "*", ">", "acme.c")]
    chats = [Chat(gateway, key) for key in keys]
    for chat in chats:
        await chat.append(said(chat.key.app))
    for chat in chats:
        assert texts(await chat.stored()) == [chat.key.app]


def filling(chat: Chat, spare: int) -> UserMessageReceived:
    """An event whose message is so many bytes smaller than the most that NATS accepts."""
    room = chat.gateway.nc.max_payload - len(
        decided(chat.key, said(""), after=chat.place.head).data
    )
    return said("x" * (room - spare))


@pytest.mark.parametrize("spare", [-1, HEADER_BYTES - 1])
async def test_a_decision_larger_than_nats_accepts_is_rejected_completely(
    chat: Chat, spare: int
) -> None:
    huge = filling(chat, spare)
    with pytest.raises(NatsRejectedError, match=r"chat: \d+ bytes, accepted are \d+"):
        await chat.append(said("first"), huge)
    with pytest.raises(NatsRejectedError, match="bytes, accepted are"):
        await chat.append(huge)
    await chat.append(said("the connection stands"))
    assert texts(await chat.stored()) == ["the connection stands"]


async def test_the_largest_decision_that_nats_accepts_is_stored_and_read(chat: Chat) -> None:
    await chat.append(filling(chat, 5_000), said("and more"))
    assert seqs(await chat.stored()) == [1, 2]


async def test_a_killed_server_neither_loses_nor_repeats_acknowledged_events(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch, 0.3)
    chats = [Chat(own_gateway, new_chat()) for _ in range(3)]
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
        assert (await chat.commits())[-1].place == chat.place


async def test_an_append_with_a_late_answer_is_recognised_as_stored(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch, 0.1)
    for count in (1, 3):
        chat = Chat(own_gateway, new_chat())
        await chat.append(said("first"))
        os.kill(own_nats.child.pid, signal.SIGSTOP)
        try:
            writing = asyncio.create_task(chat.append(*many(count)))
            await asyncio.sleep(0.7)  # long enough for several attempts, none of them answered
        finally:
            os.kill(own_nats.child.pid, signal.SIGCONT)
        await writing
        assert seqs(await chat.stored()) == list(range(1, count + 2))


async def test_an_append_with_a_lost_answer_is_found_in_the_log(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = chat.gateway.nc.request
    lost: list[str] = []

    async def losing(subject: str, *args: Any, **options: Any) -> Msg:
        answer = await request(subject, *args, **options)
        if subject.startswith("mozaiks.") and not lost:
            lost.append(subject)
            raise NatsTimeoutError
        return answer

    monkeypatch.setattr(chat.gateway.nc, "request", losing)
    await chat.append(*many(3))
    monkeypatch.undo()
    assert lost
    assert seqs(await chat.stored()) == [1, 2, 3]
    assert (await chat.commits())[-1].place == chat.place


async def test_an_append_of_another_while_the_answer_was_lost_is_a_conflict(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = chat.gateway.nc.request
    await chat.append(said("first"))
    place = chat.place

    async def another_comes_first(*_: object, **__: object) -> Msg:
        monkeypatch.setattr(chat.gateway.nc, "request", request)
        theirs = decided(chat.key, said("theirs"), after=place.head)
        await chat.gateway.events.append(theirs, after=place.position)
        raise NatsTimeoutError

    monkeypatch.setattr(chat.gateway.nc, "request", another_comes_first)
    with pytest.raises(PositionConflictError):
        await chat.append(said("ours"))
    assert texts(await chat.stored()) == ["first", "theirs"]


async def test_an_append_to_a_server_that_stays_unavailable_fails_with_the_event_id(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasten(monkeypatch, 0.05)
    monkeypatch.setattr(event_log, "OUTAGE_SECONDS", 0.2)
    chat = Chat(own_gateway, new_chat())
    await chat.append(said("first"))
    await asyncio.to_thread(own_nats.kill)
    await until(lambda: not own_gateway.nc.is_connected)
    with pytest.raises(NatsUnavailableError):
        await chat.append(said("x" * 1_000_000))
    for _ in range(3):  # by now the client's own buffer is full
        with pytest.raises(NatsUnavailableError):
            await chat.append(said("x" * 900_000))
    with pytest.raises(NatsUnavailableError):
        await own_gateway.events.last_position(chat.key)
    with pytest.raises(NatsUnavailableError):
        await chat.stored()
    with pytest.raises(NatsUnavailableError):
        await own_gateway.live.read_deltas(chat.key, since="2020-01-01T00:00:00Z")
    with pytest.raises(NatsUnavailableError):
        await own_gateway.key_values.list_values("chats", "")
    await asyncio.to_thread(own_nats.start)


async def test_a_stored_message_has_the_categories_of_its_events_in_a_header(chat: Chat) -> None:
    position = await chat.append(*many(2))
    raw = await chat.gateway.js.get_msg("EVENTS", position)
    assert raw.headers is not None
    assert raw.headers["Mozaiks-Categories"] == "runtime,ui"
    assert "Nats-Msg-Id" not in raw.headers  # the expected sequence rejects a repeat


def hasten(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Shorten the time limits for a server that does not answer."""
    for module in (publish, direct_get):
        monkeypatch.setattr(module, "REQUEST_SECONDS", seconds)
    monkeypatch.setattr(direct_get, "READ_SECONDS", seconds)
