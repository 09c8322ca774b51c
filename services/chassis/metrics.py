"""The metrics that every process has: its connection, its log, its queues, its HTTP routes, its memory.

No label of a process's metrics names a tenant, a chat or a user: the page /metrics asks for no token.
Numbers by tenant are those of the metrics service, which folds them from the log.
"""

import asyncio
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

RELEASE = "0.1.0"
"""The version of the services' manifests."""
LOOP_SAMPLE_SECONDS = 0.5
"""Between two samples of the event loop's delay."""
OTHER = "other"
"""The value of a label beyond its cap."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the histograms of what takes milliseconds."""
LONG_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0)
"""The same of what may take minutes."""
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_UNMATCHED = "unmatched"
"""The route of a request that has none: its path is the client's choice."""

Check = Callable[[], str | None]
"""What is not ready, in a few words; None where nothing is wrong."""


class MonitoredConnection(Protocol):
    """A connection to NATS (`services.chassis.nats.connection`)."""

    stats: dict[str, int]

    @property
    def is_connected(self) -> bool: ...

    @property
    def is_deaf(self) -> bool: ...

    @property
    def times_deaf(self) -> int: ...


class DeliveredMessage(Protocol):
    """What JetStream says about a message that it delivers (nats.aio.msg.Msg.Metadata)."""

    @property
    def num_delivered(self) -> int: ...

    @property
    def timestamp(self) -> datetime: ...


def seconds_since(past: datetime) -> float:
    """By the clock of this machine; below zero where the past one was ahead."""
    now = datetime.now(UTC)  # noqa: TID251  measured, never decided on
    return (now - past).total_seconds()


