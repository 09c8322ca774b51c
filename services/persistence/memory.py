"""The store in dictionaries: what MongoDB does, without MongoDB; passes the same suite."""

from collections.abc import AsyncIterator, Collection, Sequence

from contracts.ids import AppId, ChatKey, Seq, WorkflowName
from services.persistence.store import (
    Archived,
    Change,
    ChatStats,
    Message,
    Session,
    WorkflowTotals,
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

    async def sessions(self, keys: Collection[ChatKey]) -> dict[ChatKey, Session]:
        return {key: self._sessions[key] for key in keys if key in self._sessions}

    async def messages(self, key: ChatKey) -> list[Message]:
        said = self._messages.get(key, {})
        return [said[seq] for seq in sorted(said)]

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

    async def archived(self, key: ChatKey, *, after: Seq) -> AsyncIterator[Archived]:
        events = self._archive.get(key, {})
        for seq in sorted(events):
            if seq > after:
                yield events[seq]

    async def archived_chats(self) -> AsyncIterator[ChatKey]:
        for key in list(self._archive):
            yield key

    async def drop_projections(self) -> None:
        self._sessions.clear()
        self._messages.clear()
        self._stats.clear()
