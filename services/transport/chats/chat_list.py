"""What a user does with the chats of their list: rename, archive, delete, and take back."""

from typing import TypedDict

from contracts.commands import (
    ArchiveChat,
    DeleteChat,
    RenameChat,
    UnarchiveChat,
    UndeleteChat,
)
from contracts.ids import AppId, ChatId, CommandId, UserId, new_command_id
from services.transport.chats.service import ChatService
from services.transport.protocol.chat_projection import ChatView

SECONDS_PER_DAY = 24 * 3600


class ChatListService:
    """Sends the commands; `grace_days` is for how long a deleted chat can be taken back.

    Every method raises ApiError and NatsUnavailableError. A command that finds a chat as it asks for
    changes nothing.
    """

    def __init__(self, chats: ChatService, grace_days: float) -> None:
        self._chats = chats
        self._grace_seconds = round(grace_days * SECONDS_PER_DAY)

    async def rename(self, view: ChatView, title: str) -> None:
        await self._chats.send_command(RenameChat(**_of(view), title=title))

    async def set_archived(self, view: ChatView, *, archived: bool) -> None:
        kind = ArchiveChat if archived else UnarchiveChat
        await self._chats.send_command(kind(**_of(view)))

    async def delete(self, view: ChatView) -> None:
        if view.deleted_at is not None:
            return
        await self._chats.send_command(DeleteChat(**_of(view), grace_seconds=self._grace_seconds))

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
