"""Orders are taken a slot at a time, kept while they are worked on, and never lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from contracts import subjects
from contracts.commands import COMMAND, SendMessage
from infra.servers import NatsServer
from services.chassis import listening
from services.chassis.bus import Bus
from services.chassis.listening import (
    Delivery,
    LeftToAnotherError,
    Queue,
    QueueConsumer,
    UnworkableError,
)
from tests.chassis.story import buried, bus_of, count_of, message, new_chat, until

pytestmark = [pytest.mark.broker]
Handle = Callable[[Delivery], Awaitable[None]]
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
    bus: Bus, queue: Queue, handle: Handle, given_up: list[str] | None = None
) -> AsyncIterator[QueueConsumer]:
    async def give_up(_: Delivery, reason: str) -> None:
        if given_up is not None:
            given_up.append(reason)

    listener = QueueConsumer(bus, queue, handle, give_up)
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


async def test_an_order_that_keeps_failing_is_buried_with_its_reason(own_bus: Bus) -> None:
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
    letter = await buried(own_bus, DURABLE, subjects.command(order.key, order.name))
    assert letter is not None
    assert letter.headers is not None
    assert str(letter.headers["Mozaiks-Reason"]) == "ValueError('the coffee is cold')"
    assert COMMAND.validate_json(letter.data) == order


async def test_an_unworkable_order_is_buried_at_once(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise UnworkableError("no command: name: Field required")

    given_up: list[str] = []
    subject = "mozaiks.cmd.acme.c.send_message"
    await own_bus.js.publish(subject, b"{}")
    async with listening_to(own_bus, queue(), handle, given_up):
        await emptied(own_bus)
    assert (attempts, given_up) == ([1], ["no command: name: Field required"])
    assert await buried(own_bus, DURABLE, subject) is not None


async def test_one_that_kills_its_process_every_time_is_buried_unhandled(own_bus: Bus) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise LeftToAnotherError("as if the process had died")

    given_up: list[str] = []
    await give(own_bus, "poison")
    async with listening_to(own_bus, queue(tries=2, ack_seconds=0.3), handle, given_up):
        await emptied(own_bus)
    assert (attempts, given_up) == ([1, 2], ["given up after 2 tries"])


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
