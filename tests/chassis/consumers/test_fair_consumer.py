"""What one app floods a queue with delays no other app, is kept in bounded memory, and is not lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import AppId
from infra.servers import NatsServer
from services.chassis.consumers import queue_consumer, settlement
from services.chassis.consumers.queue_consumer import Delivery, QueueConsumer
from services.chassis.consumers.settlement import Settlement
from services.chassis.consumers.slots import released
from services.chassis.consumers.takeover import Takeover
from services.chassis.consumers.work_queue import MAX_ACK_PENDING_OF_APPS, Fairness, WorkQueue
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.chassis.story import count_of, gateway_of, message, new_chat, until
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]
DURABLE = "orchestrator"
NOISY, QUIET = AppId("noisy"), AppId("quiet")
Handle = Callable[[Delivery], Awaitable[None]]


def queue(
    *, slots: int = 4, max_open: int = 4, max_held: int = 1000, share: float = 0.5
) -> WorkQueue:
    return WorkQueue(
        subjects.COMMANDS,
        subjects.ALL_COMMANDS,
        DURABLE,
        slots,
        fairness=Fairness(max_open, max_held, share),
    )


@asynccontextmanager
async def consuming(
    gateway: JetStreamGateway, queue: WorkQueue, handle: Handle
) -> AsyncIterator[QueueConsumer]:
    async def on_dead_letter(_: Delivery, reason: str) -> None:
        raise AssertionError(reason)

    consumer = QueueConsumer(gateway, queue, handle, on_dead_letter)
    consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop(5)


def app_of(delivery: Delivery) -> AppId:
    return subjects.parse(delivery.message.subject).key.app


async def give(gateway: JetStreamGateway, app: AppId, count: int) -> None:
    commands = [message(new_chat(app)) for _ in range(count)]
    await asyncio.gather(*map(gateway.commands.send, commands))


async def left(gateway: JetStreamGateway) -> int:
    return await count_of(gateway, subjects.COMMANDS, subjects.ALL_COMMANDS)


async def emptied(gateway: JetStreamGateway) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await left(gateway):  # noqa: ASYNC110  # a queue sets no event
            await asyncio.sleep(0.02)


class Work:
    """A handler that counts by app what has begun, and ends when it may."""

    def __init__(self) -> None:
        self.begun: Counter[AppId] = Counter()
        self.attempts: Counter[int] = Counter()
        self.may_end = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.begun[app_of(delivery)] += 1
        self.attempts[delivery.attempt] += 1
        await self.may_end.wait()


def soon(attempt: int, attempts: list[int]) -> float:
    """The delay of a retry; keeps after which attempt it was."""
    attempts.append(attempt)
    return 0.01


async def test_a_message_behind_the_flood_of_another_app_begins_while_the_flood_waits(
    own_gateway: JetStreamGateway,
) -> None:
    work = Work()
    await give(own_gateway, NOISY, 300)
    await give(own_gateway, QUIET, 1)
    async with consuming(own_gateway, queue(), work) as consumer:
        await until(lambda: work.begun == {NOISY: 2, QUIET: 1})
        assert (consumer.in_flight, consumer.held) == (3, 298)
        work.may_end.set()
        await emptied(own_gateway)
    assert work.begun == {NOISY: 300, QUIET: 1}
    assert work.attempts == {1: 301}


async def test_a_handler_that_waits_without_its_slot_leaves_it_to_others_of_its_app(
    own_gateway: JetStreamGateway,
) -> None:
    outside, working, most = 0, 0, 0
    may_end = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        nonlocal outside, working, most
        await delivery.slot.acquire()
        async with released(delivery.slot):
            outside += 1
            await may_end.wait()
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.001)
        working -= 1

    await give(own_gateway, NOISY, 50)
    async with consuming(own_gateway, queue(max_open=200), handle) as consumer:
        await until(lambda: outside == 50)
        assert consumer.in_flight == 50
        may_end.set()
        await emptied(own_gateway)
    assert most == 2  # its share of the four slots


async def test_what_is_held_is_bounded_and_comes_again_and_what_is_behind_it_begins(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_consumer, "DEFER_SECONDS", 0.3)
    monkeypatch.setattr(queue_consumer, "MAX_FETCHED", 10)
    work = Work()
    most = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal most
        most = max(most, consumer.held)
        await work(delivery)

    await give(own_gateway, NOISY, 100)
    await give(own_gateway, QUIET, 1)
    async with consuming(own_gateway, queue(max_held=20), handle) as consumer:
        await until(lambda: bool(work.begun[QUIET]))
        assert work.begun == {NOISY: 2, QUIET: 1}
        work.may_end.set()
        await emptied(own_gateway)
    assert work.begun == {NOISY: 100, QUIET: 1}
    assert most <= 20 + 10 + 1


async def test_a_message_that_was_deferred_any_number_of_times_is_no_dead_letter(
    own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one that fails then: it has all of its attempts, and waits for each as if it were new."""
    monkeypatch.setattr(queue_consumer, "DEFER_SECONDS", 0.02)
    monkeypatch.setattr(settlement, "MAX_DELIVERIES", 3)
    monkeypatch.setattr(settlement, "MAX_RETURNS", 1)
    delays: list[int] = []
    monkeypatch.setattr(settlement, "retry_delay", lambda attempt: soon(attempt, delays))
    deferred, work = 0, Work()
    begun: Counter[int] = Counter()

    async def handle(delivery: Delivery) -> None:
        await work(delivery)
        begun[delivery.sequence] += 1
        if begun[delivery.sequence] == 1 and delivery.attempt > 3:
            raise ValueError("the first attempt fails")

    whole_defer = Settlement.defer

    async def defer(self: Settlement, message: Msg, seconds: float) -> None:
        nonlocal deferred
        deferred += 1
        await whole_defer(self, message, seconds)

    monkeypatch.setattr(Settlement, "defer", defer)
    await give(own_gateway, NOISY, 8)
    async with consuming(own_gateway, queue(max_held=1), handle):
        await until(lambda: deferred > 60)
        work.may_end.set()
        await emptied(own_gateway)
    assert len(begun) == 8
    assert max(work.attempts) > 5
    assert 0 < max(delays) < 4  # of attempts, not of deliveries
    assert await count_of(own_gateway, subjects.DEAD_LETTERS, ">") == 0


