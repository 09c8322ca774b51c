"""Make the read models of chats anew beside the old ones, and put them in their place."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from contracts.catalogue import ChatSummary
from contracts.ids import ChatKey
from services.persistence.archive import Chain, chain
from services.persistence.projection import advance, summary_of
from services.persistence.sources import Logged, Sources, each
from services.persistence.store import Archived, Line, Session, Store

log = logging.getLogger(__name__)

TRIES = 5
"""How often a chat is folded again because it has gone on meanwhile."""

Announce = Callable[[ChatSummary], Awaitable[None]]


class UnfoldableError(Exception):
    """A chat's events cannot be had whole; says why, and nothing of it was touched."""


@dataclass(slots=True)
class Rebuilt:
    """What became of the chats: how many were folded, and why the others were not."""

    chats: int = 0
    events: int = 0
    failed: dict[ChatKey, str] = field(default_factory=dict)


class Rebuilder:
    """Chat by chat, while the product runs. Every method raises StoreAwayError, UnavailableError."""

    def __init__(self, store: Store, sources: Sources, announce: Announce) -> None:
        self._store = store
        self._sources = sources
        self._announce = announce

    async def all(self) -> Rebuilt:
        """Fold every chat anew; one that cannot be folded keeps its documents."""
        rebuilt = Rebuilt()

        async def one(key: ChatKey) -> None:
            try:
                session = await self.chat(key)
            except UnfoldableError as broken:
                _say(key, broken)
                rebuilt.failed[key] = str(broken)
            else:
                rebuilt.chats += 1
                rebuilt.events += session.last_seq

        await each(self._sources.chats(), one)
        return rebuilt

    async def announce_all(self) -> int:
        """Announce every chat's summary; how many sessions there are."""
        chats = 0

        async def one(session: Session) -> None:
            nonlocal chats
            chats += 1
            await self._announce_one(session)

        await each(self._store.all_sessions(), one)
        return chats

    async def mend(self, key: ChatKey) -> None:
        """Fold one chat, or say in the log why that cannot be."""
        try:
            await self.chat(key)
        except UnfoldableError as broken:
            _say(key, broken)

    async def chat(self, key: ChatKey) -> Session:
        """Fold one chat and put what comes of it in place of what is there; what is newer stays.

        The archive gets what it lacks. Raises UnfoldableError.
        """
        for _ in range(TRIES):
            logged = await self._sources.logged(key)
            lines = await self._sources.lines(key)
            events = whole(logged, chain(key, lines), lines)
            change = advance(None, events)
            if change is None:
                raise UnfoldableError("neither the log nor the archive has an event of it")
            await self._store.rewrite(differing(events, lines))
            await self._store.replace(change)
            kept = (await self._store.sessions([key])).get(key)
            if kept is None or kept.last_seq <= change.session.last_seq:
                await self._announce_one(change.session)
                return change.session
        raise UnfoldableError("its session is as of an event that neither log nor archive has")

    async def _announce_one(self, session: Session) -> None:
        summary = summary_of(session)
        if summary is not None:
            await self._announce(summary)


def _say(key: ChatKey, broken: UnfoldableError) -> None:
    told = {"app": key.app, "chat": key.chat, "why": str(broken)}
    log.error("a chat cannot be folded and keeps its old documents", extra=told)


def whole(logged: Logged, archived: Chain, lines: Sequence[Line]) -> tuple[Archived, ...]:
    """A chat's events from the log, and from the archive where the log has lost them.

    Raises UnfoldableError where there are events of which neither has what comes before.
    """
    end = max(len(logged.events), len(archived.events))
    if lines and lines[-1].seq > end:
        raise UnfoldableError(
            f"archive: {archived.damage}; the log ends at event {len(logged.events)}"
        )
    for mine, other in zip(logged.events, archived.events, strict=False):
        if mine.data != other.data and len(archived.events) > len(logged.events):
            raise UnfoldableError(
                f"event {mine.envelope.seq} in the archive is not the one in the log,"
                f" which ends at event {len(logged.events)}"
            )
    return (*logged.events, *archived.events[len(logged.events) :])


def differing(events: Sequence[Archived], lines: Sequence[Line]) -> list[Archived]:
    """The events that the archive lacks, or holds otherwise."""
    held = {int(line.seq): line for line in lines}
    return [
        one
        for one in events
        if held.get(one.envelope.seq) != Line(one.envelope.seq, one.position, one.data)
    ]
