"""Orders are taken a slot at a time, kept while they are worked on, and never lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from nats.errors import NoRespondersError

from contracts import subjects
from contracts.commands import COMMAND, SendMessage
from infra.servers import NatsServer
from services.chassis import listening, settling
from services.chassis.away import AwayError
from services.chassis.bus import Bus
from services.chassis.dead_letters.queue import letters
from services.chassis.direct_get import UnavailableError
from services.chassis.listening import (
    Delivery,
    LeftToAnotherError,
    Queue,
    QueueConsumer,
    UnworkableError,
)
from services.chassis.tries import pause
from tests.chassis.story import bus_of, count_of, letter_about, message, new_chat, no_room, until

pytestmark = [pytest.mark.broker]
Handle = Callable[[Delivery], Awaitable[None]]
Tell = Callable[[Delivery, str], Awaitable[None]]
DURABLE = "orchestrator"


def queue(*, slots: int = 4, ack_seconds: float = 0.5, tries: int = 20) -> Queue:
    return Queue(
        subjects.COMMANDS,
        subjects.ALL_COMMANDS,
        DURABLE,
        slots,
        ack_seconds=ack_seconds,
        tries=tries,
    )


@asynccontextmanager
async def listening_to(
    bus: Bus,
    queue: Queue,
    handle: Handle,
    given_up: list[str] | None = None,
    *,
    tell: Tell | None = None,
) -> AsyncIterator[QueueConsumer]:
    async def give_up(_: Delivery, reason: str) -> None:
        if given_up is not None:
            given_up.append(reason)

    listener = QueueConsumer(bus, queue, handle, tell or give_up)
    listener.start()
    try:
        yield listener
    finally:
        await listener.stop(5)


def said(delivery: Delivery) -> str:
    order = COMMAND.validate_json(delivery.message.data)
    assert isinstance(order, SendMessage)
    return order.text


async def left(bus: Bus) -> int:
    """Orders that are still in the queue."""
    return await count_of(bus, subjects.COMMANDS, subjects.ALL_COMMANDS)


async def dead(bus: Bus) -> int:
    return await count_of(bus, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS)


async def emptied(bus: Bus) -> None:
    async with asyncio.timeout(20):
        while await left(bus):  # noqa: ASYNC110  # a queue sets no event
            await asyncio.sleep(0.02)


async def give(bus: Bus, *words: str) -> None:
    for text in words:
        await bus.order(message(new_chat(), text))


async def test_each_order_is_handled_once_and_leaves_the_queue(own_bus: Bus) -> None:
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        assert delivery.attempt == 1
        heard.append(said(delivery))

    await give(own_bus, "before")
    async with listening_to(own_bus, queue(), handle) as listener:
        await give(own_bus, *map(str, range(20)))
        await emptied(own_bus)
        assert (listener.listening, listener.busy) == (True, 0)
    assert not listener.listening
    assert sorted(heard) == sorted(["before", *map(str, range(20))])


async def test_no_more_is_taken_than_there_are_slots(own_bus: Bus) -> None:
    may_end = asyncio.Event()
    most = 0

    async def handle(_: Delivery) -> None:
        nonlocal most
        most = max(most, listener.busy)
        await may_end.wait()

    await give(own_bus, *"abcdef")
    async with listening_to(own_bus, queue(slots=2), handle) as listener:
        await until(lambda: listener.busy == 2)
        taken = await own_bus.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert (taken.num_ack_pending, taken.num_pending) == (2, 4)
        may_end.set()
        await emptied(own_bus)
    assert most == 2


async def test_a_slow_order_does_not_hold_the_next(own_bus: Bus) -> None:
    slow_may_end = asyncio.Event()
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        if said(delivery) == "slow":
            await slow_may_end.wait()
        heard.append(said(delivery))

    await give(own_bus, "slow", "a", "b", "c")
    async with listening_to(own_bus, queue(slots=2), handle):
        await until(lambda: len(heard) == 3)
        slow_may_end.set()
        await emptied(own_bus)
    assert heard == ["a", "b", "c", "slow"]


async def test_an_order_in_hand_is_not_given_to_another_however_long_it_takes(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(2)  # four times what a silent process is given

    async with (
        bus_of(own_nats) as other,
        listening_to(own_bus, queue(), handle),
        listening_to(other, queue(), handle),
    ):
        await give(own_bus, "slow")
        await emptied(own_bus)
    assert attempts == [1]


async def test_the_order_of_a_silent_process_goes_to_another(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    attempts: list[int] = []
    taken = asyncio.Event()

    async def take_and_die(_: Delivery) -> None:
        taken.set()
        await asyncio.sleep(60)

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    async with bus_of(own_nats) as other:
        dying = asyncio.create_task(_die_when(taken, other, take_and_die))
        await give(own_bus, "orphan")
        await dying
        async with listening_to(own_bus, queue(), handle):
            await emptied(own_bus)
    assert attempts == [2]


async def _die_when(taken: asyncio.Event, bus: Bus, handle: Handle) -> None:
    """Take an order and lose the connection with it in hand, without a word."""
    async with listening_to(bus, queue(), handle):
        await taken.wait()
        await bus.nc.close()


async def test_an_order_that_failed_comes_back(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise ValueError("not yet")

    given_up: list[str] = []
    await give(own_bus, "again")
    async with listening_to(own_bus, queue(), handle, given_up):
        await emptied(own_bus)
    assert (attempts, given_up) == ([1, 2], [])


async def test_an_order_that_keeps_failing_is_given_up_with_its_reason(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("the coffee is cold")

    given_up: list[str] = []
    order = message(new_chat())
    await own_bus.order(order)
    async with listening_to(own_bus, queue(tries=2), handle, given_up):
        await emptied(own_bus)
    assert (attempts, given_up) == ([1, 2], ["ValueError('the coffee is cold')"])
    letter = await letter_about(own_bus, DURABLE, subjects.command(order.key, order.name))
    assert letter is not None
    assert letter.headers is not None
    assert str(letter.headers["Mozaiks-Reason"]) == "ValueError('the coffee is cold')"
    assert COMMAND.validate_json(letter.data) == order


async def test_an_unworkable_order_is_given_up_at_once(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise UnworkableError("no command: name: Field required")

    given_up: list[str] = []
    subject = subjects.command(new_chat(), "send_message")
    await own_bus.js.publish(subject, b"{}")
    async with listening_to(own_bus, queue(), handle, given_up):
        await emptied(own_bus)
    assert (attempts, given_up) == ([1], ["no command: name: Field required"])
    assert await letter_about(own_bus, DURABLE, subject) is not None


async def test_one_that_kills_its_process_every_time_is_given_up_unhandled(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise LeftToAnotherError("as if the process had died")

    given_up: list[str] = []
    await give(own_bus, "poison")
    async with listening_to(own_bus, queue(tries=2, ack_seconds=0.3), handle, given_up):
        await emptied(own_bus)
    # The first costs nothing to take: whether it ended is asked only once the message is back.
    assert attempts == [1, 2, 3]
    assert given_up == ["given up after 2 tries, the last of which never ended"]


async def test_an_order_left_to_another_is_neither_acknowledged_nor_returned(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise LeftToAnotherError("somebody has it")

    await give(own_bus, "theirs")
    async with listening_to(own_bus, queue(ack_seconds=30), handle):
        await until(lambda: attempts == [1])
        info = await own_bus.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.num_ack_pending == 1
    assert attempts == [1]


async def test_what_is_open_at_a_stop_goes_to_another_at_once(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    taken: list[str] = []
    attempts: list[int] = []

    async def hold(delivery: Delivery) -> None:
        taken.append(said(delivery))
        await asyncio.sleep(60)

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    patient = queue(ack_seconds=300)  # longer than the test may last
    await give(own_bus, "a", "b")
    async with bus_of(own_nats) as other:
        async with listening_to(own_bus, patient, hold) as stopping:
            await until(lambda: len(taken) == 2)
        assert stopping.busy == 0
        async with listening_to(other, patient, handle):
            await emptied(own_bus)
    assert attempts == [2, 2]


@pytest.mark.parametrize("settled", [0, 1, 2])
async def test_who_begins_to_listen_removes_nothing_that_is_not_settled(
    own_bus: Bus, settled: int
) -> None:
    handled = 0

    async def handle(_: Delivery) -> None:
        nonlocal handled
        if handled == settled:
            await asyncio.sleep(60)
        handled += 1

    await give(own_bus, *"abcd")
    for _ in range(2):
        async with listening_to(own_bus, queue(slots=1, ack_seconds=300), handle):
            await until(lambda: handled == settled)
            async with asyncio.timeout(20):
                while await left(own_bus) != 4 - settled:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
    assert await left(own_bus) == 4 - settled


async def test_a_listener_outlives_its_server(own_nats: NatsServer, own_bus: Bus) -> None:
    heard: list[str] = []
    may_end = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if said(delivery) == "during":
            await may_end.wait()
        heard.append(said(delivery))

    async with listening_to(own_bus, queue(), handle) as listener:
        await give(own_bus, "before")
        await until(lambda: heard == ["before"])
        await give(own_bus, "during")
        await until(lambda: listener.busy == 1)
        await asyncio.to_thread(own_nats.kill)
        await asyncio.sleep(1)  # beats are missed, fetches fail
        await asyncio.to_thread(own_nats.start)
        may_end.set()
        await until(lambda: own_bus.nc.is_connected)
        await give(own_bus, "after")
        await until(lambda: "after" in heard)
        await emptied(own_bus)
    assert set(heard) == {"before", "during", "after"}


async def test_a_queue_that_is_not_there_yet_is_waited_for(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "FETCH_SECONDS", 0.2)
    await own_bus.js.delete_stream(subjects.COMMANDS)
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        heard.append(delivery.message.subject)

    async with listening_to(own_bus, queue(), handle) as listener:
        await asyncio.sleep(0.7)
        assert listener.listening
        await own_bus.js.add_stream(
            name=subjects.COMMANDS, subjects=[subjects.ALL_COMMANDS], retention="workqueue"
        )
        await give(own_bus, "at last")
        await until(lambda: len(heard) == 1)


async def test_a_stop_has_an_end_even_where_a_handler_has_none(own_bus: Bus) -> None:
    taken = asyncio.Event()
    may_end = asyncio.Event()

    async def stubborn(_: Delivery) -> None:
        taken.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    async def give_up(_: Delivery, reason: str) -> None: ...

    listener = QueueConsumer(own_bus, queue(), stubborn, give_up)
    listener.start()
    await give(own_bus, "hold")
    await taken.wait()
    async with asyncio.timeout(10):
        await listener.stop(0.2)
    assert listener.busy == 1
    may_end.set()
    await until(lambda: listener.busy == 0)


# -- what cannot be handled -----------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that a test can wait for."""
    monkeypatch.setattr(settling, "pause", lambda _: 0.05)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", ["100", "404", "409", "503"])
