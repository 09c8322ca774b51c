"""General chats: chats without a chosen workflow, numbered per user in the order of their start."""

from dataclasses import dataclass

from contracts.catalogue import ChatSummary
from contracts.ids import AppId, ChatKey, UserId
from services.transport.chats.catalogue import WorkflowCatalogue
from services.transport.chats.service import ChatService, is_listed
from services.transport.errors import ApiError, limit_exceeded
from services.transport.protocol.chat_projection import ChatView

MAX_UNLISTED = 100
"""How many new general chats may be missing from the list of a user, which is eventually consistent."""
OPEN_STATUSES = ("running", "waiting")


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

    def __init__(self, chats: ChatService, workflows: WorkflowCatalogue) -> None:
        self._chats = chats
        self._workflows = workflows

    async def list_for_user(self, app: AppId, user: UserId) -> list[NumberedSummary]:
        """A user's general chats, the newest first. Raises InvalidIdError, NatsUnavailableError."""
        return [one for one in await self._numbered(app, user) if is_listed(one[1])]

    async def _numbered(self, app: AppId, user: UserId) -> list[NumberedSummary]:
        """All general chats of a user: one that is not listed any more keeps its number."""
        name = await self._workflows.general_name()
        general = [
            summary
            for summary in await self._chats.list_every(app, user)
            if summary.workflow_name == name
        ]
        oldest_first = sorted(general, key=lambda summary: (summary.created_at, summary.chat_id))
        numbered = [
            (GeneralChat(ChatKey(app, summary.chat_id), number), summary)
            for number, summary in enumerate(oldest_first, 1)
        ]
        return numbered[::-1]

    async def find(self, key: ChatKey, user: str | None = None) -> tuple[GeneralChat, ChatView]:
        """A general chat and its view. Raises ApiError, InvalidIdError, NatsUnavailableError."""
        view = await self._chats.find(key, await self._workflows.general_name(), user)
        listed = await self._numbered(key.app, view.user)
        found = (general for general, _ in listed if general.key == key)
        return next(found, GeneralChat(key, len(listed) + 1)), view

    async def latest_open(self, app: AppId, user: UserId) -> tuple[GeneralChat, ChatView]:
        """The newest general chat that has not ended, else a new one.

        Raises ApiError, InvalidIdError, NatsUnavailableError.
        """
        listed = await self._numbered(app, user)
        newest = next(
            (
                general
                for general, summary in listed
                if summary.status in OPEN_STATUSES and is_listed(summary)
            ),
            None,
        )
        if newest is not None:
            return newest, await self._chats.find(newest.key, user=user)
        return await self._start_next(app, user, len(listed), must_be_new=False)

    async def create(self, app: AppId, user: UserId) -> tuple[GeneralChat, ChatView]:
        """A new general chat. Raises ApiError, InvalidIdError, NatsUnavailableError."""
        return await self._start_next(
            app, user, len(await self._numbered(app, user)), must_be_new=True
        )

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
