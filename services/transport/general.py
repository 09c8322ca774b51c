"""What a person asks without a workflow: general chats, numbered in the order they were begun."""

from dataclasses import dataclass

from contracts.catalogue import ChatSummary
from contracts.ids import AppId, ChatKey, UserId
from services.transport.chats import Chats
from services.transport.chatview import ChatView
from services.transport.inbound import StartBody
from services.transport.refusals import RefusalError, limit_reached
from services.transport.workflows import Workflows

AHEAD = 100
"""How many chats may have begun of which the user's list does not know yet."""
OPEN = ("running", "waiting")


@dataclass(frozen=True, slots=True)
class GeneralChat:
    """`number` is the chat's place among its user's general chats: it never changes."""

    key: ChatKey
    number: int

    @property
    def label(self) -> str:
        return f"General Chat #{self.number}"


Listed = tuple[GeneralChat, ChatSummary]


class GeneralChats:
    """Begins, finds and counts them."""

    def __init__(self, chats: Chats, workflows: Workflows) -> None:
        self._chats = chats
        self._workflows = workflows

    async def mine(self, app: AppId, user: UserId) -> list[Listed]:
        """A user's general chats, the newest first. Raises InvalidIdError, UnavailableError."""
        name = await self._workflows.general_name()
        own = [one for one in await self._chats.of_user(app, user) if one.workflow_name == name]
        begun = sorted(own, key=lambda one: (one.created_at, one.chat_id))
        counted = [
            (GeneralChat(ChatKey(app, one.chat_id), number), one)
            for number, one in enumerate(begun, 1)
        ]
        return counted[::-1]

    async def find(self, key: ChatKey, user: str | None = None) -> tuple[GeneralChat, ChatView]:
        """Raises RefusalError, InvalidIdError, UnavailableError."""
        view = await self._chats.find(key, await self._workflows.general_name(), user)
        mine = await self.mine(key.app, view.user)
        known = (one for one, _ in mine if one.key == key)
        return next(known, GeneralChat(key, len(mine) + 1)), view

    async def latest(self, app: AppId, user: UserId) -> tuple[GeneralChat, ChatView]:
        """The newest that has not ended, else one that begins now.

        Raises RefusalError, InvalidIdError, UnavailableError.
        """
        mine = await self.mine(app, user)
        newest = next((one for one, summary in mine if summary.status in OPEN), None)
        if newest is not None:
            return newest, await self._chats.find(newest.key, user=user)
        return await self._begun(app, user, len(mine), fresh=False)

    async def begin(self, app: AppId, user: UserId) -> tuple[GeneralChat, ChatView]:
        """Raises RefusalError, InvalidIdError, UnavailableError."""
        return await self._begun(app, user, len(await self.mine(app, user)), fresh=True)

    async def _begun(
        self, app: AppId, user: UserId, known: int, *, fresh: bool
    ) -> tuple[GeneralChat, ChatView]:
        """The first free number after those that the user's list, a little late, knows of.

        The number names the start, so that two tabs that begin at once begin the same chat.
        """
        name = (await self._workflows.general()).name
        for number in range(known + 1, known + 1 + AHEAD):
            body = StartBody(user_id=user, client_request_id=f"general-{number}")
            started = await self._chats.start(app, name, body)
            if fresh and started.reused:
                continue
            if not started.stated:
                why = "the chat has not begun yet, try again shortly"
                raise RefusalError("SERVICE_UNAVAILABLE", "service", why)
            view = await self._chats.find(started.key, user=user)
            if view.ended is None:
                return GeneralChat(started.key, number), view
        raise limit_reached("general_chat_id", f"{AHEAD} general chats were begun just now")
