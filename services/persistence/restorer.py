"""Bring chats back into a log that has lost them, byte for byte from the archive."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from contracts.ids import ChatKey
from services.chassis.direct_get import RefusedError
from services.chassis.event_log import EventLog, PositionConflictError
from services.persistence.archive import chain, decisions
from services.persistence.rebuilder import Rebuilder, UnfoldableError
from services.persistence.sources import Logged, Sources, each
from services.persistence.store import Archived, Store

TRIES = 3
"""How often a chat is looked at again because others appended to it meanwhile."""


@dataclass(slots=True)
class Restored:
    """What became of the chats in the archive.

    `chats` and `events` are those that were brought back; `statuses` counts all chats that are
    whole now; `failed` says why the others are not.
    """

    chats: int = 0
    events: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    failed: dict[ChatKey, str] = field(default_factory=dict)


class Restorer:
    """Appends what a chat's log lacks, and nothing where it lacks nothing.

    Every method raises StoreAwayError, UnavailableError.
    """

    def __init__(
        self, store: Store, sources: Sources, events: EventLog, rebuilder: Rebuilder
    ) -> None:
        self._store = store
        self._sources = sources
        self._events = events
        self._rebuilder = rebuilder

    async def all(self) -> Restored:
        """Every chat of the archive; then positions, read models and summaries are right again."""
        restored = Restored()

        async def one(key: ChatKey) -> None:
            try:
                appended = await self.chat(key)
                session = await self._rebuilder.chat(key)
            except UnfoldableError as broken:
                restored.failed[key] = str(broken)
            else:
                restored.chats += appended > 0
                restored.events += appended
                restored.statuses[session.status] += 1

        await each(self._store.archived_chats(), one)
        return restored

    async def chat(self, key: ChatKey) -> int:
        """How many events were brought back. Raises UnfoldableError where they cannot be."""
        for _ in range(TRIES):
            lines = await self._sources.lines(key)
            archived = chain(key, lines)
            logged = await self._sources.logged(key)
            if archived.damage and len(lines) > len(logged.events):
                raise UnfoldableError(f"archive: {archived.damage}")
            missing = lacking(logged, archived.events)
            try:
                await self._append(logged, missing)
            except PositionConflictError:  # another run, or the chat itself, was faster
                continue
            except RefusedError as refused:
                raise UnfoldableError(str(refused)) from refused
            return len(missing)
        raise UnfoldableError("others append to it all the time")

    async def _append(self, logged: Logged, missing: Sequence[Archived]) -> None:
        place = logged.end.position
        for decision in decisions(missing):
            place = await self._events.append(decision, after=place)


def lacking(logged: Logged, archived: Sequence[Archived]) -> Sequence[Archived]:
    """The archive's events past the log's end. Raises UnfoldableError where the two differ."""
    for mine, other in zip(logged.events, archived, strict=False):
        if mine.data != other.data:
            seq = mine.envelope.seq
            raise UnfoldableError(f"event {seq} in the log is not the one in the archive")
    return archived[len(logged.events) :]
