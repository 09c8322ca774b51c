"""Commands are fetched one per free slot, kept while they are handled, and never lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from nats.errors import NoRespondersError

from contracts import subjects
from contracts.commands import COMMAND, SendMessage
from infra.servers import NatsServer
from services.chassis.consumers import queue_consumer, settlement
from services.chassis.consumers.attempts import retry_delay
from services.chassis.consumers.errors import (
    NewerReleaseError,
    OwnershipLostError,
    UnprocessableMessageError,
)
from services.chassis.consumers.queue_consumer import Delivery, QueueConsumer
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.dead_letters.queue import list_letters
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.nats.unavailable import ServerUnavailableError
from tests.chassis.story import (
    count_of,
    gateway_of,
    letter_about,
    message,
    new_chat,
    no_room,
    until,
)
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
Handle = Callable[[Delivery], Awaitable[None]]
Notify = Callable[[Delivery, str], Awaitable[None]]
DURABLE = "orchestrator"


def queue(
    *, concurrency: int = 4, ack_wait_seconds: float = 0.5, max_attempts: int = 20
) -> WorkQueue:
    return WorkQueue(
        subjects.COMMANDS,
        subjects.ALL_COMMANDS,
        DURABLE,
        concurrency,
        ack_wait_seconds=ack_wait_seconds,
        max_attempts=max_attempts,
    )


@asynccontextmanager
async def consuming(
    gateway: JetStreamGateway,
    queue: WorkQueue,
    handle: Handle,
    dead_lettered: list[str] | None = None,
    *,
    notify: Notify | None = None,
) -> AsyncIterator[QueueConsumer]:
    async def on_dead_letter(_: Delivery, reason: str) -> None:
        if dead_lettered is not None:
            dead_lettered.append(reason)

    consumer = QueueConsumer(gateway, queue, handle, notify or on_dead_letter)
    consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop(5)


def said(delivery: Delivery) -> str:
    command = COMMAND.validate_json(delivery.message.data)
    assert isinstance(command, SendMessage)
    return command.text


async def left(gateway: JetStreamGateway) -> int:
    """Commands that are still in the queue."""
    return await count_of(gateway, subjects.COMMANDS, subjects.ALL_COMMANDS)


async def dead(gateway: JetStreamGateway) -> int:
    return await count_of(gateway, subjects.DEAD_LETTERS, subjects.ALL_DEAD_LETTERS)


async def emptied(gateway: JetStreamGateway) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await left(gateway):  # noqa: ASYNC110  # a queue sets no event
            await asyncio.sleep(0.02)


async def give(gateway: JetStreamGateway, *words: str) -> None:
    for text in words:
        await gateway.commands.send(message(new_chat(), text))


async def test_each_command_is_handled_once_and_leaves_the_queue(
    own_gateway: JetStreamGateway,
) -> None:
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        assert delivery.attempt == 1
        heard.append(said(delivery))

    await give(own_gateway, "before")
    async with consuming(own_gateway, queue(), handle) as consumer:
        await give(own_gateway, *map(str, range(20)))
        await emptied(own_gateway)
        assert (consumer.is_running, consumer.in_flight) == (True, 0)
    assert not consumer.is_running
    assert sorted(heard) == sorted(["before", *map(str, range(20))])


async def test_no_more_messages_are_fetched_than_there_are_slots(
    own_gateway: JetStreamGateway,
) -> None:
    may_end = asyncio.Event()
    most = 0

    async def handle(_: Delivery) -> None:
        nonlocal most
        most = max(most, consumer.in_flight)
        await may_end.wait()

    await give(own_gateway, *"abcdef")
    async with consuming(own_gateway, queue(concurrency=2), handle) as consumer:
        await until(lambda: consumer.in_flight == 2)
        taken = await own_gateway.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert (taken.num_ack_pending, taken.num_pending) == (2, 4)
        may_end.set()
        await emptied(own_gateway)
    assert most == 2


async def test_a_slow_command_does_not_block_the_next(own_gateway: JetStreamGateway) -> None:
    slow_may_end = asyncio.Event()
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        if said(delivery) == "slow":
            await slow_may_end.wait()
        heard.append(said(delivery))

    await give(own_gateway, "slow", "a", "b", "c")
    async with consuming(own_gateway, queue(concurrency=2), handle):
        await until(lambda: len(heard) == 3)
        slow_may_end.set()
        await emptied(own_gateway)
    assert heard == ["a", "b", "c", "slow"]


async def test_a_command_in_flight_is_not_redelivered_however_long_it_takes(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(2)  # four times the ack wait

    async with (
        gateway_of(own_nats) as other,
        consuming(own_gateway, queue(), handle),
        consuming(other, queue(), handle),
    ):
        await give(own_gateway, "slow")
        await emptied(own_gateway)
    assert attempts == [1]


async def test_the_command_of_a_crashed_process_is_redelivered(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    attempts: list[int] = []
    taken = asyncio.Event()

    async def take_and_die(_: Delivery) -> None:
        taken.set()
        await asyncio.sleep(60)

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    async with gateway_of(own_nats) as other:
        dying = asyncio.create_task(_die_when(taken, other, take_and_die))
        await give(own_gateway, "orphan")
        await dying
        async with consuming(own_gateway, queue(), handle):
            await emptied(own_gateway)
    assert attempts == [2]


async def _die_when(taken: asyncio.Event, gateway: JetStreamGateway, handle: Handle) -> None:
    """Take a command and close the connection while it is in flight."""
    async with consuming(gateway, queue(), handle):
        await taken.wait()
        await gateway.nc.close()


async def test_a_failed_command_is_redelivered(own_gateway: JetStreamGateway) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise ValueError("not yet")

    dead_lettered: list[str] = []
    await give(own_gateway, "again")
    async with consuming(own_gateway, queue(), handle, dead_lettered):
        await emptied(own_gateway)
    assert (attempts, dead_lettered) == ([1, 2], [])


async def test_a_command_that_keeps_failing_is_dead_lettered_with_its_reason(
    own_gateway: JetStreamGateway,
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("the coffee is cold")

    dead_lettered: list[str] = []
    command = message(new_chat())
    await own_gateway.commands.send(command)
    async with consuming(own_gateway, queue(max_attempts=2), handle, dead_lettered):
        await emptied(own_gateway)
    assert (attempts, dead_lettered) == ([1, 2], ["ValueError('the coffee is cold')"])
    letter = await letter_about(own_gateway, DURABLE, subjects.command(command.key, command.name))
    assert letter is not None
    assert letter.headers is not None
    assert str(letter.headers["Mozaiks-Reason"]) == "ValueError('the coffee is cold')"
    assert COMMAND.validate_json(letter.data) == command


async def test_an_unprocessable_command_is_dead_lettered_at_once(
    own_gateway: JetStreamGateway,
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise UnprocessableMessageError("no command: name: Field required")

    dead_lettered: list[str] = []
    subject = subjects.command(new_chat(), "send_message")
    await own_gateway.js.publish(subject, b"{}")
    async with consuming(own_gateway, queue(), handle, dead_lettered):
        await emptied(own_gateway)
    assert (attempts, dead_lettered) == ([1], ["no command: name: Field required"])
    assert await letter_about(own_gateway, DURABLE, subject) is not None


async def test_a_command_that_crashes_every_process_is_dead_lettered_without_being_handled(
    own_gateway: JetStreamGateway,
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise OwnershipLostError("as if the process had died")

    dead_lettered: list[str] = []
    await give(own_gateway, "poison")
    async with consuming(
        own_gateway, queue(max_attempts=2, ack_wait_seconds=0.3), handle, dead_lettered
    ):
        await emptied(own_gateway)
    # The first is not counted: whether it crashed is known only once the message is redelivered.
    assert attempts == [1, 2, 3]
    assert dead_lettered == ["dead-lettered after 2 attempts, the last of which never ended"]


async def test_a_command_with_lost_ownership_is_neither_acknowledged_nor_returned(
    own_gateway: JetStreamGateway,
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if delivery.attempt == 1:
            raise OwnershipLostError("somebody has it")

    await give(own_gateway, "theirs")
    async with consuming(own_gateway, queue(ack_wait_seconds=30), handle):
        await until(lambda: attempts == [1])
        info = await own_gateway.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.num_ack_pending == 1
    assert attempts == [1]


async def test_commands_in_flight_at_a_stop_are_redelivered_at_once(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    taken: list[str] = []
    attempts: list[int] = []

    async def hold(delivery: Delivery) -> None:
        taken.append(said(delivery))
        await asyncio.sleep(60)

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    long_ack_wait = queue(ack_wait_seconds=300)  # longer than the test may last
    await give(own_gateway, "a", "b")
    async with gateway_of(own_nats) as other:
        async with consuming(own_gateway, long_ack_wait, hold) as stopping:
            await until(lambda: len(taken) == 2)
        assert stopping.in_flight == 0
        async with consuming(other, long_ack_wait, handle):
            await emptied(own_gateway)
    assert attempts == [2, 2]


@pytest.mark.parametrize("settled", [0, 1, 2])
async def test_a_starting_consumer_removes_nothing_that_is_not_acknowledged(
    own_gateway: JetStreamGateway, settled: int
) -> None:
    handled = 0

    async def handle(_: Delivery) -> None:
        nonlocal handled
        if handled == settled:
            await asyncio.sleep(60)
        handled += 1

    await give(own_gateway, *"abcd")
    for _ in range(2):
        async with consuming(own_gateway, queue(concurrency=1, ack_wait_seconds=300), handle):
            await until(lambda: handled == settled)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await left(own_gateway) != 4 - settled:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.2)
    assert await left(own_gateway) == 4 - settled


async def test_a_consumer_continues_after_a_restart_of_its_server(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    heard: list[str] = []
    may_end = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        if said(delivery) == "during":
            await may_end.wait()
        heard.append(said(delivery))

    async with consuming(own_gateway, queue(), handle) as consumer:
        await give(own_gateway, "before")
        await until(lambda: heard == ["before"])
        await give(own_gateway, "during")
        await until(lambda: consumer.in_flight == 1)
        await asyncio.to_thread(own_nats.kill)
        await asyncio.sleep(1)  # heartbeats are missed, fetches fail
        await asyncio.to_thread(own_nats.start)
        may_end.set()
        await until(lambda: own_gateway.nc.is_connected)
        await give(own_gateway, "after")
        await until(lambda: "after" in heard)
        await emptied(own_gateway)
    assert set(heard) == {"before", "during", "after"}


async def test_a_consumer_waits_for_a_queue_that_does_not_exist_yet(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "FETCH_SECONDS", 0.2)
    await own_gateway.js.delete_stream(subjects.COMMANDS)
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        heard.append(delivery.message.subject)

    async with consuming(own_gateway, queue(), handle) as consumer:
        await asyncio.sleep(0.7)
        assert consumer.is_running
        await own_gateway.js.add_stream(
            name=subjects.COMMANDS, subjects=[subjects.ALL_COMMANDS], retention="workqueue"
        )
        await give(own_gateway, "at last")
        await until(lambda: len(heard) == 1)


async def test_a_stop_returns_although_a_handler_does_not(
    own_gateway: JetStreamGateway,
) -> None:
    taken = asyncio.Event()
    may_end = asyncio.Event()

    async def stubborn(_: Delivery) -> None:
        taken.set()
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    async def on_dead_letter(_: Delivery, reason: str) -> None: ...

    consumer = QueueConsumer(own_gateway, queue(), stubborn, on_dead_letter)
    consumer.start()
    await give(own_gateway, "hold")
    await taken.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await consumer.stop(0.2)
    assert consumer.in_flight == 1
    may_end.set()
    await until(lambda: consumer.in_flight == 0)


# -- what cannot be handled -----------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays that a test can wait for."""
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 0.05)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", ["100", "404", "409", "503"])
async def test_a_message_that_looks_like_a_response_of_the_server_is_handled(
    own_gateway: JetStreamGateway, status: str
) -> None:
    subject = subjects.command(new_chat(), "send_message")
    await own_gateway.js.publish(subject, b"", headers={"Status": status})
    await own_gateway.commands.send(message(new_chat()))
    async with consuming(own_gateway, queue(concurrency=1), read):
        await emptied(own_gateway)
    assert await letter_about(own_gateway, DURABLE, subject) is not None


