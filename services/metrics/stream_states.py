"""The state of our streams and of their durable consumers in NATS, asked for regularly."""

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field, ValidationError

from contracts import subjects
from services.chassis.tasks import cancel_and_wait, repeat
from services.metrics.metrics_state import MetricsState
from services.metrics.nats_permissions import CONSUMED, STREAMS

log = logging.getLogger(__name__)

POLL_SECONDS = 10.0
ANSWER_SECONDS = 2.0

_STREAMS = {
    "messages": "Messages that a stream holds",
    "bytes": "Bytes that a stream holds",
    "last_sequence": "The position of a stream's last message",
}
_CONSUMERS = {
    "pending_messages": "Messages of a stream that a durable consumer has not been delivered yet",
    "unacknowledged_messages": "Messages that a durable consumer was delivered and has not settled",
    "redelivered_messages": "Of these, messages that were delivered more than once",
}


class _Replica(BaseModel):
    current: bool = False
    offline: bool = False


class _Cluster(BaseModel):
    leader: str = ""
    replicas: list[_Replica] = []


class _Counts(BaseModel):
    messages: int = 0
    bytes: int = 0
    last_seq: int = 0


class _StreamInfo(BaseModel):
    """The answer to STREAM.INFO; without `cluster` on a server that is alone."""

    state: _Counts
    cluster: _Cluster | None = None


class _ConsumerConfig(BaseModel):
    durable_name: str | None = None


class _ConsumerInfo(BaseModel):
    config: _ConsumerConfig
    num_pending: int = 0
    num_ack_pending: int = 0
    num_redelivered: int = 0


