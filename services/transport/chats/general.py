"""General chats: chats without a chosen workflow, numbered per user in the order of their start."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from contracts.catalogue import ChatStatus, ChatSummary
from contracts.chat_pages import ChatStart
from contracts.ids import AppId, ChatKey, UserId
from services.transport.chats.catalogue import WorkflowCatalogue
from services.transport.chats.service import ChatService
from services.transport.chats.user_chats import UserChats, is_listed
from services.transport.errors import ApiError, limit_exceeded
from services.transport.protocol.chat_projection import ChatView

MAX_UNLISTED = 100
"""How many new general chats may be missing from the list of a user, which is eventually consistent."""
MAX_CLOSED = 100
"""Of the newest general chats that are looked at for an open one."""
OPEN_STATUSES: tuple[ChatStatus, ...] = ("running", "waiting")


@dataclass(frozen=True, slots=True)
class GeneralChat:
    """A general chat; `number` counts the general chats of its user from 1 and never changes."""

    key: ChatKey
    number: int

    @property
    def label(self) -> str:
        return f"General Chat #{self.number}"


NumberedSummary = tuple[GeneralChat, ChatSummary]


class GeneralChats:
    """Starts, finds and lists the general chats of a user."""

    def __init__(
        self, chats: ChatService, user_chats: UserChats, workflows: WorkflowCatalogue
    ) -> None:
        self._chats = chats
        self._user_chats = user_chats
        self._workflows = workflows

    async def list_for_user(self, app: AppId, user: UserId, limit: int) -> list[NumberedSummary]:
        """So many of a user's general chats at most, the newest first.

        Raises ApiError, InvalidIdError, NatsUnavailableError.
        """
        found: list[NumberedSummary] = []
        async with aclosing(await self._numbered(app, user)) as chats:
            async for number, summary in chats:
                if is_listed(summary):
                    found.append((_general(summary, number), summary))
                if len(found) == limit:
                    break
        return found

    async def _numbered(
        self, app: AppId, user: UserId
    ) -> AsyncGenerator[tuple[int, ChatSummary], None]:
        """All general chats of a user: one that is not listed any more keeps its number."""
        return self._user_chats.numbered(app, user, await self._workflows.general_name())

    async def find(self, key: ChatKey, user: str | None = None) -> tuple[GeneralChat, ChatView]:
        """A general chat and its view. Raises ApiError, InvalidIdError, NatsUnavailableError."""
        name = await self._workflows.general_name()
        view = await self._chats.find(key, name, user)
        start = ChatStart(created_at=view.created_at, chat_id=key.chat)
        earlier = await self._user_chats.count_started(key.app, view.user, name, start)
        return GeneralChat(key, earlier + 1), view

    async def latest_open(self, app: AppId, user: UserId) -> tuple[GeneralChat, ChatView]:
        """The newest general chat that has not ended, if it is among the newest, else a new one.

        Raises ApiError, InvalidIdError, NatsUnavailableError.
        """
        count = 0
        async with aclosing(await self._numbered(app, user)) as chats:
            async for number, summary in chats:
                count = max(count, number)
                if number <= count - MAX_CLOSED:
                    break
                if summary.status in OPEN_STATUSES and is_listed(summary):
                    general = _general(summary, number)
                    return general, await self._chats.find(general.key, user=user)
        return await self._start_next(app, user, count, must_be_new=False)

    async def create(self, app: AppId, user: UserId) -> tuple[GeneralChat, ChatView]:
        """A new general chat. Raises ApiError, InvalidIdError, NatsUnavailableError."""
        count = 0
        async with aclosing(await self._numbered(app, user)) as chats:
            async for number, _ in chats:
                count = number
                break
        return await self._start_next(app, user, count, must_be_new=True)

    async def _start_next(
        self, app: AppId, user: UserId, listed_count: int, *, must_be_new: bool
    ) -> tuple[GeneralChat, ChatView]:
        """Start the chat with the first free number after those in the list of the user.

        The number is part of the idempotency key, so two tabs that start at once get the same chat.
        """
        name = (await self._workflows.general()).name
        for number in range(listed_count + 1, listed_count + 1 + MAX_UNLISTED):
            request_id = f"general-{number}"
            started = await self._chats.start(app, name, user, client_request_id=request_id)
            if must_be_new and started.reused:
                continue
            if not started.confirmed:
                problem = "the chat has not started yet, try again shortly"
                raise ApiError("SERVICE_UNAVAILABLE", "service", problem)
            view = await self._chats.find(started.key, user=user, deleted=True)
            if view.ended_at is None and view.deleted_at is None:
                return GeneralChat(started.key, number), view
        raise limit_exceeded(
            "general_chat_id", f"too many new general chats ({MAX_UNLISTED}), try again shortly"
        )


def _general(summary: ChatSummary, number: int) -> GeneralChat:
    return GeneralChat(ChatKey(summary.app_id, summary.chat_id), number)