async def read(delivery: Delivery) -> None:
    """As the orchestrator decodes its commands."""
    try:
        command = COMMAND.validate_json(delivery.message.data)
    except ValueError as broken:
        raise UnprocessableMessageError("no command") from broken
    if subjects.command(command.key, command.name) != delivery.message.subject:
        raise UnprocessableMessageError("the command is not what its subject says")


async def notify_its_chat(delivery: Delivery, _: str) -> None:
    """As the orchestrator notifies a chat, if the subject names one."""
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
async def test_poison_of_every_kind_is_dead_lettered_once_and_the_queue_continues(
    own_gateway: JetStreamGateway, subject: str, data: bytes
) -> None:
    await own_gateway.js.publish(subject, data)
    await own_gateway.commands.send(message(new_chat()))
    async with consuming(own_gateway, queue(concurrency=1), read, notify=notify_its_chat):
        await emptied(own_gateway)
        info = await own_gateway.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.num_ack_pending == 0
    (letter,) = [one async for one in list_letters(own_gateway)]
    assert (letter.original.subject, letter.data, letter.service) == (subject, data, DURABLE)


@pytest.mark.parametrize(
    "trouble",
    [
        ValueError("no"),
        asyncio.CancelledError(),
        ServerUnavailableError("away"),
        ExceptionGroup("", [OSError()]),
    ],
    ids=repr,
)
async def test_retries_are_delayed_and_leave_their_slot_free(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch, trouble: BaseException
) -> None:
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 300)
    heard: list[str] = []

    async def handle(delivery: Delivery) -> None:
        heard.append(said(delivery))
        if said(delivery) == "bad":
            raise trouble

    await give(own_gateway, "bad", *"abcde")
    async with consuming(own_gateway, queue(concurrency=1), handle):
        await until(lambda: "e" in heard)
    assert heard == ["bad", *"abcde"]


