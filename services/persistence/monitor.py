"""Notice that others emptied, dropped or deleted what persistence fills, and fill it again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from services.chassis.direct_get import UnavailableError
from services.chassis.ending import end
from services.persistence.rebuilder import Rebuilder
from services.persistence.store import Look, StoreAwayError
from services.persistence.summaries import BucketLook, Summaries

log = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""Between two looks. One costs MongoDB five small reads, and NATS one question about a stream."""

_AWAY = (StoreAwayError, UnavailableError, NatsError, JetStreamError, OSError)
"""Readiness names a server that is away; this looks again when it is back."""


class Database(Protocol):
    """What the monitor looks after. Every method raises StoreAwayError."""

    async def look(self) -> Look:
        """What the database holds."""

    async def prepare(self) -> None:
        """Put collections and indexes in place."""

    async def marked(self) -> Look | None:
        """What it held when it was marked last; none where it never was, or was emptied."""

    async def mark(self, look: Look) -> None:
        """Note that the database holds all that the log had until now, and where."""


class Monitor:
    """Looks every few seconds, and puts right what it finds, beside whatever goes on."""

    def __init__(self, database: Database, summaries: Summaries, rebuilder: Rebuilder) -> None:
        self._database = database
        self._summaries = summaries
        self._rebuilder = rebuilder
        self._bucket: BucketLook | None = None
        self._troubles: dict[str, str] = {}
        self._said: set[str] = set()
        self._loop: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """What is being put right, for readiness."""
        return "; ".join(self._troubles.values()) or None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._watch(), name="watch what is kept")

    async def stop(self) -> None:
        if self._loop is not None:
            await end(self._loop)

    async def _watch(self) -> None:
        while True:
            for look in (self._look_at_database, self._look_at_bucket):
                await self._try(look)
            await asyncio.sleep(LOOK_SECONDS)

    async def _try(self, look: Callable[[], Awaitable[None]]) -> None:
        try:
            await look()
        except _AWAY as away:
            log.debug("looked in vain", extra={"why": str(away)})
        except Exception as trouble:  # once for each kind: it comes every few seconds
            if repr(trouble) not in self._said:
                self._said.add(repr(trouble))
                log.exception("what is kept cannot be looked after")

    async def _look_at_database(self) -> None:
        marked = await self._database.marked()
        found = await self._database.look()
        if lost := losses(marked, found):
            await self._refill_database(lost)
        elif found != marked:  # a collection more, or one that holds something by now
            await self._database.mark(found)

    async def _refill_database(self, lost: list[str]) -> None:
        names = ", ".join(lost)
        self._troubles["database"] = f"MongoDB lost {names}; filling it again from the log"
        log.error("MongoDB lost data: filling it again from the log", extra={"lost": names})
        await self._database.prepare()
        while True:
            begun = await self._database.look()
            rebuilt = await self._rebuilder.all()
            if not losses(begun, found := await self._database.look()):
                break
        await self._database.mark(found)
        del self._troubles["database"]
        told = {"chats": rebuilt.chats, "events": rebuilt.events, "failed": len(rebuilt.failed)}
        log.warning("MongoDB is filled again", extra=told)

    async def _look_at_bucket(self) -> None:
        found = await self._summaries.look()
        if found is None:
            return  # named and made by who looks after the streams; this fills it
        if is_emptied(self._bucket, found):
            self._troubles["bucket"] = "bucket chats was emptied; filling it again"
            if chats := await self._rebuilder.announce_all():
                log.warning("bucket chats is filled again", extra={"chats": chats})
        self._troubles.pop("bucket", None)
        self._bucket = found


def losses(before: Look | None, now: Look) -> list[str]:
    """The collections that are no longer those they were, or hold nothing any more."""
    if before is None:
        return ["everything"]
    other = {name for name, made in before.collections.items() if now.collections.get(name) != made}
    return sorted(other | (before.filled - now.filled))


def is_emptied(before: BucketLook | None, now: BucketLook) -> bool:
    """Whether the bucket was made anew or purged since the look before, or is empty at first."""
    if before is None:
        return not now.values
    return now.created != before.created or (before.values > 0 and not now.values)
