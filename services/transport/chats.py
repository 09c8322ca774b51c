"""What people may ask of a chat: to begin, to be found, to hear an answer, to stop."""

import asyncio
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.errors import TimeoutError as NatsTimeoutError
from pydantic import ValidationError

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    CancelChat,
    Command,
    SendMessage,
    StartChat,
)
from contracts.ids import (
    AppId,
    ChatKey,
    CommandId,
    QuestionId,
    UserId,
    WorkflowName,
    chat_id_of_start,
    new_chat_id,
    new_command_id,
)
from contracts.subjects import InvalidSubjectError, token
from services.chassis.bus import Bus, RefusedError, UnavailableError
from services.transport.chatview import Asked, ChatView
from services.transport.inbound import StartBody
from services.transport.refusals import RefusalError, too_large, unavailable
from services.transport.views import Views


@dataclass(frozen=True, slots=True)
class Started:
    """A chat after its start was ordered; `stated` once the orchestrator has begun it."""

    key: ChatKey
    reused: bool
    stated: bool


class Chats:
    """Turns what people ask into orders, after a look at what the log says."""

    def __init__(self, bus: Bus, views: Views, patience: float, max_bytes: int) -> None:
        self._bus = bus
        self._views = views
        self._patience = patience
        self._max_bytes = max_bytes

    async def start(self, app: AppId, workflow: WorkflowName, body: StartBody) -> Started:
        """Begin a chat, or find the one that an equal request began.

        Raises RefusalError, InvalidIdError, UnavailableError.
        """
        user = UserId(body.user_id)
        token(user, "user_id")
        asked = body.client_request_id
        chat = chat_id_of_start(app, workflow, user, asked) if asked else new_chat_id()
        key = ChatKey(app, chat)
        token(app, "app_id")
        if asked and await self._bus.first(key) is not None:
            return Started(key, reused=True, stated=True)
        order = StartChat(
            command_id=CommandId(f"start-{chat}"),
            app_id=app,
            chat_id=chat,
            user_id=user,
            workflow_name=workflow,
            client_request_id=asked,
            message=body.message or None,
        )
        return Started(key, reused=False, stated=await self._begins(key, order))

    async def find(
        self, key: ChatKey, workflow: str | None = None, user: str | None = None
    ) -> ChatView:
        """The chat, if it is this workflow's and this user's: the one place that says so.

        Raises RefusalError, InvalidIdError, UnavailableError.
        """
        token(key.app, "app_id")
        token(key.chat, "chat_id")
        view = await self._views.of(key)
        if view is None:
            raise RefusalError("CHAT_NOT_FOUND", "chat_id", "there is no such chat")
        if user is not None and view.user != user:
            raise RefusalError("NOT_ALLOWED", "user_id", "there is no such chat of this user")
        if workflow is not None and view.workflow != workflow:
            raise RefusalError("NOT_ALLOWED", "workflow_name", "there is no such chat of it")
        return view

    async def find_soon(self, key: ChatKey, workflow: str, user: str) -> ChatView:
        """As `find`, but with patience for a chat whose start has only just been ordered."""
        try:
            return await self.find(key, workflow, user)
        except RefusalError as refusal:
            if refusal.code != "CHAT_NOT_FOUND":
                raise
        await self._begins(key)
        return await self.find(key, workflow, user)

    async def of_user(self, app: AppId, user: UserId) -> list[ChatSummary]:
        """A user's chats, the one that changed last first. Raises InvalidIdError, UnavailableError."""
        prefix = subjects.user_summaries_prefix(app, user)
        found = await self._bus.values_under(subjects.CHATS, prefix)
        summaries = [one for value in found if (one := _summary(value)) is not None]
        return sorted(summaries, key=lambda one: (one.updated_at, one.chat_id), reverse=True)

    async def begin(self, order: StartChat) -> bool:
        """Order a chat to begin; whether it has. Raises RefusalError, UnavailableError."""
        return await self._begins(order.key, order)

    async def say(self, view: ChatView, text: str, order: CommandId | None = None) -> None:
        """Raises RefusalError, UnavailableError."""
        _must_be_open(view)
        await self._order(
            SendMessage(
                command_id=order or new_command_id(),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                text=text,
            )
        )

    async def answer(
        self, view: ChatView, question: str, text: str, order: CommandId | None = None
    ) -> None:
        """Raises RefusalError, UnavailableError."""
        asked = _open_question(view, question, "words", "input_request_id")
        await self._order(
            AnswerQuestion(
                command_id=order or CommandId(f"answer-{asked}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                question_id=asked,
                text=text,
            )
        )

    async def answer_component(
        self, view: ChatView, question: str, response: dict[str, object], field: str
    ) -> None:
        """Raises RefusalError, UnavailableError."""
        asked = _open_question(view, question, "component", field)
        await self._order(
            AnswerUiTool(
                command_id=CommandId(f"answer-{asked}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                question_id=asked,
                response=response,
            )
        )

    async def cancel(self, view: ChatView, reason: str) -> None:
        """Raises RefusalError, UnavailableError."""
        _must_be_open(view)
        await self._order(
            CancelChat(
                command_id=CommandId(f"cancel-{subjects.lease_key(view.key)}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                reason=reason,
            )
        )

    async def of_question(self, question: str, field: str) -> ChatView:
        """The chat that asked a question. Raises RefusalError, UnavailableError."""
        try:
            return await self.find(subjects.chat_of_question(question))
        except (InvalidSubjectError, RefusalError) as unknown:
            raise RefusalError("QUESTION_NOT_OPEN", field, "no such question is open") from unknown

    async def _begins(self, key: ChatKey, order: Command | None = None) -> bool:
        begun = asyncio.Event()

        async def on_message(_: Msg) -> None:
            begun.set()

        try:
            async with self._bus.watching(key, on_message):
                if order is not None:
                    await self._order(order)
                if await self._bus.first(key) is not None:
                    return True
                return await _within(self._patience, begun)
        except (NatsError, NatsTimeoutError, OSError) as away:
            raise unavailable() from away

    async def _order(self, command: Command) -> None:
        try:
            await self._bus.order(command)
        except MaxPayloadError as broken:
            raise too_large("message", self._max_bytes) from broken
        except (UnavailableError, RefusedError, NatsError) as away:
            raise unavailable() from away


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _must_be_open(view: ChatView) -> None:
    if view.ended is not None:
        raise RefusalError("CHAT_ENDED", "chat_id", f"the chat is {view.ended}")


def _open_question(view: ChatView, question: str, how: Asked, field: str) -> QuestionId:
    asked = QuestionId(question)
    if view.questions.get(asked) == how:
        return asked
    raise RefusalError("QUESTION_NOT_OPEN", field, "no such question is open")


def _summary(value: bytes) -> ChatSummary | None:
    try:
        return ChatSummary.model_validate_json(value)
    except ValidationError:
        return None
