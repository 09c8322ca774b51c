"""Which streams cannot store now, from the outcome of this process's writes and from its monitor.

nats-server 2.15.1, measured: at the first write that the disk rejects, a stream stops accepting
messages until its server is restarted, even if there is space again. The publisher gets no answer.
Limits that are reached (of the server, the account or the stream) are answered at once, and end by
themselves.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError, ServiceUnavailableError
from pydantic_core import from_json

from contracts import subjects
from contracts.event_streams import ONE_STREAM, slot_of
from services.chassis.nats.unavailable import NATS_UNAVAILABLE

SILENT_SECONDS = 5.0
"""Between the first and the last of several unanswered writes: an election takes less."""
FRESH_SECONDS = 3.0
"""How long a result of the monitor prevents writes; it checks more often than that."""
KEPT_SECONDS = 40.0
"""How long a failed write counts without another: longer than any pause between attempts."""

_LIMITS = {
    10002: "the limit of the JetStream account is reached",  # JSAccountResourcesExceededErr
    10023: "the JetStream limit of the server is reached (max_file_store)",  # JSInsufficientResources
    10028: "the JetStream memory limit is reached",  # JSMemoryResourcesExceededErr
    10047: "the JetStream storage limit is reached",  # JSStorageResourcesExceededErr
    10077: "the stream's own limit is reached, or its disk is full",  # JSStreamStoreFailedF
}

Kind = Literal["rejected", "unanswered", "stopped"]


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: Kind
    reason: str
    first: float
    last: float


class StorageHealth:
    """The streams that do not accept messages, each with the reason, for an operator."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, _Failure] = {}
        self.event_streams = ONE_STREAM
        """The streams of events, as this process knows them."""

    def stream_of(self, subject: str) -> str:
        """The stream that stores a subject; the subject itself where none of ours does."""
        stream = stream_of(subject)
        if stream != subjects.EVENTS:
            return stream
        return self.event_streams.holder(slot_of(subject))

    def record_stored(self, stream: str) -> None:
        """A write was stored."""
        self._failures.pop(stream, None)

    def record_rejected(self, stream: str, reason: str) -> None:
        """A write was answered: a limit is reached."""
        self._note(stream, "rejected", reason)

    def record_unanswered(self, stream: str) -> None:
        """A write was not answered, although the connection is up."""
        self._note(stream, "unanswered", "writes are not answered")

    def record_stopped(self, stream: str, reason: str) -> None:
        """The monitor found that the stream does not accept messages."""
        self._note(stream, "stopped", reason)

    def record_running(self, stream: str) -> None:
        """The monitor found that the stream accepts messages: unanswered writes may have been slow."""
        failure = self._failures.get(stream)
        if failure is not None and failure.kind != "rejected":
            del self._failures[stream]

    @property
    def problem(self) -> str | None:
        """Every stream that cannot store, for readiness; None where there is none."""
        found = [
            f"{stream}: {why}" for stream in sorted(self._failures) if (why := self.reason(stream))
        ]
        return f"NATS cannot store: {'; '.join(found)}" if found else None

    def reason(self, stream: str) -> str | None:
        """Why a stream does not accept messages; None where it does, as far as is known."""
        failure = self._failures.get(stream)
        if failure is None or self._clock() - failure.last > KEPT_SECONDS:
            return None
        brief = failure.kind == "unanswered" and failure.last - failure.first < SILENT_SECONDS
        return None if brief else failure.reason

    def unwritable(self) -> set[str]:
        """The streams that store nothing now."""
        return {stream for stream in self._failures if self.reason(stream)}

    def stopped_reason(self, stream: str) -> str | None:
        """The reason, if the monitor found that it accepts nothing: no write needs to be attempted."""
        failure = self._failures.get(stream)
        if failure is None or failure.kind != "stopped":
            return None
        return failure.reason if self._clock() - failure.last <= FRESH_SECONDS else None

    @property
    def has_failures(self) -> bool:
        """Whether any stream has a failed write since its last stored one."""
        return bool(self._failures)

    def _note(self, stream: str, kind: Kind, reason: str) -> None:
        now, before = self._clock(), self._failures.get(stream)
        if before is not None and before.kind == "stopped" and kind == "unanswered":
            return  # the cause is known
        fresh = before is None or before.kind != kind or now - before.last > KEPT_SECONDS
        first = now if fresh or before is None else before.first
        self._failures[stream] = _Failure(kind, reason, first, now)


