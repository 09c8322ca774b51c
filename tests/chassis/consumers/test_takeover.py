"""The messages of a process that is gone are returned at once; those of all others are left alone.

The ack wait is longer than a test may last: whatever is redelivered here was returned by a process.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.commands import SendMessage
from contracts.ids import StreamSeq
from infra.servers import NatsServer
from services.chassis.consumers import settlement, takeover
from services.chassis.consumers.peers import PeerTable
from services.chassis.consumers.queue_consumer import Delivery, QueueConsumer
from services.chassis.consumers.takeover import Takeover
from services.chassis.consumers.work_queue import WorkQueue
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.redelivery import list_unacknowledged, return_messages
from services.chassis.nats.connection import Connection
from services.chassis.process.broker import build_broker, connected
from services.chassis.settings import Settings
from services.chassis.streams.ensure import ensure_streams
from tests.chassis.consumers.test_queue_consumer import DURABLE, give, left, said
from tests.chassis.story import gateway_of, until
from tests.patience import PATIENCE_SECONDS

pytestmark = [pytest.mark.broker]


def queue_of(concurrency: int = 4, ack_wait_seconds: float = 300) -> WorkQueue:
    return WorkQueue(
        subjects.COMMANDS, subjects.ALL_COMMANDS, DURABLE, concurrency, ack_wait_seconds
    )


class Process:
    """What one process has of the takeover: it holds each message, until it is released."""

    def __init__(self, name: str, gateway: JetStreamGateway, queue: WorkQueue) -> None:
        self.gateway = gateway
        self.takeover = Takeover(gateway, queue, name)
        self.consumer = QueueConsumer(gateway, queue, self._handle, self._on_dead_letter)
        self.held: list[tuple[str, int]] = []
        self.may_end = asyncio.Event()

    async def start(self) -> None:
        self.takeover.start()
        await self.join()

    async def stop(self) -> None:
        await self.consumer.stop(5)
        await self.takeover.stop()

    async def kill(self) -> None:
        """Its connection ends, and nothing of it runs any more."""
        nc = self.gateway.nc
        assert isinstance(nc, Connection)
        nc.options["allow_reconnect"] = False
        nc._drop_socket()
        await until(lambda: nc.is_closed)
        await self.stop()

    def ignore_everything(self) -> asyncio.Event:
        """It keeps its connection and neither probes nor answers; set once somebody has asked it."""
        asked = asyncio.Event()

        async def ignore(_: Msg) -> None:
            asked.set()

        assert self.takeover._probing is not None
        self.takeover._probing.cancel()
        for subscription in self.gateway.nc._subs.values():
            if subscription.subject == subjects.peers(DURABLE):
                subscription._cb = ignore
        return asked

    async def join(self) -> None:
        await self.takeover.join()
        self.consumer.start()

    def texts(self) -> list[str]:
        return [text for text, _ in self.held]

    async def _handle(self, delivery: Delivery) -> None:
        text = said(delivery)
        self.held.append((text, delivery.attempt))
        if text == "fails" and delivery.attempt == 1:
            raise ValueError(text)
        await self.may_end.wait()

    async def _on_dead_letter(self, _: Delivery, reason: str) -> None:
        raise AssertionError(reason)


class Stage:
    """Processes of one queue on one server."""

    def __init__(self, server: NatsServer, stack: AsyncExitStack) -> None:
        self._server = server
        self._stack = stack

    async def process(
        self, name: str, concurrency: int = 4, ack_wait_seconds: float = 300
    ) -> Process:
        process = await self.prepared(name, concurrency, ack_wait_seconds)
        await process.start()
        return process

    async def prepared(
        self, name: str, concurrency: int = 4, ack_wait_seconds: float = 300
    ) -> Process:
        """A process that has not started."""
        queue = queue_of(concurrency, ack_wait_seconds)
        gateway = await self._stack.enter_async_context(gateway_of(self._server))
        process = Process(name, gateway, queue)
        self._stack.push_async_callback(process.stop)
        return process


@pytest.fixture
async def stage(own_nats: NatsServer) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(own_nats, stack)


async def know_each_other(*processes: Process) -> None:
    await until(lambda: all(len(one.takeover.peers) == len(processes) - 1 for one in processes))


async def test_a_message_of_a_process_that_is_gone_is_returned_by_another(
    stage: Stage, own_gateway: JetStreamGateway
) -> None:
    first = await stage.process("a")
    await give(own_gateway, "one", "two")
    await until(lambda: len(first.held) == 2)
    second = await stage.process("b")
    await know_each_other(first, second)
    await first.kill()
    await until(lambda: len(second.held) == 2)
    assert sorted(second.held) == [("one", 2), ("two", 2)]
    second.may_end.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await left(own_gateway):  # noqa: ASYNC110  # a queue sets no event
            await asyncio.sleep(0.02)


async def test_messages_of_the_living_and_delayed_ones_are_left_alone(
    stage: Stage, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "retry_delay", lambda _: 300)
    gone, alive = await stage.process("a", 1), await stage.process("b", 1)
    await know_each_other(gone, alive)
    await give(own_gateway, "mine", "yours")
    await until(lambda: len(gone.held) == len(alive.held) == 1)
    free = await stage.process("c")
    await know_each_other(gone, alive, free)
    await give(own_gateway, "fails")
    await until(lambda: free.held == [("fails", 1)])
    abandoned = gone.texts()
    await gone.kill()
    await until(lambda: len(free.held) == 2)
    await asyncio.sleep(1)
    assert free.held[1:] == [(abandoned[0], 2)]
    assert len(alive.held) == 1


async def test_several_processes_that_are_gone_at_once_leave_nothing_behind(
    stage: Stage, own_gateway: JetStreamGateway
) -> None:
    some = [await stage.process(name, 1) for name in "abcd"]
    await know_each_other(*some)
    await give(own_gateway, *"1234")
    await until(lambda: all(len(one.held) == 1 for one in some))
    last = await stage.process("bb", 8)
    await know_each_other(*some, last)
    await asyncio.gather(*(one.kill() for one in some))
    await until(lambda: len(last.held) == 4)
    assert sorted(last.held) == [(text, 2) for text in "1234"]


async def test_a_process_that_starts_alone_returns_what_its_predecessor_left(
    stage: Stage, own_gateway: JetStreamGateway
) -> None:
    first = await stage.process("a")
    await give(own_gateway, "left")
    await until(lambda: first.held == [("left", 1)])
    await first.kill()
    second = await stage.process("b")
    await until(lambda: second.held == [("left", 2)])


async def test_a_process_that_starts_beside_another_returns_nothing(
    stage: Stage, own_gateway: JetStreamGateway
) -> None:
    first = await stage.process("a")
    await give(own_gateway, "kept")
    await until(lambda: first.held == [("kept", 1)])
    second = await stage.process("b")
    await know_each_other(first, second)
    await asyncio.sleep(1)
    assert (first.held, second.held) == ([("kept", 1)], [])


async def test_a_process_that_takes_long_to_start_is_no_loss(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    first, slow = await stage.process("a"), await stage.prepared("b")
    slow.takeover.start()
    await asyncio.sleep(1)
    await slow.join()
    await know_each_other(first, slow)
    assert "is gone" not in caplog.text


async def test_a_process_that_starts_during_an_outage_joins_the_others_after_it(
    own_nats: NatsServer, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "SUBSCRIBE_SECONDS", 0.1)
    monkeypatch.setattr(takeover, "RETRY_SECONDS", 0.1)
    first, second = await stage.process("a"), await stage.prepared("b")
    own_nats.pause()
    try:
        await second.start()
        assert second.takeover.peers == frozenset()
    finally:
        own_nats.resume()
    await know_each_other(first, second)


async def test_a_process_that_stops_is_no_loss(
    stage: Stage, own_gateway: JetStreamGateway, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await stage.process("a"), await stage.process("b")
    await know_each_other(first, second)
    await give(own_gateway, "one")
    await until(lambda: len(first.held + second.held) == 1)
    stopping, other = (first, second) if first.held else (second, first)
    await stopping.stop()
    await until(lambda: other.held == [("one", 2)] and not other.takeover.peers)
    assert "is gone" not in caplog.text


async def test_a_process_that_stops_begins_no_takeover_of_one_that_is_gone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = (await stage.process("a")).takeover
    monkeypatch.setattr(PeerTable, "absent", lambda *_: True)
    inbox, probe = stopping._inbox, stopping._probe
    no_responders = Msg(stopping._nc, f"{inbox}.b.{probe}")
    await asyncio.gather(stopping.stop(), stopping._on_response(no_responders))
    assert "return abandoned messages" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_a_short_loss_of_the_connection_makes_no_process_gone(
    stage: Stage, own_gateway: JetStreamGateway
) -> None:
    first = await stage.process("a")
    await give(own_gateway, "kept")
    await until(lambda: first.held == [("kept", 1)])
    second = await stage.process("b")
    await know_each_other(first, second)
    nc = first.gateway.nc
    assert isinstance(nc, Connection)
    nc._drop_socket()
    await until(lambda: nc.stats["reconnects"] == 1)
    await asyncio.sleep(1)
    assert second.held == []
    assert first.takeover.peers == {"b"}


async def test_a_restart_of_the_server_makes_no_process_gone(
    own_nats: NatsServer, stage: Stage, own_gateway: JetStreamGateway
) -> None:
    first = await stage.process("a")
    await give(own_gateway, "kept")
    await until(lambda: first.held == [("kept", 1)])
    second = await stage.process("b")
    await know_each_other(first, second)
    await asyncio.to_thread(own_nats.restart)
    both = [one.gateway.nc for one in (first, second)]
    await until(lambda: all(nc.is_connected and nc.stats["reconnects"] for nc in both))
    await asyncio.sleep(1)
    assert second.held == []


async def test_nothing_is_returned_while_a_connected_peer_does_not_say_what_it_holds(
    stage: Stage, own_gateway: JetStreamGateway, caplog: pytest.LogCaptureFixture
) -> None:
    gone, paused = await stage.process("a", 1), await stage.process("b", 1)
    await give(own_gateway, "one", "two")
    await until(lambda: len(gone.held) == len(paused.held) == 1)
    watching = await stage.process("c", ack_wait_seconds=2)
    await know_each_other(gone, paused, watching)
    asked = paused.ignore_everything()
    await gone.kill()
    await asked.wait()
    assert watching.takeover.peers == {"b"}
    await until(lambda: "does not answer" in caplog.text)
    assert watching.held == []


async def test_a_message_that_crashed_several_processes_is_left_to_the_ack_wait(
    stage: Stage, own_gateway: JetStreamGateway
) -> None:
    await give(own_gateway, "poison")
    for attempt, name in enumerate("abc", start=1):
        process = await stage.process(name)
        await until(lambda: process.held == [("poison", attempt)])  # noqa: B023
        await process.kill()
    last = await stage.process("d")
    await asyncio.sleep(1)
    assert last.held == []


async def test_only_what_is_unacknowledged_is_returned_and_once_while_it_waits(
    own_gateway: JetStreamGateway,
) -> None:
    await give(own_gateway, "acknowledged", "held", "undelivered")
    config = queue_of().consumer_config()
    await own_gateway.js.add_consumer(subjects.COMMANDS, config)
    pulling = await own_gateway.js.pull_subscribe_bind(DURABLE, subjects.COMMANDS)
    acknowledged, held = await pulling.fetch(2)
    await acknowledged.ack_sync()
    found = await list_unacknowledged(
        own_gateway, subjects.COMMANDS, DURABLE, subjects.ALL_COMMANDS
    )
    assert found.positions == {held.metadata.sequence.stream}
    everything = [StreamSeq(position) for position in range(1, 5)] * 2
    await return_messages(
        own_gateway, subjects.COMMANDS, DURABLE, everything, found.consumer_sequence
    )
    await own_gateway.nc.request(held.reply, Msg.Ack.Progress)  # answered after those before it
    again: list[Msg] = []
    with suppress(TimeoutError):  # nats-py raises its own, or asyncio's where the time ends earlier
        while True:
            again += await pulling.fetch(5, timeout=1)
    assert sorted(attempt_of(message) for message in again) == [("held", 2), ("undelivered", 1)]


def attempt_of(message: Msg) -> tuple[str, int | None]:
    text = SendMessage.model_validate_json(message.data).text
    return text, message.metadata.num_delivered


PEERS = "mozaiks.peers.orchestrator.>"
ALLOWED = [
    *("$JS.API.STREAM.INFO.COMMANDS", "$JS.API.CONSUMER.*.COMMANDS.orchestrator"),
    *("$JS.API.CONSUMER.*.*.COMMANDS.orchestrator", "$JS.ACK.COMMANDS.orchestrator.>"),
    *("$JS.API.DIRECT.GET.COMMANDS", "$JS.API.DIRECT.GET.KV_attempts"),
    *("$JS.API.STREAM.MSG.GET.KV_attempts", "$KV.attempts.orchestrator.>"),
    "_INBOX_orchestrator.>",
]


@pytest.mark.parametrize("more", [[PEERS], []])
async def test_a_takeover_needs_one_more_permission_and_nothing_fails_without_it(
    tmp_path: Path, more: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    users = f"""
    authorization {{ users: [
      {{user: operator, password: o}}
      {{user: orchestrator, password: o, permissions: {{
        publish: {json.dumps(ALLOWED + more)}
        subscribe: {json.dumps(["_INBOX_orchestrator.>", *more])}
      }}}}
    ] }}
    """
    server = NatsServer(tmp_path / "nats", options=users)
    await asyncio.to_thread(server.start)
    address = server.url.removeprefix("nats://")
    limited = Settings(nats_url=f"nats://orchestrator:o@{address}", ensure_streams=False)
    try:
        async with AsyncExitStack() as stack:
            operator = await stack.enter_async_context(
                gateway_at(Settings(nats_url=f"nats://operator:o@{address}"))
            )
            await ensure_streams(operator.nc, replicas=1)
            processes = []
            for name in "ab":
                gateway = await stack.enter_async_context(gateway_at(limited))
                processes.append(Process(name, gateway, queue_of(1, 300 if more else 0.5)))
                stack.push_async_callback(processes[-1].stop)
                await processes[-1].start()
            await give(operator, "one")
            await until(lambda: any(one.held for one in processes))
            first, second = sorted(processes, key=lambda one: not one.held)
            if more:
                await know_each_other(*processes)
            await first.kill()
            await until(lambda: second.held == [("one", 2)])
    finally:
        await asyncio.to_thread(server.stop)
    assert ("no takeover" in caplog.text) == (not more)


@asynccontextmanager
async def gateway_at(settings: Settings) -> AsyncIterator[JetStreamGateway]:
    async with connected(build_broker(settings, "orchestrator"), settings, needs=()) as gateway:
        yield gateway