async def test_a_message_that_looks_like_an_answer_of_the_server_is_a_message(
    own_bus: Bus, status: str
) -> None:
    subject = subjects.command(new_chat(), "send_message")
    await own_bus.js.publish(subject, b"", headers={"Status": status})
    await own_bus.order(message(new_chat()))
    async with listening_to(own_bus, queue(slots=1), read):
        await emptied(own_bus)
    assert await letter_about(own_bus, DURABLE, subject) is not None


async def read(delivery: Delivery) -> None:
    """As the orchestrator reads its commands."""
    try:
        order = COMMAND.validate_json(delivery.message.data)
    except ValueError as broken:
        raise UnworkableError("no command") from broken
    if subjects.command(order.key, order.name) != delivery.message.subject:
        raise UnworkableError("the command is not what its subject says")


async def tell_its_chat(delivery: Delivery, _: str) -> None:
    """As the orchestrator tells a chat: where the subject names one."""
    subjects.parse(delivery.message.subject)


PLACE = subjects.command(new_chat(), "send_message")
ORDER = message(new_chat()).model_dump_json().encode()


@pytest.mark.parametrize(
    ("subject", "data"),
    [
        pytest.param(PLACE, b"\x00\xff\xfe", id="undecodable"),
        pytest.param(PLACE, b'{"name": "dance"}', id="no command"),
        pytest.param(PLACE, b"[" * 50_000, id="too deep"),
        pytest.param(PLACE, ORDER, id="of another chat"),
        pytest.param("mozaiks.cmd.x", ORDER, id="short subject"),
        pytest.param("mozaiks.cmd.=.=.start_chat", ORDER, id="untold ids"),
        pytest.param("mozaiks.cmd.*.>", ORDER, id="wildcards"),
        pytest.param(
            "mozaiks.cmd.gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n", ORDER, id="no ASCII"
        ),
        pytest.param("mozaiks.cmd." + "x" * 1000, ORDER, id="long subject"),
    ],
)
@pytest.mark.usefixtures("quick")
async def test_poison_of_every_kind_is_given_up_once_and_the_queue_goes_on(
    own_bus: Bus, subject: str, data: bytes
) -> None:
    await own_bus.js.publish(subject, data)
    await own_bus.order(message(new_chat()))
    async with listening_to(own_bus, queue(slots=1), read, tell=tell_its_chat):
        await emptied(own_bus)
        info = await own_bus.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.num_ack_pending == 0
    (letter,) = [one async for one in letters(own_bus)]
    assert (letter.original.subject, letter.data, letter.service) == (subject, data, DURABLE)


