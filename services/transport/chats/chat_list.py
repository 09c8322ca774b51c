"""What a user does with the chats of their list: rename, archive, delete, and take back."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypedDict

from contracts.commands import (
    ArchiveChat,
    DeleteChat,
    RenameChat,
    UnarchiveChat,
    UndeleteChat,
)
from contracts.ids import AppId, ChatId, ChatKey, CommandId, UserId, new_command_id
from contracts.lookups import MAX_FORKS
from services.transport.chats.read_models import ReadModels
from services.transport.chats.service import ChatService
from services.transport.errors import ApiError
from services.transport.protocol.chat_projection import ChatView

SECONDS_PER_DAY = 24 * 3600


class ChatListService:
    """Sends the commands; `grace_days` is for how long a deleted chat can be taken back.

    Every method raises ApiError and NatsUnavailableError. A command that finds a chat as it asks for
    changes nothing.
    """

    def __init__(self, chats: ChatService, read_models: ReadModels, grace_days: float) -> None:
        self._chats = chats
        self._read_models = read_models
        self._grace_seconds = round(grace_days * SECONDS_PER_DAY)

    async def rename(self, view: ChatView, title: str) -> None:
        await self._chats.send_command(RenameChat(**_of(view), title=title))

    async def set_archived(self, view: ChatView, *, archived: bool) -> None:
        kind = ArchiveChat if archived else UnarchiveChat
        await self._chats.send_command(kind(**_of(view)))

    async def delete(self, view: ChatView, *, with_forks: bool = False) -> None:
        """Raises ApiError (CHAT_HAS_FORKS) too, where forks read events of the chat and are to stay."""
        if view.deleted_at is not None:
            return
        async with aclosing(self._living_forks(view)) as forks:
            async for fork in forks:
                if not with_forks:
                    problem = f"forks go on from this chat ({fork.key.chat}, ...): delete them, too, by `with_forks`"
                    raise ApiError("CHAT_HAS_FORKS", "chat_id", problem)
                await self._send_delete(fork)
        await self._send_delete(view)

    async def _send_delete(self, view: ChatView) -> None:
        await self._chats.send_command(DeleteChat(**_of(view), grace_seconds=self._grace_seconds))

    async def _living_forks(self, view: ChatView) -> AsyncGenerator[ChatView, None]:
        """The forks that are not deleted, as far as persistence knows them."""
        cursor: ChatId | None = None
        while True:
            page = await self._read_models.forks(view.key, cursor, MAX_FORKS)
            for fork in page.forks:
                key = ChatKey(view.key.app, fork.chat_id)
                one = await self._chats.find(key, deleted=True, tail=1)
                if one.deleted_at is None:
                    yield one
            if page.next is None:
                return
            cursor = page.next

    async def undelete(self, view: ChatView) -> None:
        if view.deleted_at is not None:
            await self._chats.send_command(UndeleteChat(**_of(view)))


class _Addressed(TypedDict):
    """What every command says: its id, its chat and its user."""

    command_id: CommandId
    app_id: AppId
    chat_id: ChatId
    user_id: UserId


def _of(view: ChatView) -> _Addressed:
    return {
        "command_id": new_command_id(),
        "app_id": view.key.app,
        "chat_id": view.key.chat,
        "user_id": view.user,
    }
