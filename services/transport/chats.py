"""What people may ask of a chat: to begin, to be found, to hear an answer, to stop."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

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
    AttachFile,
    CancelChat,
    Command,
    SendMessage,
    SetVariables,
    StartChat,
)
from contracts.events.chat import AttachmentUploaded
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
from contracts.reserved import is_reserved
from contracts.subjects import InvalidSubjectError, token
from services.chassis.bus import Bus
from services.chassis.direct_get import RefusedError, UnavailableError
from services.transport.chatview import Asked, ChatView
from services.transport.inbound import StartBody, of_page
from services.transport.refusals import (
    RefusalError,
    limit_reached,
    malformed,
    too_large,
    unavailable,
)
from services.transport.signin.principal import Who, refuse_stranger
from services.transport.views import Views

MOST_FILES = 100
"""That a chat may be given: its state carries what is known of each."""


@dataclass(frozen=True, slots=True)
class Started:
    """A chat after its start was ordered; `stated` once the orchestrator has begun it."""

    key: ChatKey
    reused: bool
    stated: bool


class Chats:
    """Turns what somebody asks into orders, after a look at what the log says.

    There are no chats here but those that `who` may see.
    """

    def __init__(
        self,
        bus: Bus,
        views: Views,
        patience: float,
        max_bytes: int,
        most_running: int,
        who: Who,
    ) -> None:
        self._bus = bus
        self._views = views
        self._patience = patience
        self._max_bytes = max_bytes
        self._most_running = most_running
        self._who = who

    def of(self, who: Who) -> Self:
        """The same, for somebody."""
        return type(self)(
            self._bus, self._views, self._patience, self._max_bytes, self._most_running, who
        )

    async def start(self, app: AppId, workflow: WorkflowName, body: StartBody) -> Started:
        """Begin a chat, or find the one that an equal request began.

        Raises RefusalError, InvalidIdError, UnavailableError.
        """
        user = UserId(body.user_id)
        token(user, "user_id")
        refuse_stranger(self._who, app, user)
        asked = body.client_request_id
        chat = chat_id_of_start(app, workflow, user, asked) if asked else new_chat_id()
        key = ChatKey(app, chat)
        token(app, "app_id")
        if asked and await self._bus.events.first(key) is not None:
            return Started(key, reused=True, stated=True)
        order = StartChat(
            command_id=CommandId(f"start-{chat}"),
            app_id=app,
            chat_id=chat,
            user_id=user,
            workflow_name=workflow,
            client_request_id=asked,
            message=body.message or None,
            variables=of_page(body.frontend_context),
        )
        return Started(key, reused=False, stated=await self.begin(order))

    async def find(
        self, key: ChatKey, workflow: str | None = None, user: str | None = None
    ) -> ChatView:
        """The chat, if it is this workflow's and this user's: the one place that says so.

        Somebody else's chat is as absent as one that never was.

        Raises RefusalError, InvalidIdError, UnavailableError.
        """
        token(key.app, "app_id")
        token(key.chat, "chat_id")
        view = await self._views.of(key) if self._who.may_enter(key.app) else None
        if view is None or not self._who.may_act_for(key.app, view.user):
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
        begun = await self._begins(key)
        try:
            return await self.find(key, workflow, user)
        except RefusalError:
            if begun:  # somebody else's takes as long as one that never was
                await asyncio.sleep(self._patience)
            raise

    async def of_user(self, app: AppId, user: UserId) -> list[ChatSummary]:
        """A user's chats, the one that changed last first.

        Raises RefusalError, InvalidIdError, UnavailableError.
        """
        refuse_stranger(self._who, app, user)
        prefix = subjects.user_summaries_prefix(app, user)
        found = await self._bus.values_under(subjects.CHATS, prefix)
        summaries = [one for value in found if (one := _summary(value)) is not None]
        return sorted(summaries, key=lambda one: (one.updated_at, one.chat_id), reverse=True)

    async def begin(self, order: StartChat) -> bool:
        """Order a chat to begin; whether it has. Raises RefusalError, UnavailableError."""
        refuse_stranger(self._who, order.app_id, order.user_id)
        await self._refuse_beyond_limit(order.app_id)
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

    async def set_variables(self, view: ChatView, given: Mapping[str, Any], field: str) -> None:
        """Raises RefusalError, which names the first variable that is the runtime's own."""
        _must_be_open(view)
        reserved = next(filter(is_reserved, given), None)
        if reserved is not None:
            raise malformed(f"{field}.{reserved}", "belongs to the runtime")
        await self._order(
            SetVariables(
                command_id=new_command_id(),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                variables=dict(given),
            )
        )

    async def attach(self, view: ChatView, file: AttachmentUploaded) -> None:
        """Make a file known whose bytes are kept already. Raises RefusalError, UnavailableError."""
        must_take_files(view)
        stored = subjects.attachment_key(view.key, file.attachment_id)
        await self._order(
            AttachFile(
                command_id=CommandId(f"attach-{stored}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                **file.model_dump(),
            )
        )

    async def cancel(self, view: ChatView, reason: str) -> None:
        """Raises RefusalError, UnavailableError."""
        _must_be_open(view)
        await self._order(
            CancelChat(
                command_id=CommandId(f"cancel-{subjects.chat_tokens(view.key)}"),
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

    async def _refuse_beyond_limit(self, app: AppId) -> None:
        if not self._most_running:
            return
        running = await self._bus.commands_open(app)
        if running >= self._most_running:
            raise limit_reached("app_id", f"{running} chats of this app run already")

    async def _begins(self, key: ChatKey, order: Command | None = None) -> bool:
        begun = asyncio.Event()

        async def on_message(_: Msg) -> None:
            begun.set()

        try:
            async with self._bus.watching(key, on_message):
                if order is not None:
                    await self._order(order)
                if await self._bus.events.first(key) is not None:
                    return True
                return await _within(self._patience, begun)
        except (NatsError, NatsTimeoutError, OSError) as away:
            raise unavailable(self._bus.storage) from away

    async def _order(self, command: Command) -> None:
        if self._bus.storage.why(subjects.EVENTS) is not None:  # else it waits, and nobody is told
            raise unavailable(self._bus.storage)
        try:
            await self._bus.order(command)
        except MaxPayloadError as broken:
            raise too_large("message", self._max_bytes) from broken
        except (UnavailableError, RefusedError, NatsError) as away:
            raise unavailable(self._bus.storage) from away


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def must_take_files(view: ChatView) -> None:
    """Raises RefusalError where a chat has ended, or has files enough."""
    _must_be_open(view)
    if len(view.attachments) >= MOST_FILES:
        raise limit_reached("chat_id", f"{MOST_FILES} files were given to it already")


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
