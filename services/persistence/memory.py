"""The store in dictionaries: what MongoDB does, without MongoDB; passes the same suite."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import Any

from contracts.ids import AppId, ChatKey, Seq, WorkflowName
from services.persistence.lookups import Asked
from services.persistence.store import (
    Archived,
    Change,
    ChatStats,
    Line,
    Message,
    Session,
    WorkflowTotals,
    is_newer,
    supersedes,
)


class MemoryStore:
    """For tests and for trying things out."""

    def __init__(self) -> None:
        self._archive: dict[ChatKey, dict[Seq, Archived]] = {}
        self._sessions: dict[ChatKey, Session] = {}
        self._messages: dict[ChatKey, dict[Seq, Message]] = {}
        self._stats: dict[ChatKey, ChatStats] = {}

    async def archive(self, events: Sequence[Archived]) -> None:
        for event in events:
            chat = self._archive.setdefault(event.envelope.key, {})
            chat.setdefault(event.envelope.seq, event)

    async def keep(self, changes: Sequence[Change]) -> None:
        for change in changes:
            key = change.session.key
            for message in change.messages:
                self._messages.setdefault(key, {}).setdefault(message.seq, message)
            if supersedes(change.session, self._sessions.get(key)):
                self._sessions[key] = change.session
            if supersedes(change.stats, self._stats.get(key)):
                self._stats[key] = change.stats

    async def rewrite(self, events: Sequence[Archived]) -> None:
        for event in events:
            self._archive.setdefault(event.envelope.key, {})[event.envelope.seq] = event

    async def replace(self, whole: Change) -> None:
        key, reached = whole.session.key, whole.session.last_seq
        later = {seq: one for seq, one in self._messages.get(key, {}).items() if seq > reached}
        self._messages[key] = {message.seq: message for message in whole.messages} | later
        if not is_newer(self._sessions.get(key), whole.session):
            self._sessions[key] = whole.session
        if not is_newer(self._stats.get(key), whole.stats):
            self._stats[key] = whole.stats

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        return {key: self._sessions[key] for key in keys if key in self._sessions}

    async def messages(self, key: ChatKey) -> list[Message]:
        said = self._messages.get(key, {})
        return [said[seq] for seq in sorted(said)]

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
            chats=len(rows),
            duration_sec=sum(row.duration_sec for row in rows),
            agent_turns=sum(row.agent_turns for row in rows),
            tool_calls=sum(row.tool_calls for row in rows),
            errors=sum(row.errors for row in rows),
            prompt_tokens=sum(row.prompt_tokens for row in rows),
            completion_tokens=sum(row.completion_tokens for row in rows),
            total_tokens=sum(row.total_tokens for row in rows),
            cost=sum(row.cost for row in rows),
        )

    async def archived(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Line]:
        events = self._archive.get(key, {})
        for seq in sorted(events):
            if seq > after:
                yield Line(seq, events[seq].position, events[seq].data)

    async def archived_chats(self) -> AsyncIterator[ChatKey]:
        for key in list(self._archive):
            yield key

    async def all_sessions(self) -> AsyncIterator[Session]:
        for session in list(self._sessions.values()):
            yield session

    async def unbegun(self, keys: Collection[ChatKey]) -> set[ChatKey]:
        return {key for key in keys if Seq(1) not in self._archive.get(key, {})}


class MemoryFinder:
    """Documents by `database.collection`, the newest last."""

    def __init__(self) -> None:
        self.documents: dict[str, list[dict[str, Any]]] = {}

    async def newest(self, asked: Asked) -> dict[str, Any] | None:
        wanted = [("app_id", asked.app), *asked.equal.items()]
        kept = self.documents.get(f"{asked.database}.{asked.collection}", [])
        found = next((one for one in reversed(kept) if _meets(one, wanted)), None)
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
