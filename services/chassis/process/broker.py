"""FastStream's NATS broker over our connection, and the JetStream gateway of a service."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from faststream.nats import NatsBroker
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from contracts import subjects
from contracts.event_streams import NAMES
from services.chassis.consumers.subscribers import stop_subscriber
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.faststream_fetch import FetchJetStream
from services.chassis.jetstream.gateway import JetStreamGateway, open_gateway
from services.chassis.metrics import Check
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.process.probes import Probes
from services.chassis.process.readiness import answering_readiness
from services.chassis.settings import Settings
from services.chassis.streams.ensure import check_streams, ensure_streams
from services.chassis.streams.monitor import StreamMonitor
from services.chassis.streams.plan import Difference, prevents_work

log = logging.getLogger(__name__)
log_faststream = logging.getLogger(f"{__name__}.faststream")

STREAMS_RETRY_SECONDS = 1.0
"""How long a service waits before it checks again for a stream that it cannot work without."""


class _Broker(NatsBroker):
    """A broker whose connection opens however long NATS is unavailable, and closes in time.

    Its pull subscribers fetch as `faststream_fetch` does. When it stops, their handlers are
    cancelled, and release their messages before the connection closes.
    """

    def __init__(self, connection: Connection, stop_seconds: float) -> None:
        super().__init__(logger=log_faststream, log_level=logging.DEBUG, graceful_timeout=None)
        self.nats = connection
        self._stop_seconds = stop_seconds

    async def _connect(self) -> Connection:
        await self.nats.open()
        self.config.connect(self.nats)
        self.config.connection_state.connect(self.nats, FetchJetStream(self.nats))
        return self.nats

    async def stop(self, *raised: Any) -> None:
        connected = self._connection is not None
        self._connection = None  # else FastStream drains it, without a time limit
        stopping = [stop_subscriber(subscriber) for subscriber in self.subscribers]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._stop_seconds):
                await asyncio.gather(*stopping)
        await super().stop(*raised)
        if connected:
            await self.nats.shut_down(self._stop_seconds)


class _NoCancellations(logging.Filter):
    """FastStream logs each handler that is cancelled by a stop as an error."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


log_faststream.setLevel(logging.WARNING)  # it logs every message and task at INFO
log_faststream.addFilter(_NoCancellations())


def build_broker(settings: Settings, service: str) -> NatsBroker:
    """A broker that waits for NATS as long as it takes, at the start and after an outage."""
    access = access_of(settings, service)
    # The parts that use the connection stop before it, within the rest of the time.
    return _Broker(Connection(access, service), settings.drain_seconds / 4)


@asynccontextmanager
async def connected(
    broker: NatsBroker,
    settings: Settings,
    probes: Probes | None = None,
    needs: Collection[str] | None = None,
    stores: Collection[str] = (),
) -> AsyncIterator[JetStreamGateway]:
    """The gateway over the broker's connection, its streams ensured and monitored; closed at the end.

    Until then the probes say what it waits for. `needs` are the streams that the service works with
    (None: all): without ENSURE_STREAMS it asks for no other. `stores` are those of them that must
    accept messages for the service to be ready.
    """
    is_service = probes is not None
    probes = probes or Probes(CollectorRegistry())
    probes.starting_until(nats=_check(broker))
    if isinstance(broker, _Broker):
        probes.metrics.nats.watch(broker.nats)
    files = {"NATS_CERT_FILE": settings.nats_cert_file, "NATS_CA_FILE": settings.nats_ca_file}
    probes.metrics.health.certificates |= {name: file for name, file in files.items() if file}
    nc = await broker.connect()
    try:
        await _wait_for_streams(nc, settings, probes, needs)
        gateway = open_gateway(nc, settings.encryption_keys, probes.metrics)
        probes.metrics.health.unwritable = gateway.storage.unwritable
        monitor = StreamMonitor(gateway, settings, needs or (), stores)
        probes.ready_only_when(
            streams=lambda: monitor.problem, storage=lambda: gateway.storage.problem
        )
        monitor.start()
        answers = answering_readiness(nc, _name_of(broker), probes) if is_service else nullcontext()
        try:
            async with answers:
                yield gateway
        finally:
            await monitor.stop()
    finally:
        await broker.stop()


async def _wait_for_streams(
    nc: Client, settings: Settings, probes: Probes, needs: Collection[str] | None
) -> None:
    """Return once the streams are usable; until then `/ready` and the log say what differs."""
    logged: list[str] = []
    while True:
        try:
            differing = await _differing_streams(nc, settings, needs)
            needed = [one for one in differing if needs is None or _group(one.stream) in needs]
            blocking = [str(one) for one in needed if prevents_work(one)]
        except NatsUnavailableError as error:
            differing, blocking = [], [str(error)]
        found = blocking or [str(one) for one in differing]
        if found and found != logged:
            log.warning("streams differ from their definitions", extra={"streams": found})
        logged = found
        if not blocking:
            break
        waits_for = "; ".join(blocking)
        probes.starting_until(streams=lambda: waits_for)  # noqa: B023  read before it is set again
        await asyncio.sleep(STREAMS_RETRY_SECONDS)
    probes.starting_until()
    probes.streams_at_start = logged


def _group(stream: str) -> str:
    """EVENTS are all streams of events."""
    return subjects.EVENTS if stream in NAMES else stream


async def _differing_streams(
    nc: Client, settings: Settings, needs: Collection[str] | None
) -> Sequence[Difference]:
    if settings.ensure_streams:
        ensured = await ensure_streams(
            nc, replicas=settings.stream_replicas, event_streams=settings.event_streams
        )
        return ensured.remaining
    return await check_streams(
        nc,
        replicas=settings.stream_replicas,
        names=needs,
        event_streams=settings.event_streams,
    )


def nats_check(gateway: JetStreamGateway) -> Check:
    """Why the gateway of `connected` cannot reach NATS."""
    nc = gateway.nc
    if not isinstance(nc, Connection):
        raise TypeError(f"expected a connection of `connected`, got {type(nc).__name__}")
    return lambda: nc.problem


def _name_of(broker: NatsBroker) -> str:
    """The service that a broker belongs to."""
    return broker.nats.name if isinstance(broker, _Broker) else ""


def _check(broker: NatsBroker) -> Check:
    connection = broker.nats if isinstance(broker, _Broker) else None
    return lambda: connection.problem if connection else None
