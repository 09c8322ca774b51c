"""Detects that collections or the bucket of chat summaries were emptied or deleted, and fills them again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.tasks import cancel_and_wait
from services.persistence.chat_summaries import BucketState, ChatSummaryBucket
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.store.interface import DatabaseState, StoreUnavailableError

log = logging.getLogger(__name__)

INSPECTION_SECONDS = 3.0
"""Between two inspections. One costs MongoDB five small reads, and NATS one stream info request."""

_UNAVAILABLE = (StoreUnavailableError, NatsUnavailableError, NatsError, JetStreamError, OSError)
"""Readiness names a server that is unavailable; the next inspection tries again."""


class Database(Protocol):
    """What is inspected. Every method raises StoreUnavailableError."""

    async def state(self) -> DatabaseState:
        """What the database holds."""

    async def prepare(self) -> None:
        """Creates the collections and indexes that are missing."""

    async def saved_state(self) -> DatabaseState | None:
        """What it held when its state was saved last; None if never, emptied, or of an older layout."""

    async def save_state(self, state: DatabaseState) -> None:
        """Stores that the database holds everything that the log had until now, and where."""


class ReadModelMonitor:
    """Inspects every few seconds, and repairs what it finds while the service goes on."""

    def __init__(
        self, database: Database, summaries: ChatSummaryBucket, rebuilder: Rebuilder
    ) -> None:
        self._database = database
        self._summaries = summaries
        self._rebuilder = rebuilder
        self._bucket: BucketState | None = None
        self._problems: dict[str, str] = {}
        self._logged: set[str] = set()
        self._loop: asyncio.Task[None] | None = None

    def problem(self) -> str | None:
        """What is being repaired, for the readiness probe."""
        return "; ".join(self._problems.values()) or None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name="monitor read models")

    async def stop(self) -> None:
        if self._loop is not None:
            await cancel_and_wait(self._loop)

    async def _run(self) -> None:
        while True:
            for inspect in (self._inspect_database, self._inspect_bucket):
                await self._try(inspect)
            await asyncio.sleep(INSPECTION_SECONDS)

    async def _try(self, inspect: Callable[[], Awaitable[None]]) -> None:
        try:
            await inspect()
        except _UNAVAILABLE as unavailable:
            log.debug("inspection failed", extra={"why": str(unavailable)})
        except Exception as error:  # once for each kind: it comes every few seconds
            if repr(error) not in self._logged:
                self._logged.add(repr(error))
                log.exception("inspection failed")

    async def _inspect_database(self) -> None:
        saved = await self._database.saved_state()
        found = await self._database.state()
        if lost := lost_collections(saved, found):
            await self._refill_database(lost)
        elif found != saved:  # there are more collections, or more that are not empty
            await self._database.save_state(found)

    async def _refill_database(self, lost: list[str]) -> None:
        names = ", ".join(lost)
        self._problems["database"] = f"MongoDB lacks {names}; filling it from the log"
        log.error("MongoDB lacks data: filling it from the log", extra={"lost": names})
        await self._database.prepare()
        while True:
            before = await self._database.state()
            rebuilt = await self._rebuilder.all()
            if not lost_collections(before, found := await self._database.state()):
                break
        await self._database.save_state(found)
        del self._problems["database"]
        counts = {"chats": rebuilt.chats, "events": rebuilt.events, "failed": len(rebuilt.failed)}
        log.warning("MongoDB is filled again", extra=counts)

    async def _inspect_bucket(self) -> None:
        found = await self._summaries.state()
        if found is None:
            return  # the stream monitor reports and creates it
        if is_emptied(self._bucket, found):
            self._problems["bucket"] = "bucket chats was emptied; filling it again"
            if chats := await self._rebuilder.publish_all():
                log.warning("bucket chats is filled again", extra={"chats": chats})
        self._problems.pop("bucket", None)
        self._bucket = found


def lost_collections(saved: DatabaseState | None, now: DatabaseState) -> list[str]:
    """The collections that were recreated or emptied since the state was saved; all where it is None."""
    if saved is None:
        return ["read models of this layout"]
    recreated = {
        name for name, id_ in saved.collections.items() if now.collections.get(name) != id_
    }
    return sorted(recreated | (saved.filled - now.filled))


def is_emptied(before: BucketState | None, now: BucketState) -> bool:
    """Whether the bucket was recreated or purged since the last inspection, or is empty at the first."""
    if before is None:
        return not now.values
    return now.created != before.created or (before.values > 0 and not now.values)
