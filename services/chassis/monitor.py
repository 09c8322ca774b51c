"""Look after the streams that a service works with while it runs: missing ones, and those that stopped."""

import asyncio
import logging
from collections.abc import Collection

from nats.errors import Error as NatsError

from services.chassis.away import AwayError
from services.chassis.bus import Bus
from services.chassis.ending import end
from services.chassis.settings import Settings
from services.chassis.storage import why_stopped
from services.chassis.stream_plan import Missing
from services.chassis.streams import UnansweredError, created_at, ensure_streams

log = logging.getLogger(__name__)

LOOK_SECONDS = 4.0
"""Between two looks; one asks JetStream one question a stream, and a second where it must store."""
SOON_SECONDS = 0.5
"""The same while something is wrong."""
ANSWER_SECONDS = 2.0
SILENT_LOOKS = 32
"""At most so many looks pass before a stream is asked again that does not say whether it stores:
this user may not ask, for one."""

_AWAY = (NatsError, OSError, TimeoutError, UnansweredError, AwayError)


class StreamMonitor:
    """Makes missing streams again where it may, names them where not, and has them filled again."""

    def __init__(
        self, bus: Bus, settings: Settings, needs: Collection[str], stores: Collection[str]
    ) -> None:
        """`stores` are those of `needs` that must take messages for this service to be of use."""
        self._bus = bus
        self._settings = settings
        self._needs = sorted(needs)
        self._stores = sorted(stores)
        self._created: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._refills: set[str] = set()
        self._said: str | None = None
        self._silent: dict[str, int] = {}
        self._skips: dict[str, int] = {}
        self._loop: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """The streams that are missing, or made anew and not filled yet, for readiness."""
        empty = [f"stream {one} was made anew and is not filled yet" for one in self._refills]
        return "; ".join([*self._missing.values(), *sorted(empty)]) or None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._watch(), name="watch streams")

    async def stop(self) -> None:
        if self._loop is not None:
            await end(self._loop)

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                log.exception("streams cannot be looked after")
            self._say_storage()
            wrong = self._missing or self._refills or self._bus.storage.in_doubt
            await asyncio.sleep(SOON_SECONDS if wrong else LOOK_SECONDS)

    async def _look(self) -> None:
        if not self._bus.nc.is_connected:
            return
        try:
            await self._look_for_missing()
        except UnansweredError as silent:  # readiness names a server that is away
            log.debug("streams cannot be looked at", extra={"why": str(silent)})
        await self._refill()
        for stream in self._stores:
            await self._look_at_storing(stream)

    async def _look_for_missing(self) -> None:
        for stream in self._needs:
            self._take(stream, await created_at(self._bus.nc, stream))
        if self._missing and self._settings.ensure_streams:
            ensured = await ensure_streams(self._bus.nc, replicas=self._settings.stream_replicas)
            if ensured.done:
                log.warning("streams were made again", extra={"streams": ensured.done})
            for one in ensured.left:
                if isinstance(one, Missing) and one.stream in self._missing:
                    self._missing[one.stream] = str(one)
            for stream in list(self._missing):
                self._take(stream, await created_at(self._bus.nc, stream))

    def _take(self, stream: str, created: str | None) -> None:
        if created is None:
            if stream not in self._missing:
                log.error("a stream is missing", extra={"stream": stream})
            self._missing.setdefault(stream, str(Missing(stream)))
            return
        if self._missing.pop(stream, None) is not None:
            log.warning("a stream is there again", extra={"stream": stream})
        before = self._created.get(stream)
        self._created[stream] = created
        if before is not None and before != created and stream in self._bus.refills:
            self._refills.add(stream)

    async def _refill(self) -> None:
        for stream in sorted(self._refills - self._missing.keys()):
            try:
                await self._bus.refills[stream]()
            except _AWAY as away:
                log.warning(
                    "a stream cannot be filled yet", extra={"stream": stream, "why": repr(away)}
                )
            else:
                log.warning("a stream is filled again", extra={"stream": stream})
                self._refills.discard(stream)

    async def _look_at_storing(self, stream: str) -> None:
        if stream in self._missing or self._is_to_wait(stream):
            return
        try:
            reason = await why_stopped(self._bus.nc, stream, ANSWER_SECONDS)
        except _AWAY:
            self._silent[stream] = min(2 * self._silent.get(stream, 1), SILENT_LOOKS)
            self._skips[stream] = self._silent[stream]
            return
        self._silent.pop(stream, None)
        if reason is None:
            self._bus.storage.goes_on(stream)
        else:
            self._bus.storage.stopped(stream, reason)

    def _is_to_wait(self, stream: str) -> bool:
        left = self._skips.get(stream, 0)
        self._skips[stream] = max(0, left - 1)
        return left > 0

    def _say_storage(self) -> None:
        trouble = self._bus.storage.trouble
        if trouble == self._said:
            return
        self._said = trouble
        if trouble is None:
            log.warning("NATS stores again")
        else:
            log.error("%s", trouble)
