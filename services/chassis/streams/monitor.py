"""Monitor the streams of a running service: missing streams, and streams that stopped storing."""

import asyncio
import logging
from collections.abc import Collection, Iterable
from contextlib import suppress

from nats.errors import Error as NatsError

from contracts import subjects
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway, Refill
from services.chassis.jetstream.storage_health import find_stopped_reason
from services.chassis.nats.unavailable import ServerUnavailableError
from services.chassis.settings import Settings
from services.chassis.streams.ensure import created_at, ensure_streams
from services.chassis.streams.plan import Missing
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

CHECK_SECONDS = 4.0
"""Between two checks: one request per stream, and a second where the stream must store."""
RECHECK_SECONDS = 0.5
"""The same while something is wrong."""
ANSWER_SECONDS = 2.0
MAX_SKIPPED_CHECKS = 32
"""How many checks are skipped at most for a stream that does not answer whether it stores, because
this user lacks the permission, for example."""

_UNAVAILABLE = (NatsError, OSError, TimeoutError, ServerUnavailableError)


class StreamMonitor:
    """Recreates missing streams where it may, names them where not, and has them filled again."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        settings: Settings,
        needs: Collection[str],
        stores: Collection[str],
    ) -> None:
        """`stores` are those of `needs` that must accept messages for this service to be ready."""
        self._gateway = gateway
        self._settings = settings
        self._needs = sorted(needs)
        self._stores = sorted(stores)
        self._created: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._refills: set[str] = set()
        self._logged: str | None = None
        self._unanswered: dict[str, int] = {}
        self._skips: dict[str, int] = {}
        self._loop: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """The streams that are missing, or recreated and not filled yet, for readiness."""
        empty = [f"stream {one} was recreated and is not filled yet" for one in self._refills]
        return "; ".join([*self._missing.values(), *sorted(empty)]) or None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name="monitor streams")

    async def stop(self) -> None:
        if self._loop is not None:
            await cancel_and_wait(self._loop)

    async def _run(self) -> None:
        while True:
            try:
                await self._check()
            except Exception:
                log.exception("the check of streams failed")
            self._log_storage()
            wrong = self._missing or self._refills or self._gateway.storage.has_failures
            await asyncio.sleep(RECHECK_SECONDS if wrong else CHECK_SECONDS)

    async def _check(self) -> None:
        if not self._gateway.nc.is_connected:
            return
        try:
            await self._check_existence()
        except NatsUnavailableError as error:  # readiness names an unavailable server
            log.debug("streams cannot be checked", extra={"why": str(error)})
        await self._refill()
        for stream in self._each(self._stores):
            await self._check_storing(stream)

    async def _check_existence(self) -> None:
        with suppress(NatsUnavailableError):  # those that are known are checked
            await self._gateway.event_streams.streams()
        for stream in self._each(self._needs):
            self._record(stream, await created_at(self._gateway.nc, stream))
        if self._missing and self._settings.ensure_streams:
            ensured = await ensure_streams(
                self._gateway.nc,
                replicas=self._settings.stream_replicas,
                event_streams=self._settings.event_streams,
            )
            if ensured.changes:
                log.warning("streams were recreated", extra={"streams": ensured.changes})
            for one in ensured.remaining:
                if isinstance(one, Missing) and one.stream in self._missing:
                    self._missing[one.stream] = str(one)
            for stream in list(self._missing):
                self._record(stream, await created_at(self._gateway.nc, stream))

    def _each(self, streams: Iterable[str]) -> list[str]:
        """EVENTS are all streams of events."""
        events = self._gateway.event_streams.known.active
        return [
            one
            for stream in streams
            for one in (events if stream == subjects.EVENTS else (stream,))
        ]

    def _refill_of(self, stream: str) -> Refill | None:
        is_of_events = stream in self._gateway.event_streams.known.names
        return self._gateway.refills.get(subjects.EVENTS if is_of_events else stream)

    def _record(self, stream: str, created: str | None) -> None:
        if created is None:
            if stream not in self._missing:
                log.error("a stream is missing", extra={"stream": stream})
            self._missing.setdefault(stream, str(Missing(stream)))
            return
        if self._missing.pop(stream, None) is not None:
            log.warning("a missing stream exists again", extra={"stream": stream})
        before = self._created.get(stream)
        self._created[stream] = created
        if before is not None and before != created and self._refill_of(stream):
            self._refills.add(stream)

    async def _refill(self) -> None:
        for stream in sorted(self._refills - self._missing.keys()):
            try:
                if (refill := self._refill_of(stream)) is not None:
                    await refill()
            except _UNAVAILABLE as error:
                log.warning(
                    "a stream cannot be filled yet", extra={"stream": stream, "why": repr(error)}
                )
            else:
                log.warning("a stream is filled again", extra={"stream": stream})
                self._refills.discard(stream)

    async def _check_storing(self, stream: str) -> None:
        if stream in self._missing or self._skips_check(stream):
            return
        try:
            reason = await find_stopped_reason(self._gateway.nc, stream, ANSWER_SECONDS)
        except _UNAVAILABLE:
            self._unanswered[stream] = min(2 * self._unanswered.get(stream, 1), MAX_SKIPPED_CHECKS)
            self._skips[stream] = self._unanswered[stream]
            return
        self._unanswered.pop(stream, None)
        if reason is None:
            self._gateway.storage.record_running(stream)
        else:
            self._gateway.storage.record_stopped(stream, reason)

    def _skips_check(self, stream: str) -> bool:
        left = self._skips.get(stream, 0)
        self._skips[stream] = max(0, left - 1)
        return left > 0

    def _log_storage(self) -> None:
        problem = self._gateway.storage.problem
        if problem == self._logged:
            return
        self._logged = problem
        if problem is None:
            log.warning("NATS stores again")
        else:
            log.error("%s", problem)
