"""Compares the copies of chats in the log, the archive, the read models and the chat lists."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from contracts.ids import AppId, ChatId, ChatKey
from services.persistence.chat_summaries import ChatSummaryBucket
from services.persistence.domain.archive import read_chain
from services.persistence.domain.comparison import (
    ChatCopies,
    Difference,
    differences,
    last_known_seq,
)
from services.persistence.domain.projection import advance
from services.persistence.maintenance.runtime_log_reader import all_model_calls
from services.persistence.maintenance.sources import (
    ChatSources,
    IncompleteChatError,
    LoggedChat,
    for_each,
)
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.store.interface import ArchiveRecord, Session, Store

LAG_SECONDS = 3.0
"""How long read models may lag behind the log: after this time they are compared again."""


@dataclass(slots=True)
class Verified:
    """How many chats and events were compared, and the number of differences."""

    chats: int = 0
    events: int = 0
    differences: int = 0


class Verifier:
    """Changes nothing. Every method raises StoreUnavailableError, NatsUnavailableError."""

    def __init__(
        self,
        store: Store,
        sources: ChatSources,
        summaries: ChatSummaryBucket,
        report: Callable[[Difference], None],
        values: ValueArchive,
    ) -> None:
        self._store = store
        self._sources = sources
        self._summaries = summaries
        self._report = report
        self._values = values

    async def all(self, app: AppId | None = None, chat: ChatId | None = None) -> Verified:
        """Compares all chats, those of one app, or those of one id; reports each difference at once."""
        verified = Verified()
        seen: set[ChatKey] = set()  # only those with differences: all chats are too many

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
            await for_each(self._sources.chats(), one)
        return verified

    async def chat(self, key: ChatKey) -> tuple[int, list[Difference]]:
        """The number of events of a chat, and the differences."""
        copies = await self._gather(key)
        found = differences(copies)
        if found:
            # Read models lag behind the log: they must include what it had at the first comparison.
            await asyncio.sleep(LAG_SECONDS)
            reach = last_known_seq(copies)
            copies = await self._gather(key)
            found = differences(copies, reach)
        return last_known_seq(copies), found

    async def _folded(
        self, key: ChatKey, records: Sequence[ArchiveRecord], before: Session | None
    ) -> Session | None:
        events = read_chain(key, records).events or (await self._sources.logged(key)).events
        update = advance(before, events)
        return None if update is None else update.session

    async def _before(
        self, key: ChatKey, records: Sequence[ArchiveRecord]
    ) -> tuple[Session | None, str]:
        """A fork's session before its own first event, and why its origin cannot be read, if so."""
        own = read_chain(key, records).events or (await self._sources.logged(key)).events
        try:
            inherited = advance(None, await self._sources.inherited(key, own))
        except IncompleteChatError as incomplete:
            return None, str(incomplete)
        return None if inherited is None else inherited.session, ""

    async def _gather(self, key: ChatKey) -> ChatCopies:
        """Reads the log last, so that it includes what the others have."""
        session = (await self._store.sessions([key])).get(key)
        records = await self._sources.records(key)
        before, lost_origin = await self._before(key, records)
        if lost_origin:
            return ChatCopies(key, lost_origin=lost_origin)
        owner = session or await self._folded(key, records, before)
        stats = summary = None
        if owner is not None:
            stats = await self._store.stats(key, owner.workflow_name)
            if owner.user_id is not None:
                summary = await self._summaries.find(key, owner.user_id)
        messages = await self._store.messages(key)
        effects = await self._store.effect_records(key)
        calls = [one async for one in all_model_calls(self._store, key.app, key.chat)]
        logged = await self._sources.logged(key)
        if await self._sources.is_aged_out(key):
            archived = [one for one in read_chain(key, records).events if one.envelope.key == key]
            logged = LoggedChat(tuple(archived), logged.end, ())
        return ChatCopies(
            key=key,
            archive=tuple(records),
            session=session,
            messages=tuple(messages),
            effects=tuple(effects),
            model_calls=tuple(calls),
            stats=stats,
            summary=summary,
            log=logged.events,
            not_events=logged.not_events,
            before=before,
            missing_values=tuple(await self._values.missing(logged.events)),
        )