async def test_held_messages_are_returned_at_once_by_a_process_that_stops(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    first, second = Work(), Work()
    second.may_end.set()
    await give(own_gateway, NOISY, 60)
    async with gateway_of(own_nats) as other:
        async with consuming(other, queue(), first) as stopping:
            await until(lambda: stopping.held == 58)
        async with consuming(own_gateway, queue(), second):
            await emptied(own_gateway)
    assert second.begun == {NOISY: 60}


async def test_held_messages_of_a_process_that_is_gone_are_taken_over(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    work, taking = Work(), Work()
    taking.may_end.set()
    await give(own_gateway, NOISY, 60)
    one = queue()
    async with gateway_of(own_nats) as other:
        takeover, dying = Takeover(other, one, "a"), Takeover(own_gateway, one, "b")
        for each in (takeover, dying):
            each.start()
            await each.join()
        try:
            async with consuming(own_gateway, one, work) as gone:
                await until(lambda: gone.held == 58)
                async with consuming(other, one, taking):
                    await own_gateway.nc.close()
                    await emptied(other)
        finally:
            await takeover.stop()
            await dying.stop()
    assert taking.begun == {NOISY: 60}


async def test_a_durable_of_an_earlier_release_is_upgraded_and_keeps_its_messages(
    own_gateway: JetStreamGateway,
) -> None:
    earlier = WorkQueue(subjects.COMMANDS, subjects.ALL_COMMANDS, DURABLE, 4).consumer_config()
    before = await own_gateway.js.add_consumer(subjects.COMMANDS, earlier.evolve(max_ack_pending=3))
    await give(own_gateway, NOISY, 10)
    pulling = await own_gateway.js.pull_subscribe_bind(DURABLE, subjects.COMMANDS)
    taken = await pulling.fetch(3)
    at_its_limit = await own_gateway.js.consumer_info(subjects.COMMANDS, DURABLE)
    assert (at_its_limit.num_ack_pending, at_its_limit.num_pending) == (3, 7)
    for one in taken[:2]:
        await one.ack_sync()
    work = Work()
    async with consuming(own_gateway, queue(), work):
        await until(lambda: work.begun == {NOISY: 2})
        info = await own_gateway.js.consumer_info(subjects.COMMANDS, DURABLE)
        assert info.config is not None
        assert info.config.max_ack_pending == MAX_ACK_PENDING_OF_APPS
        assert info.created == before.created
        work.may_end.set()
        await emptied(own_gateway)
    assert work.begun == {NOISY: 8}
    assert work.attempts == {1: 7, 2: 1}


async def test_what_a_running_chat_waits_for_is_handled_although_its_app_has_no_slot_left(
    own_gateway: JetStreamGateway,
) -> None:
    answered = asyncio.Event()
    waiting = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal waiting
        if delivery.message.data == b"answer":
            answered.set()
            return
        await delivery.slot.acquire()
        waiting += 1
        await answered.wait()

    one = queue(slots=4, max_open=40)  # two slots for one app
    async with consuming(own_gateway, one, handle):
        for _ in range(2):
            subject = subjects.command(new_chat(NOISY), "start_chat")
            await own_gateway.js.publish(subject, b"run")
        await until(lambda: waiting == 2)
        await own_gateway.js.publish(
            subjects.command(new_chat(NOISY), "answer_question"), b"answer"
        )
        await until(answered.is_set)
        await emptied(own_gateway)


async def test_what_open_chats_wait_for_is_handled_although_their_app_may_open_no_more(
    own_gateway: JetStreamGateway,
) -> None:
    """An answer, a stop: without them the chats would stay open as long as their questions."""
    answered = asyncio.Event()
    waiting = 0

    async def handle(delivery: Delivery) -> None:
        nonlocal waiting
        if delivery.message.data == b"answer":
            answered.set()
            return
        await delivery.slot.acquire()
        async with released(delivery.slot):
            waiting += 1
            await answered.wait()

    async with consuming(own_gateway, queue(max_open=8), handle) as consumer:
        for number in range(6):  # four may be open; the rest is held, of either kind
            kind = "start_chat" if number % 2 else "send_message"
            await own_gateway.js.publish(subjects.command(new_chat(NOISY), kind), b"run")
        await until(lambda: waiting == 4 and consumer.held == 2)
        await own_gateway.js.publish(
            subjects.command(new_chat(NOISY), "answer_question"), b"answer"
        )
        await until(answered.is_set)
        await emptied(own_gateway)
    assert waiting == 6


async def test_a_message_whose_app_has_no_room_is_begun_again_and_is_bounded_like_the_others(
    own_gateway: JetStreamGateway,
) -> None:
    """However many messages reach the chats of one app, no more of them run at a time than may be open."""
    running, most, run, tries = 0, 0, 0, Counter[int]()
    may_end = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        nonlocal running, most, run
        tries[delivery.sequence] += 1
        await delivery.slot.acquire()
        async with released(delivery.slot):
            running += 1
            most = max(most, running)
            await may_end.wait()
            running -= 1
        run += 1

    await give(own_gateway, NOISY, 30)
    async with consuming(own_gateway, queue(max_open=8), handle) as consumer:
        await until(lambda: len(tries) == 30 and consumer.held == 26)
        assert (running, consumer.in_flight) == (4, 4)
        may_end.set()
        await emptied(own_gateway)
    assert (most, run) == (4, 30)
    assert max(tries.values()) == 2


async def test_messages_that_are_held_again_are_returned_by_a_process_that_stops(
    own_nats: NatsServer, own_gateway: JetStreamGateway
) -> None:
    may_end = asyncio.Event()
    taking = Work()
    taking.may_end.set()

    async def handle(delivery: Delivery) -> None:
        await delivery.slot.acquire()
        await may_end.wait()

    await give(own_gateway, NOISY, 20)
    async with gateway_of(own_nats) as other:
        async with consuming(other, queue(), handle) as stopping:
            await until(lambda: stopping.held == 18)
        async with consuming(own_gateway, queue(), taking):
            await emptied(own_gateway)
    assert taking.begun == {NOISY: 20}
