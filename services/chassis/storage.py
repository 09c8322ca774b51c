"""What NATS cannot store now, by what became of this process's writes and by what its monitor finds.

nats-server 2.15.1, measured: at the first write that the disk refuses, a stream stops taking messages
and stays so until its server is restarted, with room or without. It does not say so to whoever
publishes: the message is never answered. Limits that are reached (of the server, the account or the
stream) are answered at once, and end by themselves.
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

from contracts import subjects
from services.chassis.away import NATS_AWAY

SILENT_SECONDS = 5.0
"""From the first of several unanswered writes to the last: a stream finds a new leader in less."""
FRESH_SECONDS = 3.0
"""How old the monitor's word may be for a write not to be tried: it asks more often than that."""
KEPT_SECONDS = 40.0
"""How long a failed write counts that none repeats: longer than any pause between tries."""

_LIMITS = {
    10002: "the limit of the JetStream account is reached",  # JSAccountResourcesExceededErr
    10023: "the JetStream limit of the server is reached (max_file_store)",  # JSInsufficientResources
    10028: "the JetStream memory limit is reached",  # JSMemoryResourcesExceededErr
    10047: "the JetStream storage limit is reached",  # JSStorageResourcesExceededErr
    10077: "the stream's own limit is reached, or its disk is full",  # JSStreamStoreFailedF
}

Kind = Literal["refused", "silent", "stopped"]


@dataclass(frozen=True, slots=True)
class _Failure:
    kind: Kind
    reason: str
    first: float
    last: float


class Storage:
    """The streams that do not take messages, each with the reason, for an operator."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._failures: dict[str, _Failure] = {}

    def stored(self, stream: str) -> None:
        """A write was stored."""
        self._failures.pop(stream, None)

    def refused(self, stream: str, reason: str) -> None:
        """A write was answered: there is no room for it."""
        self._note(stream, "refused", reason)

    def unanswered(self, stream: str) -> None:
        """A write was not answered, on a connection that stands."""
        self._note(stream, "silent", "writes are not answered")

    def stopped(self, stream: str, reason: str) -> None:
        """The stream was asked, and does not take messages."""
        self._note(stream, "stopped", reason)

    def goes_on(self, stream: str) -> None:
        """The stream was asked, and has not stopped: what was silent may have been slow."""
        failure = self._failures.get(stream)
        if failure is not None and failure.kind != "refused":
            del self._failures[stream]

    @property
    def trouble(self) -> str | None:
        """Every stream in trouble, for readiness; none when all is well."""
        found = [
            f"{stream}: {why}" for stream in sorted(self._failures) if (why := self.why(stream))
        ]
        return f"NATS cannot store: {'; '.join(found)}" if found else None

    def why(self, stream: str) -> str | None:
        """Why a stream does not take messages; none where it does, as far as is known."""
        failure = self._failures.get(stream)
        if failure is None or self._clock() - failure.last > KEPT_SECONDS:
            return None
        brief = failure.kind == "silent" and failure.last - failure.first < SILENT_SECONDS
        return None if brief else failure.reason

    def has_stopped(self, stream: str) -> str | None:
        """The reason, where the monitor found that it takes nothing: no write needs to be tried."""
        failure = self._failures.get(stream)
        if failure is None or failure.kind != "stopped":
            return None
        return failure.reason if self._clock() - failure.last <= FRESH_SECONDS else None

    @property
    def in_doubt(self) -> bool:
        """Whether any write failed that has not been made good."""
        return bool(self._failures)

    def _note(self, stream: str, kind: Kind, reason: str) -> None:
        now, before = self._clock(), self._failures.get(stream)
        if before is not None and before.kind == "stopped" and kind == "silent":
            return  # known better
        fresh = before is None or before.kind != kind or now - before.last > KEPT_SECONDS
        first = now if fresh or before is None else before.first
        self._failures[stream] = _Failure(kind, reason, first, now)


def limit_reached(error: dict[str, Any]) -> str | None:
    """What an error of JetStream says of room, for an operator; none where it says nothing of it."""
    code = error.get("err_code")
    meaning = _LIMITS.get(code) if isinstance(code, int) else None
    return f"{meaning}: {error.get('description')} ({code})" if meaning else None


def stream_of(subject: str) -> str:
    """The stream that takes a subject; the subject itself where none of ours does."""
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
        (subjects.ALL_DEAD_LETTERS, subjects.DEAD_LETTERS),
    )
}


class NotingContext(JetStreamContext):
    """nats-py's JetStream, its buckets and object stores too, with what becomes of writes noted."""

    def __init__(self, nc: Client, storage: Storage) -> None:
        super().__init__(nc)
        self._connection = nc
        self._storage = storage

    async def publish(self, subject: str, *args: Any, **named: Any) -> PubAck:
        """As nats-py's own. Raises the same, ServiceUnavailableError at once for a stopped stream."""
        stream = stream_of(subject)
        if (stopped := self._storage.has_stopped(stream)) is not None:
            raise ServiceUnavailableError(description=f"NATS cannot store: {stopped}")
        try:
            ack = await super().publish(subject, *args, **named)
        except APIError as refused:
            reason = limit_reached(
                {"err_code": refused.err_code, "description": refused.description}
            )
            if reason is not None:
                self._storage.refused(stream, reason)
            raise
        except NATS_AWAY:
            if self._connection.is_connected:
                self._storage.unanswered(stream)
            raise
        self._storage.stored(stream)
        return ack


_NEVER = (1 << 53) - 1
"""A position that no stream reaches."""
_DELETE_FAILED = 10057
"""JSStreamMsgDeleteFailedF: of no such message, or of a stream that has stopped."""
_OF_THE_DISK = re.compile(r"\w+ \S*/.*: (?P<why>[^:]+)")
"""An error of a file as Go writes it: the call, the path, the reason."""


async def why_stopped(nc: Client, stream: str, seconds: float) -> str | None:
    """Why a stream takes no messages any more; none where it does, or where that is not told.

    Asked without a write, which would itself be what stops it: deleting a message that cannot be
    is refused for what it is by a stream that works, and with the disk's error by one that has
    stopped. Raises nats errors where there is no answer.
    """
    asked = json.dumps({"seq": _NEVER, "no_erase": True}).encode()
    reply = await nc.request(f"$JS.API.STREAM.MSG.DELETE.{stream}", asked, timeout=seconds)
    error = json.loads(reply.data).get("error") or {}
    found = _OF_THE_DISK.fullmatch(str(error.get("description", "")))
    if error.get("err_code") != _DELETE_FAILED or found is None:
        return None
    return f"{found['why']} (it takes nothing more until nats-server is started again)"