def test_retry_delays_grow_up_to_a_limit() -> None:
    grown = [retry_delay(attempt) for attempt in (1, 2, 3, 4, 5, 6, 100, 100_000)]
    assert grown == [1, 2, 4, 8, 16, 30, 30, 30]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "away",
    [NatsUnavailableError("EVENTS"), NoRespondersError(), NewerReleaseError("unknown event")],
    ids=repr,
)
async def test_an_unavailable_server_or_a_newer_release_uses_no_attempt(
    own_gateway: JetStreamGateway, away: Exception
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) <= 6:
            raise away
        if len(attempts) <= 8:
            raise ValueError("to blame")

    dead_lettered: list[str] = []
    await give(own_gateway, "long_ack_wait")
    async with consuming(own_gateway, queue(max_attempts=3), handle, dead_lettered):
        await emptied(own_gateway)
    assert (attempts, dead_lettered) == (list(range(1, 10)), [])
    assert await dead(own_gateway) == 0


@pytest.mark.usefixtures("quick")
async def test_an_outage_that_never_ends_is_dead_lettered_after_the_most_deliveries(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "MAX_DELIVERIES", 2)
    monkeypatch.setattr(settlement, "MAX_RETURNS", 2)

    async def handle(_: Delivery) -> None:
        raise ServerUnavailableError("always")

    dead_lettered: list[str] = []
    await give(own_gateway, "hopeless")
    async with consuming(own_gateway, queue(max_attempts=2), handle, dead_lettered):
        await emptied(own_gateway)
    assert dead_lettered == ["dead-lettered after 5 deliveries"]
    assert await dead(own_gateway) == 1