def limit_reached(error: dict[str, Any]) -> str | None:
    """Which limit an error of JetStream means, for an operator; None where it means none."""
    code = error.get("err_code")
    meaning = _LIMITS.get(code) if isinstance(code, int) else None
    return f"{meaning}: {error.get('description')} ({code})" if meaning else None


def stream_of(subject: str) -> str:
    """The stream that stores a subject, EVENTS of every event; the subject itself where none does."""
    match subject.split("."):
        case ["$KV", bucket, _, *_]:
            return subjects.bucket_stream(bucket)
        case ["$O", store, _, *_]:
            return subjects.object_stream(store)
        case [_, branch, _, *_]:
            return _STREAMS.get(branch, subject)
        case _:
            return subject


_STREAMS = {
    caught.split(".")[1]: stream
    for caught, stream in (
        (subjects.ALL_COMMANDS, subjects.COMMANDS),
        (subjects.ALL_TIMERS, subjects.COMMANDS),
        (subjects.ALL_EVENTS, subjects.EVENTS),
        (subjects.ALL_DELTAS, subjects.DELTAS),
        (subjects.ALL_LOOKUPS, subjects.LOOKUPS),
        (subjects.ALL_FINDINGS, subjects.LOOKUPS),
        (subjects.ALL_QUERIES, subjects.LOOKUPS),
        (subjects.ALL_DEAD_LETTERS, subjects.DEAD_LETTERS),
        (subjects.ALL_BUSINESS, subjects.BUSINESS),
        (subjects.ALL_LEDGERS, subjects.BUDGETS),
    )
}


class MonitoredJetStream(JetStreamContext):
    """nats-py's JetStream, with its buckets and object stores, that records the outcome of writes."""

    def __init__(self, nc: Client, storage: StorageHealth) -> None:
        super().__init__(nc)
        self._connection = nc
        self._storage = storage

    async def publish(self, subject: str, *args: Any, **named: Any) -> PubAck:
        """As nats-py's own. Raises the same, ServiceUnavailableError at once for a stopped stream."""
        stream = self._storage.stream_of(subject)
        if (stopped := self._storage.stopped_reason(stream)) is not None:
            raise ServiceUnavailableError(description=f"NATS cannot store: {stopped}")
        try:
            ack = await super().publish(subject, *args, **named)
        except APIError as refused:
            reason = limit_reached(
                {"err_code": refused.err_code, "description": refused.description}
            )
            if reason is not None:
                self._storage.record_rejected(stream, reason)
            raise
        except NATS_UNAVAILABLE:
            if self._connection.is_connected:
                self._storage.record_unanswered(stream)
            raise
        self._storage.record_stored(stream)
        return ack


_NEVER = (1 << 53) - 1
"""A position that no stream reaches."""
_DELETE_FAILED = 10057
"""JSStreamMsgDeleteFailedF: no such message, or a stream that has stopped."""
_OF_THE_DISK = re.compile(r"\w+ \S*/.*: (?P<why>[^:]+)")
"""A file error as Go formats it: the call, the path, the reason."""


async def find_stopped_reason(nc: Client, stream: str, seconds: float) -> str | None:
    """Why a stream accepts no messages any more; None where it does, or does not say.

    Checked without a write, which could itself stop the stream: the deletion of a message that does
    not exist is rejected as such by a stream that works, and with the disk's error by one that has
    stopped. Raises nats errors where there is no answer.
    """
    asked = json.dumps({"seq": _NEVER, "no_erase": True}).encode()
    reply = await nc.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", asked, timeout=seconds)
    error = from_json(reply.data).get("error") or {}
    found = _OF_THE_DISK.fullmatch(str(error.get("description", "")))
    if error.get("err_code") != _DELETE_FAILED or found is None:
        return None
    return f"{found['why']} (it accepts nothing until nats-server is restarted)"
