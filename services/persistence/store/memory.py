"""The store in memory: a second implementation that passes the same tests as the one on MongoDB."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from functools import reduce
from typing import Any

from contracts.chat_pages import ChatCursor
from contracts.chat_snapshot import NO_TOTALS, ChatTotals
from contracts.effects import DispatchRecord, EffectRecord
from contracts.events.turn import USER
from contracts.ids import AgentName, AppId, ChatId, ChatKey, Seq, UserId, WorkflowName
from contracts.inbox import waiting_for, waiting_since
from contracts.large_values import LargeValue
from contracts.lookups import InboxCursor
from contracts.rewinds import DroppedRange, is_dropped
from contracts.runtime_log import ModelCall
from contracts.subjects import token
from services.persistence.store.document_query import DocumentQuery
from services.persistence.store.interface import (
    ArchivedEvent,
    ArchiveRecord,
    ChatFilter,
    ChatStats,
    EffectPlace,
    EffectStart,
    Message,
    ProjectionUpdate,
    Session,
    StartedChats,
    TimeSpan,
    WorkflowTotals,
    is_newer,
    place_of_call,
    supersedes,
)
from services.persistence.store.word_search import has_words


class MemoryStore:
    """For tests."""

    def __init__(self) -> None:
        self._archive: dict[ChatKey, dict[Seq, ArchivedEvent]] = {}
        self._values: dict[tuple[ChatKey, str], bytes] = {}
        self._sessions: dict[ChatKey, Session] = {}
        self._messages: dict[ChatKey, dict[Seq, Message]] = {}
        self._stats: dict[ChatKey, ChatStats] = {}
        self._effects: dict[ChatKey, dict[Seq, EffectRecord]] = {}
        self._model_calls: dict[ChatKey, dict[Seq, ModelCall]] = {}

    async def archive(self, events: Sequence[ArchivedEvent]) -> None:
        for event in events:
            chat = self._archive.setdefault(event.envelope.key, {})
            chat.setdefault(event.envelope.seq, event)

    async def archive_value(self, key: ChatKey, value: LargeValue) -> None:
        self._values.setdefault((key, value.reference.digest), value.data)

    async def archived_value(self, key: ChatKey, digest: str) -> bytes | None:
        return self._values.get((key, digest))

    async def save(self, updates: Sequence[ProjectionUpdate]) -> None:
        for update in updates:
            key = update.session.key
            for message in update.messages:
                self._messages.setdefault(key, {}).setdefault(message.seq, message)
            for effect in update.effects:
                self._effects.setdefault(key, {}).setdefault(effect.record.seq, effect.record)
            for call in update.model_calls:
                self._model_calls.setdefault(key, {}).setdefault(call.seq, call)
            if supersedes(update.session, self._sessions.get(key)):
                self._sessions[key] = update.session
            if supersedes(update.stats, self._stats.get(key)):
                self._stats[key] = update.stats

    async def project(
        self, events: Sequence[ArchivedEvent], updates: Sequence[ProjectionUpdate]
    ) -> None:
        await self.archive(events)
        await self.save(updates)

    async def repair_archive(self, events: Sequence[ArchivedEvent]) -> None:
        if not events:
            return
        key, reached = events[0].envelope.key, events[-1].envelope.seq
        later = {seq: one for seq, one in self._archive.get(key, {}).items() if seq > reached}
        self._archive[key] = {one.envelope.seq: one for one in events} | later

    async def replace(self, whole: ProjectionUpdate) -> None:
        key, reached = whole.session.key, whole.session.last_seq
        later = {seq: one for seq, one in self._messages.get(key, {}).items() if seq > reached}
        self._messages[key] = {message.seq: message for message in whole.messages} | later
        newer = {seq: one for seq, one in self._effects.get(key, {}).items() if seq > reached}
        self._effects[key] = {one.record.seq: one.record for one in whole.effects} | newer
        calls = {seq: one for seq, one in self._model_calls.get(key, {}).items() if seq > reached}
        self._model_calls[key] = {one.seq: one for one in whole.model_calls} | calls
        if not is_newer(self._sessions.get(key), whole.session):
            self._sessions[key] = whole.session
        if not is_newer(self._stats.get(key), whole.stats):
            self._stats[key] = whole.stats

    async def erase(self, tombstone: ArchivedEvent, whole: ProjectionUpdate) -> int:
        key = tombstone.envelope.key
        values = [one for one in self._values if one[0] == key]
        earlier = [seq for seq in self._archive.get(key, {}) if seq < tombstone.envelope.seq]
        removed = len(values) + len(earlier)
        removed += len(self._messages.pop(key, {})) + len(self._effects.pop(key, {}))
        removed += len(self._model_calls.pop(key, {}))
        for value in values:
            del self._values[value]
        self._archive[key] = {tombstone.envelope.seq: tombstone}
        await self.replace(whole)
        return removed

    async def not_erased(
        self, app: AppId, user: UserId | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        return self._chat_ids(app, user, after, limit, lambda one: one.user_id is not None)

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        return {key: self._sessions[key] for key in keys if key in self._sessions}

    async def messages(self, key: ChatKey) -> list[Message]:
        messages = self._messages.get(key, {})
        return [messages[seq] for seq in sorted(messages)]

    async def messages_from(self, key: ChatKey, first: Seq) -> AsyncIterator[Message]:
        for message in await self.messages(key):
            if message.seq >= first:
                yield message

    async def chat_effect_starts(self, key: ChatKey, after: Seq, limit: int) -> list[EffectStart]:
        starts = self._starts(key)
        return [one for one in starts if one.seq > after][:limit]

    async def app_effect_starts(
        self, app: AppId, span: TimeSpan, after: EffectPlace | None, limit: int
    ) -> list[EffectStart]:
        found = [
            start
            for key in self._effects
            if key.app == app
            for start in self._starts(key)
            if span.since <= start.time < span.until
        ]
        found.sort(key=lambda start: start.place)
        return [one for one in found if after is None or one.place > after][:limit]

    def _starts(self, key: ChatKey) -> list[EffectStart]:
        records = self._effects.get(key, {})
        return [
            EffectStart(key, seq, records[seq].time, body.turn)
            for seq in sorted(records)
            if isinstance(body := records[seq].body, DispatchRecord) and body.is_start
        ]

    async def model_calls(
        self, app: AppId, chat: ChatId | None, span: TimeSpan, after: EffectPlace | None, limit: int
    ) -> list[ModelCall]:
        found = [
            call
            for key, calls in self._model_calls.items()
            if key.app == app and chat in (None, key.chat)
            for call in calls.values()
            if span.since <= call.ended_at < span.until
        ]
        found.sort(key=place_of_call)
        return [one for one in found if after is None or place_of_call(one) > after][:limit]

    async def effect_records(
        self, key: ChatKey, turns: Collection[int] | None = None
    ) -> list[EffectRecord]:
        records = [one for _, one in sorted(self._effects.get(key, {}).items())]
        return [one for one in records if turns is None or one.body.turn in turns]

    async def stats(self, key: ChatKey, workflow: WorkflowName) -> ChatStats | None:
        stats = self._stats.get(key)
        return stats if stats is not None and stats.workflow_name == workflow else None

    async def workflow_totals(self, app: AppId, workflow: WorkflowName) -> WorkflowTotals:
        rows = [
            stats
            for stats in self._stats.values()
            if stats.app_id == app and stats.workflow_name == workflow
        ]
        return WorkflowTotals(
            chats=Counter(row.status for row in rows),
            duration_sec=sum(row.duration_sec for row in rows),
            totals=reduce(ChatTotals.plus, (row.totals for row in rows), NO_TOTALS),
        )

    async def waiting(
        self,
        app: AppId,
        recipients: Collection[str] | None,
        after: InboxCursor | None,
        limit: int,
    ) -> list[Session]:
        found = [
            (since, token(session.chat_id), session)
            for session in self._sessions.values()
            if session.app_id == app
            and waiting_for(session, recipients)
            and (since := waiting_since(session)) is not None
        ]
        place = None if after is None else (after.since, token(after.chat_id))
        rest = [one for one in found if place is None or one[:2] > place]
        return [session for _, _, session in sorted(rest, key=lambda one: one[:2])[:limit]]

    async def chats(
        self, wanted: ChatFilter, after: ChatCursor | None, limit: int
    ) -> list[Session]:
        found = [
            ((session.last_updated_at, token(session.chat_id)), session)
            for session in self._sessions.values()
            if wanted.admits(session)
        ]
        place = None if after is None else (after.updated_at, token(after.chat_id))
        rest = [one for one in found if place is None or one[0] < place]
        return [session for _, session in sorted(rest, key=lambda one: one[0], reverse=True)][
            :limit
        ]

    async def started(self, wanted: StartedChats, limit: int) -> list[Session]:
        return self._started(wanted)[:limit]

    async def count_started(self, wanted: StartedChats) -> int:
        return len(self._started(wanted))

    def _started(self, wanted: StartedChats) -> list[Session]:
        found = [
            ((session.created_at, token(session.chat_id)), session)
            for session in self._sessions.values()
            if (session.app_id, session.user_id) == (wanted.app, wanted.user)
            and session.workflow_name == wanted.workflow
        ]
        before = wanted.before
        place = None if before is None else (before.created_at, token(before.chat_id))
        rest = [one for one in found if place is None or one[0] < place]
        return [session for _, session in sorted(rest, key=lambda one: one[0], reverse=True)]

    async def chat_ids(
        self, app: AppId, user: UserId | None, after: ChatId | None, limit: int
    ) -> list[ChatId]:
        return self._chat_ids(app, user, after, limit, lambda _: True)

    def _chat_ids(
        self,
        app: AppId,
        user: UserId | None,
        after: ChatId | None,
        limit: int,
        is_wanted: Callable[[Session], bool],
    ) -> list[ChatId]:
        found = sorted(
            (token(key.chat), key.chat)
            for key, session in self._sessions.items()
            if key.app == app and user in (None, session.user_id) and is_wanted(session)
        )
        return [chat for name, chat in found if after is None or name > token(after)][:limit]

    async def newest_with_words(
        self,
        key: ChatKey,
        words: Sequence[str],
        agents: Collection[AgentName],
        dropped: Sequence[DroppedRange] = (),
    ) -> str | None:
        for message in reversed(await self.messages(key)):
            is_shown = not message.hidden and message.role != "tool"
            is_visible = not agents or message.agent in (*agents, USER)
            if is_dropped(dropped, message.seq):
                continue
            if is_shown and is_visible and has_words(message.content or "", words):
                return message.content
        return None

    async def erasable(self, before: datetime, limit: int) -> list[ChatKey]:
        due = [
            (session.erasable_at, session.key)
            for session in self._sessions.values()
            if session.erasable_at is not None and session.erasable_at < before
        ]
        return [key for _, key in sorted(due)[:limit]]

    async def archive_records(self, key: ChatKey) -> AsyncIterator[ArchiveRecord]:
        events = self._archive.get(key, {})
        for seq in sorted(events):
            yield ArchiveRecord(seq, events[seq].position, events[seq].data)

    async def archived_chats(self) -> AsyncIterator[ChatKey]:
        for key in list(self._archive):
            yield key

    async def all_sessions(self) -> AsyncIterator[Session]:
        for session in list(self._sessions.values()):
            yield session

    async def not_archived(self, keys: Collection[ChatKey]) -> set[ChatKey]:
        return {key for key in keys if not self._archive.get(key)}

    async def forks_of(self, key: ChatKey, after: ChatId | None, limit: int) -> list[Session]:
        found = [
            session
            for session in self._sessions.values()
            if session.app_id == key.app
            and any(part.chat_id == key.chat for part in session.segments)
            and (after is None or token(session.chat_id) > token(after))
        ]
        return sorted(found, key=lambda session: token(session.chat_id))[:limit]


class MemoryDocumentReader:
    """Documents by `database.collection`, the newest last."""

    def __init__(self) -> None:
        self.documents: dict[str, list[dict[str, Any]]] = {}

    async def newest(self, asked: DocumentQuery) -> dict[str, Any] | None:
        wanted = [("app_id", asked.app), *asked.equal.items()]
        documents = self.documents.get(f"{asked.database}.{asked.collection}", [])
        found = next((one for one in reversed(documents) if _meets(one, wanted)), None)
        if found is None or not asked.roots:
            return found
        return {name: found[name] for name in found if name in (*asked.roots, "_id")}


def _meets(document: Mapping[str, Any], wanted: Sequence[tuple[str, Any]]) -> bool:
    return all(
        any(
            value == held or (isinstance(held, list) and value in held)
            for held in _held(document, path)
        )
        for path, value in wanted
    )


def _held(value: Any, path: str) -> Iterator[Any]:
    """What lies at a dotted path, through every element of a list on the way."""
    first, _, rest = path.partition(".")
    match value:
        case Mapping() if first in value:
            yield from _held(value[first], rest) if rest else [value[first]]
        case list():
            for one in value:
                yield from _held(one, path)
        case _:
            return