async def test_clean_stops_use_no_attempt(own_gateway: JetStreamGateway) -> None:
    attempts: list[int] = []

    async def hold(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        await asyncio.sleep(60)

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    await give(own_gateway, "handed on")
    for stop in range(1, 5):
        async with consuming(own_gateway, queue(max_attempts=2), hold):
            await until(lambda stop=stop: len(attempts) == stop)  # type: ignore[misc]
    async with consuming(own_gateway, queue(max_attempts=2), handle):
        await emptied(own_gateway)
    assert attempts == [1, 2, 3, 4, 5]
    assert await dead(own_gateway) == 0


@pytest.mark.usefixtures("quick")
async def test_attempts_are_counted_over_all_processes(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise ValueError("no")

    await give(own_gateway, "bad")
    while not await dead(own_gateway):
        tried = len(attempts)
        async with (
            gateway_of(own_nats) as other,
            consuming(other, queue(max_attempts=4), handle) as consumer,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            while not await dead(own_gateway) and (  # noqa: ASYNC110  a server says when, not we
                len(attempts) == tried or consumer.in_flight
            ):
                await asyncio.sleep(0.01)
    assert attempts == [1, 2, 3, 4]


@pytest.mark.usefixtures("quick")
async def test_messages_are_redelivered_also_without_the_bucket_of_attempts(
    own_gateway: JetStreamGateway,
) -> None:
    await own_gateway.js.delete_key_value(subjects.ATTEMPTS)
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        if len(attempts) < 4:
            raise ValueError("not yet")

    await give(own_gateway, "uncounted")
    async with consuming(own_gateway, queue(max_attempts=2), handle):
        await emptied(own_gateway)
    assert attempts == [1, 2, 3, 4]
    assert await dead(own_gateway) == 0


@pytest.mark.parametrize(
    "trouble", [ValueError("no chat"), asyncio.CancelledError(), ExceptionGroup("", [OSError()])]
)
async def test_a_notification_that_fails_does_not_keep_a_message(
    own_gateway: JetStreamGateway, trouble: BaseException
) -> None:
    told: list[str] = []

    async def handle(_: Delivery) -> None:
        raise UnprocessableMessageError("no command")

    async def notify(_: Delivery, reason: str) -> None:
        told.append(reason)
        raise trouble

    await give(own_gateway, "untellable")
    async with consuming(own_gateway, queue(), handle, notify=notify):
        await emptied(own_gateway)
    assert told == ["no command"]
    assert await dead(own_gateway) == 1


async def test_a_notification_that_never_ends_does_not_keep_a_message(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "NOTIFY_SECONDS", 0.2)

    async def handle(_: Delivery) -> None:
        raise UnprocessableMessageError("no command")

    async def notify(_: Delivery, __: str) -> None:
        await asyncio.Event().wait()

    await give(own_gateway, "untellable")
    async with consuming(own_gateway, queue(), handle, notify=notify):
        await emptied(own_gateway)
    assert await dead(own_gateway) == 1


async def test_a_notification_waits_for_a_server_and_the_dead_letter_is_stored_once(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 0.2)
    config = (await own_gateway.js.stream_info(subjects.DEAD_LETTERS)).config
    await own_gateway.js.update_stream(replace(config, duplicate_window=0.1))  # ids are forgotten
    handled, told = 0, 0

    async def handle(_: Delivery) -> None:
        nonlocal handled
        handled += 1
        raise UnprocessableMessageError("no command")

    async def notify(_: Delivery, reason: str) -> None:
        nonlocal told
        assert reason == "no command"
        told += 1
        if told < 4:
            raise NatsUnavailableError("EVENTS")

    await give(own_gateway, "told at last")
    async with consuming(own_gateway, queue(), handle, notify=notify):
        await emptied(own_gateway)
    assert (handled, told) == (1, 4)
    assert await dead(own_gateway) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how", ["full", "deleted"])
async def test_a_message_that_cannot_be_dead_lettered_stays_in_the_queue_until_it_can(
    own_gateway: JetStreamGateway, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[int] = []
    dead_lettered: list[str] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise UnprocessableMessageError("no command")

    await give(own_gateway, "bad")
    async with consuming(own_gateway, queue(), handle, dead_lettered):
        async with no_room(own_gateway, how):
            await until(lambda: len(attempts) >= 5)
            assert await left(own_gateway) == 1
            assert dead_lettered == []
        await emptied(own_gateway)
        info = await own_gateway.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.num_ack_pending == 0
    assert dead_lettered == ["no command"]
    assert await dead(own_gateway) == 1
    warned = [one for one in caplog.records if "cannot be stored" in one.message]
    assert len(warned) == 1


async def test_a_message_that_waits_for_redelivery_is_delivered_to_a_starting_consumer_at_once(
    own_gateway: JetStreamGateway,
) -> None:
    attempts: list[int] = []

    async def handle(delivery: Delivery) -> None:
        attempts.append(delivery.attempt)

    config = queue(ack_wait_seconds=300).consumer_config()  # longer than the test may last
    await own_gateway.js.add_consumer(subjects.COMMANDS, config)
    await give(own_gateway, "acknowledged", "returned")
    pulling = await own_gateway.js.pull_subscribe_bind(DURABLE, subjects.COMMANDS)
    acknowledged, returned = await pulling.fetch(2)
    await acknowledged.ack_sync()
    await returned.nak()
    async with consuming(own_gateway, queue(ack_wait_seconds=300), handle):
        await emptied(own_gateway)
    assert attempts == [2]
