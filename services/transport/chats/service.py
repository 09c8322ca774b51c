"""Chat service: starts and finds chats, and sends commands to them, for one identity."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts import subjects
from contracts.chat_snapshot import OpenQuestion, QuestionKind
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    AttachFile,
    CancelChat,
    Command,
    ForkChat,
    SendMessage,
    SetVariables,
    StartChat,
    StopAnswer,
)
from contracts.events.chat import AttachmentUploaded
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.turn import USER
from contracts.ids import (
    AppId,
    ChatKey,
    CommandId,
    Seq,
    UserId,
    WorkflowName,
    chat_id_of_start,
    new_chat_id,
    new_command_id,
)
from contracts.reserved_variables import is_reserved
from contracts.settable_variables import why_not_settable
from contracts.subjects import token
from contracts.wire.client_messages import ui_variables
from services.chassis.answer_links import AnswerLinks, IssuedLink
from services.chassis.jetstream.chat_rows import readable_summary
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import wait_for_event
from services.transport.auth.principal import Identity, require_owner, require_scope
from services.transport.chats.answers import (
    NOBODY_ELSE,
    Answer,
    Answerer,
    OnBehalfOf,
    TextAnswer,
    answerer_of,
    chat_of,
    not_answered_by,
    not_open,
    recorded_answer,
    send_answer,
    was_applied,
)
from services.transport.chats.app_capacity import AppCapacity
from services.transport.chats.catalogue import WorkflowCatalogue
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.errors import (
    ApiError,
    bad_request,
    limit_exceeded,
    service_unavailable,
)
from services.transport.protocol.chat_projection import ChatView

LOST_MESSAGE_SECONDS = 0.5
"""When the log is read for the first event of a chat whose start was not published to us."""
MAX_FILES_PER_CHAT = 100
"""Files of one chat: each is part of the chat's state."""


@dataclass(frozen=True, slots=True)
class StartedChat:
    """A chat whose start command is stored; `confirmed` once the orchestrator has started it."""

    key: ChatKey
    reused: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """An open question: the event by which it was asked, and what is known of it now."""

    event: HumanAsked | UiToolRequested
    now: OpenQuestion