@pytest.mark.parametrize(
    "trouble",
    [
        ValueError("no"),
        asyncio.CancelledError(),
        AwayError("away"),
        ExceptionGroup("", [OSError()]),
    ],
    ids=repr,
)
async def test_nothing_is_tried_again_without_a_pause_and_its_slot_is_free_meanwhile(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    monkeypatch.setattr(settling, "pause", lambda _: 300)
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        heard.append(said(delivery))
        if said(delivery) == "bad":
            raise trouble

    await give(own_bus, "bad", *"abcde")
    async with listening_to(own_bus, queue(slots=1), handle):
        await until(lambda: "e" in heard)
    assert heard == ["bad", *"abcde"]


def test_pauses_grow_to_a_bound_however_many_there_were() -> None:
    grown = [pause(attempt) for attempt in (1, 2, 3, 4, 5, 6, 100, 100_000)]
    assert grown == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("away", [UnavailableError("EVENTS"), NoRespondersError()], ids=repr)
async def test_a_server_that_is_away_uses_up_no_try(own_bus: Bus, away: Exception) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) <= 6:
            raise away
        if len(attempts) <= 8:
            raise ValueError("to blame")

    given_up: list[str] = []
    await give(own_bus, "patient")
    async with listening_to(own_bus, queue(tries=3), handle, given_up):
        await emptied(own_bus)
    assert (attempts, given_up) == (list(range(1, 10)), [])
    assert await dead(own_bus) == 0