class LabelCap:
    """Keeps the number of a label's values bounded: values after the first `most` are OTHER."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str | None) -> str:
        name = value or "unknown"
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name


class ProcessMetrics:
    """The metrics of one process, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.nats = NatsCollector()
        self.health = HealthCollector()
        registry.register(self.nats)
        registry.register(self.health)
        ProcessCollector(registry=registry)
        self._build = Gauge(
            "mozaiks_build_info",
            "1, with the service and its version as labels",
            ["service", "version", "python"],
            registry=registry,
        )
        self.loop_delay = Histogram(
            "mozaiks_event_loop_delay_seconds",
            "How much later than asked the event loop woke a task up, sampled twice a second",
            buckets=SECONDS,
            registry=registry,
        )
        self.http = Histogram(
            "mozaiks_http_request_duration_seconds",
            "From an HTTP request to the first byte of its answer",
            ["method", "route", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self.appends = Histogram(
            "mozaiks_append_duration_seconds",
            "From an append to the log to NATS's answer, by outcome: stored, conflict (another append"
            " came first), unavailable, failed (rejected, or cancelled)",
            ["outcome"],
            buckets=SECONDS,
            registry=registry,
        )
        self.append_size = Histogram(
            "mozaiks_append_events",
            "Events that one append stores together",
            buckets=(1, 2, 3, 5, 8, 13, 21, 50),
            registry=registry,
        )
        self.queue_wait = Histogram(
            "mozaiks_queue_wait_seconds",
            "From the storing of a message in a queue to its first handling",
            ["queue"],
            buckets=LONG_SECONDS,
            registry=registry,
        )
        self.queue_run = Histogram(
            "mozaiks_queue_run_seconds",
            "How long the handling of a queue's message took, its chat's run included",
            ["queue"],
            buckets=LONG_SECONDS,
            registry=registry,
        )
        self.slots = Gauge(
            "mozaiks_queue_slots",
            "How many messages of a queue this process handles at most at a time",
            ["queue"],
            registry=registry,
        )
        self.slots_used = Gauge(
            "mozaiks_queue_slots_used",
            "How many messages of a queue this process is handling",
            ["queue"],
            registry=registry,
        )
        self.queue_open = Gauge(
            "mozaiks_queue_open",
            "Messages of a queue in progress in this process, with a slot or waiting for one or for a"
            " model",
            ["queue"],
            registry=registry,
        )
        self.queue_held = Gauge(
            "mozaiks_queue_held",
            "Messages of a queue that this process has taken and not begun: they wait for their app's"
            " turn",
            ["queue"],
            registry=registry,
        )
        self.slots_awaited = Gauge(
            "mozaiks_queue_slots_awaited",
            "Messages of a queue in progress in this process that wait for a slot",
            ["queue"],
            registry=registry,
        )
        self.redeliveries = Counter(
            "mozaiks_redeliveries",
            "Messages that were delivered to this process again, by consumer",
            ["consumer"],
            registry=registry,
        )
        self.returned = Counter(
            "mozaiks_returned_messages",
            "Messages of a process that is gone that this one returned to their queue",
            ["queue"],
            registry=registry,
        )
        self.deferred = Counter(
            "mozaiks_deferred_messages",
            "Messages that this process returned to their queue unbegun: too many of their app waited",
            ["queue"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "mozaiks_dead_letters",
            "Messages that this process stored in DEAD_LETTERS, by consumer",
            ["service"],
            registry=registry,
        )

    def describe_build(self, service: str) -> None:
        """Say which service this process is."""
        self._build.labels(service, RELEASE, platform.python_version()).set(1)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an HTTP request; `route` is the template of its path, empty where it has none."""
        known = method if method in _METHODS else OTHER
        self.http.labels(known, route or _UNMATCHED, str(status)).observe(seconds)

    @contextmanager
    def handling(
        self, queue: str, message: DeliveredMessage, *, uses_slot: bool = True
    ) -> Iterator[None]:
        """Measure the handling of a queue's message that is done inside.

        `uses_slot`: it uses a slot all the time; else the queue's consumer counts those in use.
        """
        if (message.num_delivered or 1) == 1:
            stored = message.timestamp
            self.queue_wait.labels(queue).observe(max(0.0, seconds_since(stored)))
        used, began = self.slots_used.labels(queue), perf_counter()
        used.inc(uses_slot)
        try:
            yield
        finally:
            used.dec(uses_slot)
            self.queue_run.labels(queue).observe(perf_counter() - began)

    async def sample_loop(self) -> None:
        """Measure the event loop's delay until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            due = clock() + LOOP_SAMPLE_SECONDS
            await asyncio.sleep(LOOP_SAMPLE_SECONDS)
            self.loop_delay.observe(max(0.0, clock() - due))


def unregistered() -> ProcessMetrics:
    """Metrics that no page shows, for command line tools and parts that are used alone."""
    return ProcessMetrics(CollectorRegistry())


class NatsCollector(Collector):
    """The state of the connection to NATS, read at each scrape."""

    def __init__(self) -> None:
        self._connection: MonitoredConnection | None = None

    def watch(self, connection: MonitoredConnection) -> None:
        self._connection = connection

    def collect(self) -> Iterator[Metric]:
        nc = self._connection
        stats = {} if nc is None else nc.stats
        up = nc is not None and nc.is_connected
        deaf = nc is not None and nc.is_deaf
        yield GaugeMetricFamily(
            "mozaiks_nats_connected", "1 while the connection to NATS is open", value=up
        )
        yield GaugeMetricFamily(
            "mozaiks_nats_deaf",
            "1 while nothing is received although the connection seems open",
            value=deaf,
        )
        yield CounterMetricFamily(
            "mozaiks_nats_times_deaf",
            "How often the connection received nothing and was opened anew",
            value=0 if nc is None else nc.times_deaf,
        )
        for name, key, what in (
            ("reconnects", "reconnects", "How often the connection to NATS was opened again"),
            ("received_messages", "in_msgs", "Messages received from NATS"),
            ("sent_messages", "out_msgs", "Messages sent to NATS"),
            ("received_bytes", "in_bytes", "Bytes received from NATS"),
            ("sent_bytes", "out_bytes", "Bytes sent to NATS"),
        ):
            yield CounterMetricFamily(f"mozaiks_nats_{name}", what, value=stats.get(key, 0))


class HealthCollector(Collector):
    """What /ready says, and which streams store nothing, read at each scrape."""

    def __init__(self) -> None:
        self.checks: Callable[[], dict[str, Check]] = dict
        self.unwritable: Callable[[], set[str]] = set
        self.certificates: dict[str, Path] = {}
        """By the variable that names it: each file of certificates that the process uses."""
        self._seen: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        failing = {name: bool(check()) for name, check in self.checks().items()}
        ready = not any(failing.values())
        yield GaugeMetricFamily("mozaiks_ready", "1 while /ready answers 200", value=ready)
        checks = GaugeMetricFamily(
            "mozaiks_check_failing", "1 for each check of /ready that fails", labels=["check"]
        )
        for name, fails in failing.items():
            checks.add_metric([name], fails)
        yield checks
        streams = GaugeMetricFamily(
            "mozaiks_stream_unwritable",
            "1 while NATS stores nothing in a stream of this process: its disk or a limit is full",
            labels=["stream"],
        )
        now = self.unwritable()
        self._seen |= now
        for stream in sorted(self._seen):
            streams.add_metric([stream], stream in now)
        yield streams
        expiries = GaugeMetricFamily(
            "mozaiks_certificate_expiry_timestamp_seconds",
            "When the first certificate of a file expires; 0 where the file cannot be read",
            labels=["file"],
        )
        for variable, file in self.certificates.items():
            expiries.add_metric([variable], _first_expiry(file))
        yield expiries


def _first_expiry(file: Path) -> float:
    from cryptography import x509  # 8 MB: only where a file is configured

    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError):
        return 0.0
    return min(one.not_valid_after_utc.timestamp() for one in found)