class _ConsumerList(BaseModel):
    consumers: list[_ConsumerInfo] | None = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream; none of its numbers is known where it is not available."""

    is_available: bool
    numbers: dict[str, float] = field(default_factory=dict)
    current: int = 0
    behind: int = 0
    """Replicas that have all messages, the leader among them, and those that have not."""


class StreamShown(BaseModel):
    """A stream as NATS answered last; numbers are 0 where it is not available."""

    stream: str
    is_available: bool
    messages: int
    bytes: int
    last_sequence: int
    replicas_current: int
    replicas_behind: int


class ConsumerShown(BaseModel):
    """How far a durable consumer is: what it was not delivered, and what it has not settled."""

    stream: str
    consumer: str
    pending: int
    unacknowledged: int
    redelivered: int


class StreamsShown(BaseModel):
    """All streams and durable consumers. `unfolded_messages` are not in the numbers of metrics yet."""

    streams: list[StreamShown] = []
    consumers: list[ConsumerShown] = []
    unfolded_messages: int = 0


class StreamStates(Collector):
    """Asks NATS, and shows what it answered last."""

    def __init__(self, state: MetricsState) -> None:
        self._metrics = state
        self._streams: dict[str, StreamState] = {}
        self._consumers: dict[tuple[str, str], dict[str, float]] = {}
        self._loop: asyncio.Task[None] | None = None

    def start(self, nc: Client) -> None:
        self._loop = asyncio.create_task(
            repeat(partial(self._poll_connected, nc), POLL_SECONDS, log), name="poll streams"
        )

    async def stop(self) -> None:
        if self._loop is not None:
            await cancel_and_wait(self._loop)

    async def _poll_connected(self, nc: Client) -> None:
        if nc.is_connected:
            await self.poll(nc)

    async def poll(self, nc: Client) -> None:
        """Ask once; what does not answer is not available."""
        others = [stream for stream in self._metrics.positions if stream != subjects.EVENTS]
        streams = [*STREAMS, *others]
        found = await asyncio.gather(*(_stream(nc, name) for name in streams))
        self._streams = dict(zip(streams, found, strict=True))
        for stream in (*CONSUMED, *others):
            answer = await _ask(nc, f"$JS.API.CONSUMER.LIST.{stream}", b'{"offset":0}')
            try:
                listed = _ConsumerList.model_validate(answer or {}).consumers or []
            except ValidationError:
                log.warning("the consumers of a stream cannot be read", extra={"stream": stream})
                continue
            for one in listed:
                if one.config.durable_name is not None:
                    self._consumers[stream, one.config.durable_name] = {
                        "pending_messages": one.num_pending,
                        "unacknowledged_messages": one.num_ack_pending,
                        "redelivered_messages": one.num_redelivered,
                    }

    def shown(self) -> StreamsShown:
        """What NATS answered last."""
        return StreamsShown(
            streams=[_shown(name, state) for name, state in self._streams.items()],
            consumers=[
                ConsumerShown(
                    stream=stream,
                    consumer=consumer,
                    pending=int(numbers["pending_messages"]),
                    unacknowledged=int(numbers["unacknowledged_messages"]),
                    redelivered=int(numbers["redelivered_messages"]),
                )
                for (stream, consumer), numbers in self._consumers.items()
            ],
            unfolded_messages=int(self._unfolded()),
        )

    def collect(self) -> Iterator[Metric]:
        available = GaugeMetricFamily(
            "mozaiks_stream_available",
            "1 while a stream answers: it exists, and has a leader that a quorum chose",
            labels=["stream"],
        )
        replicas = GaugeMetricFamily(
            "mozaiks_stream_replicas",
            "Replicas of a stream by state: current (they have all messages) or behind",
            labels=["stream", "state"],
        )
        for name, state in self._streams.items():
            available.add_metric([name], state.is_available)
            replicas.add_metric([name, "current"], state.current)
            replicas.add_metric([name, "behind"], state.behind)
        yield available
        yield replicas
        for number, what in _STREAMS.items():
            family = GaugeMetricFamily(f"mozaiks_stream_{number}", what, labels=["stream"])
            for name, state in self._streams.items():
                if number in state.numbers:
                    family.add_metric([name], state.numbers[number])
            yield family
        for number, what in _CONSUMERS.items():
            family = GaugeMetricFamily(
                f"mozaiks_consumer_{number}", what, labels=["stream", "consumer"]
            )
            for consumer, numbers in self._consumers.items():
                family.add_metric(consumer, numbers[number])
            yield family
        yield GaugeMetricFamily(
            "mozaiks_log_unfolded_messages",
            "Messages of the log that these metrics do not count yet, when NATS was asked last",
            value=self._unfolded(),
        )

    def _unfolded(self) -> float:
        lags = (
            self._streams[stream].numbers.get("last_sequence", 0.0) - position
            for stream, position in self._metrics.positions.items()
            if stream in self._streams
        )
        return sum(max(0.0, lag) for lag in lags)


def _shown(name: str, state: StreamState) -> StreamShown:
    numbers = {key: int(number) for key, number in state.numbers.items()}
    return StreamShown(
        stream=name,
        is_available=state.is_available,
        messages=numbers.get("messages", 0),
        bytes=numbers.get("bytes", 0),
        last_sequence=numbers.get("last_sequence", 0),
        replicas_current=state.current,
        replicas_behind=state.behind,
    )


async def _stream(nc: Client, name: str) -> StreamState:
    answer = await _ask(nc, f"$JS.API.STREAM.INFO.{name}", b"")
    try:
        info = _StreamInfo.model_validate(answer)
    except ValidationError:  # no answer, or an error: no such stream, no quorum
        return StreamState(is_available=False)
    counts, cluster = info.state, info.cluster
    numbers = {
        "messages": float(counts.messages),
        "bytes": float(counts.bytes),
        "last_sequence": float(counts.last_seq),
    }
    others = [] if cluster is None else cluster.replicas
    current = 1 + sum(one.current and not one.offline for one in others)
    has_leader = cluster is None or bool(cluster.leader)
    return StreamState(has_leader, numbers, current, 1 + len(others) - current)


async def _ask(nc: Client, subject: str, data: bytes) -> Any:
    """The answer as JSON; None where there is none in time."""
    try:
        reply = await nc.request(subject, data, timeout=ANSWER_SECONDS)
    except (NatsError, OSError, TimeoutError):
        return None
    return json.loads(reply.data)
