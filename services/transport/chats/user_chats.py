"""A user's chats as lists show them: from NATS where they are few, page by page from persistence else.

The rows in NATS have no order that a page could be read in. They are there without MongoDB, and at once.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from contracts import subjects
from contracts.catalogue import ChatStatus, ChatSummary
from contracts.chat_pages import MAX_CHATS, ChatsRequested, ChatStart, StartedChatsRequested
from contracts.chat_snapshot import to_milliseconds
from contracts.ids import AppId, ChatId, UserId, WorkflowName, new_message_id
from services.chassis.jetstream.chat_rows import readable_summary
from services.chassis.jetstream.key_values import KeyValueBuckets
from services.transport.auth.principal import Identity, require_owner
from services.transport.chats.read_models import ReadModels

MAX_ROWS = 1000
"""Rows of a user that are read from NATS, all at once; more are read from persistence."""


@dataclass(frozen=True, slots=True)
class ListedChats:
    """Which chats a list has: neither archived nor deleted ones, and of these statuses, none: all."""

    workflow: WorkflowName | None = None
    other_than: WorkflowName | None = None
    statuses: tuple[ChatStatus, ...] = ()

    def admits(self, chat: ChatSummary) -> bool:
        return (
            is_listed(chat)
            and self.workflow in (None, chat.workflow_name)
            and self.other_than != chat.workflow_name
            and (not self.statuses or chat.status in self.statuses)
        )


class UserChats:
    """The chats of a user, for an identity that may see them.

    Every method raises ApiError, InvalidIdError, NatsUnavailableError.
    """

    def __init__(
        self, buckets: KeyValueBuckets, read_models: ReadModels, identity: Identity
    ) -> None:
        self._buckets = buckets
        self._read_models = read_models
        self._identity = identity

    async def newest(
        self, app: AppId, user: UserId, wanted: ListedChats, limit: int
    ) -> list[ChatSummary]:
        """So many of the chats at most, the one that changed last first."""
        found: list[ChatSummary] = []
        async with aclosing(self._changed(app, user, wanted)) as chats:
            async for chat in chats:
                found += [chat] if wanted.admits(chat) else []
                if len(found) == limit:
                    break
        return found

    async def _changed(
        self, app: AppId, user: UserId, wanted: ListedChats
    ) -> AsyncGenerator[ChatSummary, None]:
        """At least the wanted chats, the one that changed last first."""
        rows = await self._rows(app, user)
        if rows is not None:
            for chat in sorted(rows, key=lambda one: (one.updated_at, one.chat_id), reverse=True):
                yield chat
            return
        cursor: str | None = None
        while True:
            query = ChatsRequested(
                request_id=new_message_id(),
                app_id=app,
                user_id=user,
                statuses=list(wanted.statuses),
                workflows=[] if wanted.workflow is None else [wanted.workflow],
                cursor=cursor,
                limit=MAX_CHATS,
            )
            page = await self._read_models.chats(query)
            for one in page.chats:
                yield one.summary
            if page.next is None:
                return
            cursor = page.next

    async def count_started(
        self, app: AppId, user: UserId, workflow: WorkflowName, before: ChatStart
    ) -> int:
        """How many chats of a workflow a user has that started before a place, deleted ones, too."""
        rows = await self._rows(app, user)
        if rows is None:
            query = _started(app, user, workflow, before, limit=1)
            return (await self._read_models.started_chats(query)).count
        place = _place(before.created_at, before.chat_id)
        return sum(_place_of(one) < place for one in rows if one.workflow_name == workflow)

    async def numbered(
        self, app: AppId, user: UserId, workflow: WorkflowName
    ) -> AsyncGenerator[tuple[int, ChatSummary], None]:
        """A user's chats of one workflow, archived and deleted ones, too, the one that started last
        first; each with its number in the order of their starts."""
        rows = await self._rows(app, user)
        if rows is not None:
            chats = sorted(
                (one for one in rows if one.workflow_name == workflow), key=_place_of, reverse=True
            )
            for place, chat in enumerate(chats):
                yield len(chats) - place, chat
            return
        before: ChatStart | None = None
        while True:
            query = _started(app, user, workflow, before, MAX_CHATS)
            page = await self._read_models.started_chats(query)
            for place, chat in enumerate(page.chats):
                yield page.count - place, chat
            if len(page.chats) < MAX_CHATS:
                return
            last = page.chats[-1]
            before = ChatStart(created_at=last.created_at, chat_id=last.chat_id)

    async def _rows(self, app: AppId, user: UserId) -> list[ChatSummary] | None:
        """All chats of a user; None where they are more than MAX_ROWS."""
        require_owner(self._identity, app, user)
        prefix = subjects.user_summaries_prefix(app, user)
        if await self._buckets.count(subjects.CHATS, prefix) > MAX_ROWS:
            return None
        values = await self._buckets.list_values(subjects.CHATS, prefix)
        return [chat for value in values if (chat := await readable_summary(value)) is not None]


def is_listed(chat: ChatSummary) -> bool:
    """Whether the lists of the chat's user have it."""
    return not chat.archived and not chat.deleted


def _started(
    app: AppId, user: UserId, workflow: WorkflowName, before: ChatStart | None, limit: int
) -> StartedChatsRequested:
    return StartedChatsRequested(
        request_id=new_message_id(),
        app_id=app,
        user_id=user,
        workflow_name=workflow,
        before=before,
        limit=limit,
    )


def _place_of(chat: ChatSummary) -> tuple[datetime, str]:
    return _place(chat.created_at, chat.chat_id)


def _place(created_at: datetime, chat: ChatId) -> tuple[datetime, str]:
    return to_milliseconds(created_at), subjects.token(chat)