class ChatService:
    """Validates requests against the log and sends them as commands.

    It finds only chats that its identity may access.
    """

    def __init__(
        self,
        gateway: JetStreamGateway,
        projections: ProjectionCache,
        workflows: WorkflowCatalogue,
        start_wait_seconds: float,
        live_view: Callable[[ChatKey], ChatView | None],
        capacity: AppCapacity,
        identity: Identity,
    ) -> None:
        self._gateway = gateway
        self._projections = projections
        self._workflows = workflows
        self._start_wait_seconds = start_wait_seconds
        self._live_view = live_view
        self._capacity = capacity
        self._identity = identity

    async def start(
        self,
        app: AppId,
        workflow: WorkflowName,
        user: UserId,
        *,
        client_request_id: str | None = None,
        message: str | None = None,
        frontend_context: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> StartedChat:
        """Start a chat, or find the one that a request with the same `client_request_id` started.

        `variables` are initial values of variables that users may set.

        Raises ApiError, InvalidIdError, NatsUnavailableError.
        """
        token(user, "user_id")
        require_owner(self._identity, app, user)
        request_id = client_request_id
        chat = chat_id_of_start(app, workflow, user, request_id) if request_id else new_chat_id()
        key = ChatKey(app, chat)
        token(app, "app_id")
        await self._require_settable(workflow, variables or {}, "variables", None)
        command = StartChat(
            command_id=CommandId(f"start-{chat}"),
            app_id=app,
            chat_id=chat,
            user_id=user,
            workflow_name=workflow,
            client_request_id=request_id,
            message=message or None,
            variables={**ui_variables(frontend_context), **(variables or {})},
        )
        async with self._gateway.live.first_message(key) as started:
            if request_id and await self._exists(key):
                return StartedChat(key, reused=True, confirmed=True)
            await self._send_start(command)
            return StartedChat(key, reused=False, confirmed=await self._has_started(key, started))

    async def find(
        self,
        key: ChatKey,
        workflow: str | None = None,
        user: str | None = None,
        *,
        tail: int = 0,
        deleted: bool = False,
    ) -> ChatView:
        """The chat, if it exists, is accessible, is of this workflow and user, and not deleted.

        The access check of a chat for its user and the back end of its app. One of another user looks as if it did not exist. For who
        shows only a `tail` of it, the view may not be whole; with `deleted` a deleted one is found, too.

        Raises ApiError, InvalidIdError, NatsUnavailableError.
        """
        token(key.app, "app_id")
        token(key.chat, "chat_id")
        if not self._identity.can_access_app(key.app):
            view = None
        elif tail:
            view = await self._projections.get_recent(key, tail)
        else:
            view = await self._projections.get(key)
        found = self._checked(view, key, workflow, user)
        if not deleted:
            _require_not_deleted(found)
        return found

    async def find_for_operator(self, key: ChatKey) -> ChatView:
        """Any user's chat of an app that an operator may access, a deleted one, too, but not an erased
        one. Only for routes that show nothing of what was said.

        Raises ApiError, InvalidIdError, NatsUnavailableError.
        """
        token(key.app, "app_id")
        token(key.chat, "chat_id")
        require_owner(self._identity, key.app, None)
        require_scope(self._identity, "operators")
        view = await self._projections.get(key)
        if view is None or view.is_erased:
            raise _not_found()
        return view

    async def find_for_command(
        self,
        key: ChatKey,
        workflow: str | None = None,
        user: str | None = None,
    ) -> ChatView:
        """As `find`, for who sends a command: the view of a watched chat may trail the log by a moment.

        A command is not refused because of that: an end is final, and before a question is called not
        open, the log is read. One that comes too late is ignored by the orchestrator, as ever.
        """
        view = self._live_view(key)
        if view is None:
            return await self.find(key, workflow, user)
        found = self._checked(view, key, workflow, user)
        _require_not_deleted(found)
        return found

    async def find_known(self, key: ChatKey, user: str | None, seq: Seq | None) -> ChatView | None:
        """As `find`, after event `seq` at least, but None for a chat that this process does not know:
        it may be a long one."""
        token(key.app, "app_id")
        token(key.chat, "chat_id")
        view = self._live_view(key) or await self._projections.get_known(key, seq)
        if view is None:
            return None
        found = self._checked(view, key, None, user)
        _require_not_deleted(found)
        return found

    async def require_access(self, key: ChatKey, owner: UserId | None, user: str | None) -> None:
        """The check of `find` for a chat of which only the user is known, None: there is no such chat.

        Raises ApiError, NatsUnavailableError.
        """
        if owner is None or not self._identity.can_act_for(key.app, owner):
            raise _not_found()
        if user is not None and user != owner:
            raise ApiError("NOT_ALLOWED", "user_id", "no such chat of this user")
        place = subjects.chat_summary_key(key.app, owner, key.chat)
        stored = await self._gateway.reader.last(
            subjects.bucket_stream(subjects.CHATS), subjects.bucket_subject(subjects.CHATS, place)
        )
        row = None if stored is None else await readable_summary(stored.data)
        if row is not None and row.deleted:
            raise _deleted()

    def _checked(
        self, view: ChatView | None, key: ChatKey, workflow: str | None, user: str | None
    ) -> ChatView:
        """Who may access a chat, and its workflow, are in its first event and never change."""
        if (
            view is None
            or view.is_erased
            or not self._identity.can_access_app(key.app)
            or not self._identity.can_act_for(key.app, view.user)
        ):
            raise _not_found()
        if user is not None and view.user != user:
            raise ApiError("NOT_ALLOWED", "user_id", "no such chat of this user")
        if workflow is not None and view.workflow_name != workflow:
            raise ApiError("NOT_ALLOWED", "workflow_name", other_workflow(view.workflow_name))
        return view

    async def find_or_wait(
        self, key: ChatKey, workflow: str, user: str, *, tail: int = 0
    ) -> ChatView:
        """As `find`, but waits for a chat whose start command was only just sent.

        Where that is still in the queue, the chat will come to be: its user is told to come back.
        """
        try:
            return await self.find(key, workflow, user, tail=tail)
        except ApiError as error:
            if error.code != "CHAT_NOT_FOUND":
                raise
        async with self._gateway.live.first_message(key) as event:
            started = await self._exists(key) or await self._has_started(key, event)
        try:
            return await self.find(key, workflow, user)
        except ApiError:
            if started:  # a chat of another user takes as long as one that does not exist
                await asyncio.sleep(self._start_wait_seconds)
            elif await self._is_to_start(key, user):
                problem = "the chat is about to start"
                raise ApiError("SERVICE_UNAVAILABLE", "service", problem) from None
            raise

    async def _is_to_start(self, key: ChatKey, user: str) -> bool:
        commands = self._gateway.commands
        ordered = [
            *await commands.waiting(key, "start_chat"),
            *await commands.waiting(key, "fork_chat"),
        ]
        return any(command.user_id == user for command in ordered)

    async def send_start(self, command: StartChat) -> bool:
        """Send a start command; whether the chat has started. Raises ApiError, which names the first
        variable that users may not set, and NatsUnavailableError."""
        async with self._gateway.live.first_message(command.key) as started:
            await self._send_start(command)
            return await self._has_started(command.key, started)

    async def begin(self, command: ForkChat) -> bool:
        """Send the command that begins a fork; whether the fork has begun. Raises ApiError,
        NatsUnavailableError."""
        async with self._gateway.live.first_message(command.key) as begun:
            await self._capacity.require(command.app_id)
            await self._send(command)
            return await self._has_started(command.key, begun)

    async def send_message(
        self, view: ChatView, text: str, command: CommandId | None = None
    ) -> None:
        """A message that is sent again under the same `command` is accepted, and changes nothing.

        Raises ApiError, NatsUnavailableError.
        """
        if view.ended_at is not None and await was_applied(self._gateway, view.key, command):
            return
        await self._require_open(view)
        await self._send(
            SendMessage(
                command_id=command or new_command_id(),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                text=text,
            )
        )

    async def answer_question(
        self,
        view: ChatView,
        question: str,
        answer: TextAnswer,
        field: str,
        other: OnBehalfOf = NOBODY_ELSE,
        command: CommandId | None = None,
    ) -> None:
        """Raises ApiError, also where another answer came first, and NatsUnavailableError.

        An answer that is sent again under the same `command` is accepted again.
        """
        if (found := await self._unless_sent(view, question, "text", field, command)) is None:
            return
        asked, view = found
        by = self._answerer(asked, view, field, other)
        if answer.digest not in (None, asked.digest):
            problem = "no such question about these arguments"
            raise ApiError("QUESTION_NOT_OPEN", "arguments_digest", problem)
        await self._send_answer(
            AnswerQuestion(
                command_id=command or new_command_id(),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=by.user,
                question_id=asked.question_id,
                text=answer.stored_text,
                role=by.role,
                approved=answer.approved,
                always=answer.always,
                digest=answer.digest,
            ),
            view,
            field,
        )

    async def answer_component(
        self,
        view: ChatView,
        question: str,
        response: dict[str, object],
        field: str,
        other: OnBehalfOf = NOBODY_ELSE,
        command: CommandId | None = None,
    ) -> None:
        """Raises as `answer_question`."""
        if (found := await self._unless_sent(view, question, "component", field, command)) is None:
            return
        asked, view = found
        by = self._answerer(asked, view, field, other)
        await self._send_answer(
            AnswerUiTool(
                command_id=command or new_command_id(),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=by.user,
                question_id=asked.question_id,
                response=response,
                role=by.role,
            ),
            view,
            field,
        )

    def only_question(self, view: ChatView) -> OpenQuestion | None:
        """The open question in text that this identity may answer, where there is exactly one question."""
        if len(view.open_questions) != 1 or view.open_questions[0].kind != "text":
            return None
        (asked,) = view.open_questions
        return None if answerer_of(asked, view, self._identity) is None else asked

    async def _unless_sent(
        self,
        view: ChatView,
        question: str,
        kind: QuestionKind,
        field: str,
        command: CommandId | None,
    ) -> tuple[OpenQuestion, ChatView] | None:
        """The open question; None if it is answered already, and by this command. Raises ApiError."""
        try:
            return await self._open_question(view, question, kind, field)
        except ApiError:
            if command is None:
                raise
            if await recorded_answer(self._gateway, view.key, question) != command:
                raise
            return None

    def _answerer(
        self, asked: OpenQuestion, view: ChatView, field: str, other: OnBehalfOf
    ) -> Answerer:
        by = answerer_of(asked, view, self._identity, other)
        if by is None:
            raise not_answered_by(asked, field)
        return by

    async def _send_answer(self, command: Answer, view: ChatView, field: str) -> None:
        self._require_storage(command)
        await send_answer(self._gateway, command, view.place, field, view.since_rewind)

    async def set_variables(
        self,
        view: ChatView,
        variables: Mapping[str, Any],
        field: str,
        component: str | None = None,
    ) -> None:
        """Raises ApiError, which names the first variable that this component, or a client without
        one, may not set, and NatsUnavailableError."""
        await self._require_open(view)
        reserved = next(filter(is_reserved, variables), None)
        if reserved is not None:
            raise bad_request(f"{field}.{reserved}", "reserved for the runtime")
        await self._require_settable(view.workflow_name, variables, field, component)
        await self._send(
            SetVariables(
                command_id=new_command_id(),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                variables=dict(variables),
                component=component,
            )
        )

    async def attach_file(self, view: ChatView, file: AttachmentUploaded) -> None:
        """Attach a file whose bytes are stored already. Raises ApiError, NatsUnavailableError."""
        require_can_attach(view)
        stored = subjects.attachment_key(view.key, file.attachment_id)
        await self._send(
            AttachFile(
                command_id=CommandId(f"attach-{stored}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                **file.model_dump(),
            )
        )

    async def cancel(self, view: ChatView, reason: str) -> None:
        """Raises ApiError, NatsUnavailableError."""
        await self._require_open(view)
        await self._send(
            CancelChat(
                command_id=CommandId(f"cancel-{subjects.chat_tokens(view.key)}{view.since_rewind}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                reason=reason,
            )
        )

    async def issue_link(
        self,
        links: AnswerLinks | None,
        view: ChatView,
        question: str,
        field: str,
        now: datetime,
        other: OnBehalfOf = NOBODY_ELSE,
    ) -> IssuedLink:
        """A link that answers an open question as this identity, or the user it acts for, may.

        Raises ApiError, NatsUnavailableError.
        """
        if links is None:
            raise ApiError("LINKS_OFF", "question_id", "links need the setting ANSWER_LINK_SECRET")
        asked = view.open_question(question)
        if asked is None:
            view = await self._newest(view)
            asked = view.open_question(question)
        if asked is None:
            raise not_open(field)
        by = self._answerer(asked, view, field, other)
        return links.issue(
            view.key,
            asked.question_id,
            now,
            user=by.user,
            role=by.role,
            digest=asked.digest,
            expires_at=asked.expires_at,
        )

    async def asked_question(self, view: ChatView, question: str, field: str) -> AskedQuestion:
        """An open question as it was asked, from the log. Raises ApiError, NatsUnavailableError."""
        asked = view.open_question(question)
        if asked is None:
            view = await self._newest(view)
            asked = view.open_question(question)
        if asked is None:
            raise not_open(field)
        seq = view.question_seqs[asked.question_id]
        found = self._gateway.events.read_part(view.key, seq, seq, known=view.place)
        async for commit in found:
            for stored in commit.events:
                if stored.envelope.seq != seq:
                    continue
                event = (await self._gateway.values.whole(stored)).event
                if isinstance(event, HumanAsked | UiToolRequested):
                    return AskedQuestion(event, asked)
        raise not_open(field)

    async def stop_answer(self, view: ChatView, turn: int | None) -> bool:
        """Ask for the end of the running answer; whether one runs.

        `turn` is the one that the user saw, None: the newest. Raises ApiError, NatsUnavailableError.
        """
        if not _answer_runs(view):  # it may have begun since
            view = await self._newest(view)
        if not _answer_runs(view):
            return False
        meant = view.turn if turn is None else turn
        chat = subjects.chat_tokens(view.key)
        await self._send(
            StopAnswer(
                command_id=new_command_id()
                if meant is None
                else CommandId(f"stop-{chat}-{meant}{view.since_rewind}"),
                app_id=view.key.app,
                chat_id=view.key.chat,
                user_id=view.user,
                turn=meant,
            )
        )
        return True

    async def find_by_question(
        self,
        question: str,
        field: str,
        other: OnBehalfOf = NOBODY_ELSE,
        chat: ChatKey | None = None,
    ) -> ChatView:
        """The chat that asked a question, for who may see the chat or answer the open question.

        A question that was open when its chat was forked is open in the fork, too: `chat` is the one
        that is meant. Raises ApiError, NatsUnavailableError.
        """
        key = chat_of(question, field) if chat is None else chat
        if not self._identity.can_access_app(key.app):
            raise not_open(field)
        view = self._live_view(key) or await self._projections.get(key)
        if view is None or view.deleted_at is not None:
            raise not_open(field)
        if self._identity.can_act_for(key.app, view.user):
            return view
        asked = view.open_question(question)
        if asked is None:
            view = await self._newest(view)
            asked = view.open_question(question)
        if asked is None or answerer_of(asked, view, self._identity, other) is None:
            raise not_open(field)
        return view

    async def _require_settable(
        self, workflow: str, variables: Mapping[str, Any], field: str, component: str | None
    ) -> None:
        settable = await self._workflows.settable_variables(workflow) if variables else {}
        for name in variables:
            if (why := why_not_settable(name, settable, component)) is not None:
                raise ApiError("NOT_SETTABLE", f"{field}.{name}", why)

    async def _send_start(self, command: StartChat) -> None:
        require_owner(self._identity, command.app_id, command.user_id)
        await self._require_settable(command.workflow_name, command.variables, "state", None)
        await self._capacity.require(command.app_id)
        await self._send(command)

    async def _has_started(self, key: ChatKey, started: asyncio.Event) -> bool:
        """Wait for the start; the log is read, too, as a published message may be lost."""
        quick = min(LOST_MESSAGE_SECONDS, self._start_wait_seconds)
        if await wait_for_event(started, quick) or await self._exists(key):
            return True
        rest = self._start_wait_seconds - quick
        return await wait_for_event(started, rest) or (rest > 0 and await self._exists(key))

    async def _exists(self, key: ChatKey) -> bool:
        return await self._gateway.events.first(key) is not None

    async def _open_question(
        self, view: ChatView, question: str, kind: QuestionKind, field: str
    ) -> tuple[OpenQuestion, ChatView]:
        """An open question, and the view of its chat; the log is read if the view does not have it."""
        asked = view.open_question(question)
        if asked is None or asked.kind != kind:  # it may have been asked since
            view = await self._newest(view)
            asked = view.open_question(question)
        if asked is None or asked.kind != kind:
            raise not_open(field)
        return asked, view

    async def _require_open(self, view: ChatView) -> None:
        """Raises ApiError where a chat has ended, also by its log: a retry may have opened it again."""
        if view.is_over:
            _require_open(await self._newest(view))

    async def _newest(self, view: ChatView) -> ChatView:
        return await self._projections.get(view.key) or view

    async def send_once(self, command: Command, message_id: str) -> CommandId | None:
        """As `CommandQueue.send_once`. Raises ApiError, NatsUnavailableError."""
        self._require_storage(command)
        return await self._gateway.commands.send_once(command, message_id)

    async def send_command(self, command: Command) -> None:
        """Raises ApiError, NatsUnavailableError, NatsRejectedError."""
        await self._send(command)

    async def _send(self, command: Command) -> None:
        self._require_storage(command)
        await self._gateway.commands.send(command)

    def _require_storage(self, command: Command) -> None:
        # While events cannot be stored a command would only wait, and its client would not know.
        storage = self._gateway.storage
        events = subjects.event(command.key, "runtime")
        if storage.reason(storage.stream_of(events)) is not None:
            raise service_unavailable(self._gateway.storage)


def require_can_attach(view: ChatView) -> None:
    """Raises ApiError where a chat has ended, or has reached the file limit."""
    _require_open(view)
    if len(view.attachments) >= MAX_FILES_PER_CHAT:
        raise limit_exceeded("chat_id", f"file limit reached ({MAX_FILES_PER_CHAT} files per chat)")


def other_workflow(name: WorkflowName) -> str:
    """The problem of a request that names another workflow than that of its chat."""
    return f"the chat is of workflow {name!r}"


def _require_not_deleted(view: ChatView) -> None:
    if view.deleted_at is not None:
        raise _deleted()


def _not_found() -> ApiError:
    return ApiError("CHAT_NOT_FOUND", "chat_id", "no such chat")


def _deleted() -> ApiError:
    problem = "the chat is deleted; it can be undeleted until it is erased"
    return ApiError("CHAT_DELETED", "chat_id", problem)


def _require_open(view: ChatView) -> None:
    if view.is_over:
        raise ApiError("CHAT_ENDED", "chat_id", f"the chat is {view.status}")


def _answer_runs(view: ChatView) -> bool:
    """Whether the open turn is an agent's, also while it waits for an answer of the user."""
    return view.ended_at is None and view.speaker is not None and view.speaker != USER
