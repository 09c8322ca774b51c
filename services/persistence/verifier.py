"""Compare what is kept of chats in the log, the archive, the read models and the chat lists."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.ids import AppId, ChatId, ChatKey
from services.persistence.archive import chain
from services.persistence.comparison import Difference, Kept, as_of, differences
from services.persistence.projection import advance
from services.persistence.sources import Sources, each
from services.persistence.store import Line, Session, Store
from services.persistence.summaries import Summaries

TRAIL_SECONDS = 3.0
"""How long read models may take to come as far as the log was: after it they are looked at again."""


@dataclass(slots=True)
class Verified:
    """How much was compared, and how many differences there are."""

    chats: int = 0
    events: int = 0
    differences: int = 0


class Verifier:
    """Changes nothing. Every method raises StoreAwayError, UnavailableError."""

    def __init__(
        self,
        store: Store,
        sources: Sources,
        summaries: Summaries,
        report: Callable[[Difference], None],
    ) -> None:
        self._store = store
        self._sources = sources
        self._summaries = summaries
        self._report = report

    async def all(self, app: AppId | None = None, chat: ChatId | None = None) -> Verified:
        """Every chat, or those of one app, or of one id; each difference is reported as it is found."""
        verified = Verified()
        seen: set[ChatKey] = set()  # those that may come again; the others are too many to note

        async def one(key: ChatKey) -> None:
            if app not in (None, key.app) or chat not in (None, key.chat):
                return
            if key in seen:
                return
            events, found = await self.chat(key)
            if found:
                seen.add(key)
            verified.chats += 1
            verified.events += events
            verified.differences += len(found)
            for difference in found:
                self._report(difference)

        if app is not None and chat is not None:
            await one(ChatKey(app, chat))
        else:
            await each(self._sources.chats(), one)
        return verified

    async def chat(self, key: ChatKey) -> tuple[int, list[Difference]]:
        """How many events a chat has, and what differs from them."""
        kept = await self._gather(key)
        found = differences(kept)
        if found:
            # Read models trail a running log: what they were to show by now, they must show soon.
            await asyncio.sleep(TRAIL_SECONDS)
            reach = as_of(kept)
            kept = await self._gather(key)
            found = differences(kept, reach)
        return as_of(kept), found

    async def _told_by_events(self, key: ChatKey, lines: Sequence[Line]) -> Session | None:
        events = chain(key, lines).events or (await self._sources.logged(key)).events
        change = advance(None, events)
        return None if change is None else change.session

    async def _gather(self, key: ChatKey) -> Kept:
        """The log last, so that it holds whatever the others know."""
        session = (await self._store.sessions([key])).get(key)
        lines = await self._sources.lines(key)
        owner = session or await self._told_by_events(key, lines)
        stats = summary = None
        if owner is not None:
            stats = await self._store.stats(key, owner.workflow_name)
            if owner.user_id is not None:
                summary = await self._summaries.find(key, owner.user_id)
        messages = await self._store.messages(key)
        logged = await self._sources.logged(key)
        return Kept(
            key=key,
            archive=tuple(lines),
            session=session,
            messages=tuple(messages),
            stats=stats,
            summary=summary,
            log=logged.events,
            passed_over=logged.passed_over,
        )