@pytest.mark.usefixtures("quick")
async def test_what_only_seems_away_is_given_up_in_the_end(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "MAX_DELIVERIES", 4)

    async def handle(_: Delivery) -> None:
        raise AwayError("always")

    given_up: list[str] = []
    await give(own_bus, "hopeless")
    async with listening_to(own_bus, queue(tries=2), handle, given_up):
        await emptied(own_bus)
    assert given_up == ["given up after 4 deliveries"]
    assert await dead(own_bus) == 1


async def test_clean_stops_use_up_no_try(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def hold(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(60)

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    await give(own_bus, "handed on")
    for stop in range(1, 5):
        async with listening_to(own_bus, queue(tries=2), hold):
            await until(lambda stop=stop: len(attempts) == stop)  # type: ignore[misc]
    async with listening_to(own_bus, queue(tries=2), handle):
        await emptied(own_bus)
    assert attempts == [1, 2, 3, 4, 5]
    assert await dead(own_bus) == 0


@pytest.mark.usefixtures("quick")
async def test_tries_are_counted_over_all_processes_and_after_each(
    own_nats: NatsServer, own_bus: Bus
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("no")

    await give(own_bus, "bad")
    while not await dead(own_bus):
        tried = len(attempts)
        async with (
            bus_of(own_nats) as other,
            listening_to(other, queue(tries=4), handle) as listener,
            asyncio.timeout(20),
        ):
            while not await dead(own_bus) and (  # noqa: ASYNC110  a server says when, not we
                len(attempts) == tried or listener.busy
            ):
                await asyncio.sleep(0.01)
    assert attempts == [1, 2, 3, 4]


@pytest.mark.usefixtures("quick")
async def test_without_a_place_for_tries_messages_come_again_all_the_same(own_bus: Bus) -> None:
    await own_bus.js.delete_key_value(subjects.TRIES)
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) < 4:
            raise ValueError("not yet")

    await give(own_bus, "uncounted")
    async with listening_to(own_bus, queue(tries=2), handle):
        await emptied(own_bus)
    assert attempts == [1, 2, 3, 4]
    assert await dead(own_bus) == 0


@pytest.mark.parametrize(
    "trouble", [ValueError("no chat"), asyncio.CancelledError(), ExceptionGroup("", [OSError()])]
)
async def test_telling_that_fails_does_not_keep_a_message(
    own_bus: Bus, trouble: BaseException
) -> None:
    told: list[str] = []

    async def handle(_: Delivery) -> None:
        raise UnworkableError("no command")

    async def tell(_: Delivery, reason: str) -> None:
        told.append(reason)
        raise trouble

    await give(own_bus, "untellable")
    async with listening_to(own_bus, queue(), handle, tell=tell):
        await emptied(own_bus)
    assert told == ["no command"]
    assert await dead(own_bus) == 1


async def test_telling_that_never_ends_does_not_keep_a_message(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "TELL_SECONDS", 0.2)

    async def handle(_: Delivery) -> None:
        raise UnworkableError("no command")

    async def tell(_: Delivery, __: str) -> None:
        await asyncio.Event().wait()

    await give(own_bus, "untellable")
    async with listening_to(own_bus, queue(), handle, tell=tell):
        await emptied(own_bus)
    assert await dead(own_bus) == 1


async def test_telling_waits_for_a_server_and_the_letter_is_kept_once(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "pause", lambda _: 0.2)
    config = (await own_bus.js.stream_info(subjects.DEAD_LETTERS)).config
    await own_bus.js.update_stream(replace(config, duplicate_window=0.1))  # ids are forgotten
    handled, told = 0, 0

    async def handle(_: Delivery) -> None:
        nonlocal handled
        handled += 1
        raise UnworkableError("no command")

    async def tell(_: Delivery, reason: str) -> None:
        nonlocal told
        assert reason == "no command"
        told += 1
        if told < 4:
            raise UnavailableError("EVENTS")

    await give(own_bus, "told at last")
    async with listening_to(own_bus, queue(), handle, tell=tell):
        await emptied(own_bus)
    assert (handled, told) == (1, 4)
    assert await dead(own_bus) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["full", "deleted"])
async def test_what_cannot_be_kept_stays_in_the_queue_until_it_can(
    own_bus: Bus, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []
    given_up: list[str] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise UnworkableError("no command")

    await give(own_bus, "bad")
    async with listening_to(own_bus, queue(), handle, given_up):
        async with no_room(own_bus, how):
            await until(lambda: len(attempts) >= 5)
            assert await left(own_bus) == 1
            assert given_up == []
        await emptied(own_bus)
        info = await own_bus.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.num_ack_pending == 0
    assert given_up == ["no command"]
    assert await dead(own_bus) == 1
    warned = [one for one in caplog.records if "cannot be kept" in one.message]
    assert len(warned) == 1
