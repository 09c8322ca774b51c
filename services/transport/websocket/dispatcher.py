"""Message dispatcher: handles the messages of a WebSocket client."""

import asyncio
from dataclasses import dataclass, replace
from time import perf_counter

from contracts.ids import ChatId, ChatKey, Seq
from contracts.message_ids import answer_command_id, message_command_id
from contracts.streamed_text import TextPosition
from contracts.wire.client_messages import (
    AnswerComponent,
    ArchiveChat,
    ArtifactAction,
    Cancel,
    ClientMessage,
    DeleteChat,
    Edit,
    EnterGeneralMode,
    Fork,
    RenameChat,
    Resume,
    Retry,
    Rewind,
    StartGeneralChat,
    StartWorkflow,
    StartWorkflows,
    Stop,
    SubmitInput,
    SwitchChat,
    ui_variables,
)
from contracts.wire.frames import (
    ComponentAnswerAcceptedData,
    InputAcceptedData,
    QuestionAnsweredData,
)
from services.chassis.tasks import SingleWaiterEvent
from services.chassis.tracing.spans import span
from services.transport.auth.rate_limit import REFUSED_PER_MINUTE, next_allowed
from services.transport.chats.answers import TextAnswer
from services.transport.chats.forks import ForkRequest
from services.transport.chats.general import GeneralChat
from services.transport.context import RequestContext
from services.transport.delivery.subscriber import Subscriber
from services.transport.errors import ApiError
from services.transport.protocol import client_message_parser, session_frames
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.frame_encoding import Frame
from services.transport.protocol.session_frames import Launched
from services.transport.websocket import artifact_actions, general_mode, rewinds
from services.transport.websocket.connection import SocketConnection
from services.transport.websocket.launch import launch, launch_all


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a chat was sent: the last event, and the text of the call after it."""

    cursor: Seq = Seq(0)  # noqa: RUF009
    text: TextPosition | None = None


class MessageDispatcher:
    """Handles client messages and acknowledges them; agents reply by events of the chat.

    `view` is the chat that is shown: the one in the URL until the client chooses another one;
    `general` is set while that is a general chat.
    """

    __slots__ = (
        "_client_cursor",
        "_connection",
        "_context",
        "_costly_full_at",
        "_has_cursor",
        "_in_handshake",
        "_last_sent",
        "_progress",
        "_subscriber",
        "_trace",
        "general",
        "handshake_done",
        "view",
    )

    def __init__(
        self,
        context: RequestContext,
        connection: SocketConnection,
        view: ChatView,
        trace: str | None = None,
        *,
        has_cursor: bool,
    ) -> None:
        """`trace` is the `traceparent` of the handshake, for messages without their own. A client
        without a cursor is ChatUI."""
        self.view = view
        self._has_cursor = has_cursor
        self.general: GeneralChat | None = None
        self.handshake_done = SingleWaiterEvent()
        self._context = context
        self._connection = connection
        self._subscriber: Subscriber | None = None
        self._in_handshake = True
        self._client_cursor = Seq(0)
        self._last_sent = Seq(0)
        self._progress: dict[ChatKey, Progress] = {}
        self._costly_full_at = 0.0
        self._trace = trace

    def attach(self, view: ChatView, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        if self.view.key != view.key:  # the client has chosen another chat meanwhile
            subscriber.unsubscribe()

    def detach(self, view: ChatView, progress: Progress) -> None:
        """Remember how far a chat was sent: it stays on the page while a general chat is shown."""
        if self.general is not None:
            self._progress[view.key] = progress

    def take_progress(self) -> Progress:
        """How far the chosen chat was sent before; the memory is cleared."""
        progress = self._progress.get(self.view.key, Progress())
        self._progress.clear()
        return progress

    def end_handshake(self) -> None:
        self._in_handshake = False

    def without_stale_seq(self, frame: Frame) -> Frame:
        """The frame without a `seq` that ChatUI would drop for being below its cursor.

        Such a cursor comes from a log that was deleted.
        """
        self._last_sent = max(self._last_sent, frame.seq or Seq(0))
        is_new = frame.seq is None or frame.seq > self._client_cursor
        return frame if is_new else replace(frame, seq=None)

    async def run(self) -> None:
        """Handle messages until the client disconnects. Raises ApiError for one that is to be closed."""
        while True:
            await self._handle(await self._connection.receive())
            # A message that waits already is received without a pause: other connections need one.
            await asyncio.sleep(0)

    async def _handle(self, text: str | None) -> None:
        began, kind, outcome = perf_counter(), "unreadable", "refused"
        try:
            self._context.count_message(self.view.key.app)
            limit = self._context.services.settings.max_message_bytes
            message = client_message_parser.parse_frame(text, limit)
            kind = message.type
            await self._dispatch_in_span(message)
            outcome = "handled"
        except Exception as raised:
            if not await self._connection.report(raised):
                raise
            self._count_costly()
        finally:
            metric = self._context.services.metrics.messages
            metric.labels(kind, outcome).observe(perf_counter() - began)

    def _count_costly(self) -> None:
        """Raises ApiError, which closes the socket of a client that repeats what costs others time."""
        now = asyncio.get_running_loop().time()
        full_at, wait = next_allowed(self._costly_full_at, now, REFUSED_PER_MINUTE)
        if wait:
            problem = (
                f"more than {REFUSED_PER_MINUTE} refused messages, replays or switches per minute"
            )
            raise ApiError("RATE_LIMITED", "message", problem, retry_after=wait)
        self._costly_full_at = full_at

    async def _dispatch_in_span(self, message: ClientMessage) -> None:
        """A socket may be open for days: each message is a span of its own, and of its own trace."""
        with span(
            f"receive {message.type}",
            "server",
            parent=message.traceparent or self._trace,
            is_root=True,
            attributes={"gen_ai.conversation.id": self.view.key.chat},
        ):
            await self._dispatch(message)

    async def _dispatch(self, message: ClientMessage) -> None:
        match message:
            case Resume(lastClientIndex=index):
                self._require_current_chat(message.chat_id)
                self._resume(Seq(max(index, 0)))
            case SubmitInput() if message.is_general:
                await self._send_to_general(message)
            case SubmitInput(question=str(question)):
                await self._answer(message, question)
            case SubmitInput():
                self._require_current_chat(message.chat_id)
                await self._take_text(message)
            case AnswerComponent():
                await self._answer_component(message)
            case Cancel(reason=reason):
                self._require_current_chat(message.chat_id)
                await self._context.chats.cancel(await self._current_view(), reason)
            case Stop(turn=turn):
                self._require_current_chat(message.chat_id)
                await self._context.chats.stop_answer(await self._current_view(), turn)
            case RenameChat() | ArchiveChat() | DeleteChat():
                self._require_current_chat(message.chat_id)
                await self._change_list(message)
            case Fork():
                self._require_current_chat(message.chat_id)
                await self._fork(message)
            case Retry() | Edit() | Rewind():
                self._require_current_chat(message.chat_id)
                await rewinds.handle_rewind(
                    self._context, await self._current_view(), message, self._connection
                )
            case SwitchChat():
                await self._switch_chat(message)
            case EnterGeneralMode():
                general, view = await self._context.general_chats.latest_open(
                    self.view.key.app, self.view.user
                )
                await self._enter_general(general, view, general_mode.general_mode_entered(general))
            case StartGeneralChat():
                await self._start_general_chat()
            case StartWorkflow():
                await self._start_workflow(message)
            case StartWorkflows():
                await self._start_batch(message)
            case ArtifactAction():
                for frame in await artifact_actions.handle_action(
                    self._context, await self._current_view(), message
                ):
                    await self._connection.send(frame)

    def _require_current_chat(self, chat: str | None) -> None:
        if chat not in (None, self.view.key.chat):
            raise ApiError("NOT_ALLOWED", "chat_id", "is not the chat of this socket")

    async def _change_list(self, message: RenameChat | ArchiveChat | DeleteChat) -> None:
        view, chat_list = await self._current_view(), self._context.chat_list
        match message:
            case RenameChat(title=title):
                await chat_list.rename(view, title)
            case ArchiveChat(archived=archived):
                await chat_list.set_archived(view, archived=archived)
            case DeleteChat():
                await chat_list.delete(view)

    async def _switch_chat(self, message: SwitchChat) -> None:
        key = ChatKey(self.view.key.app, ChatId(message.chat_id))
        view = await self._context.chats.find(key, user=self.view.user)
        if message.frontend_context and not view.is_over:
            variables = ui_variables(message.frontend_context)
            await self._context.chats.set_variables(view, variables, "frontend_context")
        await self._switch_view(view)

    async def _switch_view(self, view: ChatView) -> None:
        self._count_costly()  # the chat is replayed
        if self.general is not None:
            await self._connection.send(
                general_mode.workflow_mode_entered(view.key.chat, view.workflow_name)
            )
        await self._connection.send(session_frames.context_switched(self.view, view))
        # ChatUI keeps one cursor for all chats of a page.
        self._client_cursor = max(self._client_cursor, self._last_sent)
        self._in_handshake = True
        self._select(view, None)

    def _select(self, view: ChatView, general: GeneralChat | None) -> None:
        self.view, self.general = view, general
        self.handshake_done.set()
        if self._subscriber is not None:
            self._subscriber.unsubscribe()

    async def _enter_general(self, general: GeneralChat, view: ChatView, frame: Frame) -> None:
        await self._connection.send(frame)
        if self.view.key != view.key or self.general is None:
            self._select(view, general)

    async def _start_general_chat(self) -> None:
        general, view = await self._context.general_chats.create(self.view.key.app, self.view.user)
        await self._enter_general(general, view, general_mode.general_session_created(general))

    async def _send_to_general(self, message: SubmitInput) -> None:
        """Send a message to the general chat that is meant, or to a new one if that has ended."""
        general, view = await self._general_chat(message.general_chat)
        if view.ended_at is not None:
            await self._start_general_chat()
        elif self.general is None or self.view.key != view.key:
            await self._enter_general(general, view, general_mode.general_mode_entered(general))
        await self._send_message(self.view, message)

    async def _take_text(self, message: SubmitInput) -> None:
        """A message; from ChatUI it answers the only open question, which it may not know any more."""
        view = await self._current_view()
        asked = None if self._has_cursor else self._context.chats.only_question(view)
        if asked is None:
            await self._send_message(view, message)
        else:
            await self._answer(message, asked.question_id)

    async def _send_message(self, view: ChatView, message: SubmitInput) -> None:
        sent = message.client_message_id
        command = None if sent is None else message_command_id(view.key, sent, "client_message_id")
        await self._context.chats.send_message(view, message.text, command)
        await self._acknowledge(view, sent=sent)

    async def _general_chat(self, chat: str | None) -> tuple[GeneralChat, ChatView]:
        app, user, chats = self.view.key.app, self.view.user, self._context.general_chats
        if chat is not None:
            return await chats.find(ChatKey(app, ChatId(chat)), user)
        if self.general is not None:
            return self.general, await self._current_view()
        return await chats.latest_open(app, user)

    async def _fork(self, message: Fork) -> None:
        origin = self.view.key
        wanted = ForkRequest(
            None if message.seq is None else Seq(message.seq),
            message.message,
            message.client_request_id,
            self.view.user,
        )
        forked = await self._context.forks.fork(origin, wanted)
        await self._connection.send(
            session_frames.fork_started(
                forked.key, forked.workflow, forked.user, origin, forked.seq
            )
        )

    async def _start_workflow(self, message: StartWorkflow) -> None:
        await self._connection.send(
            session_frames.launch_result(await launch(self._context, self.view, message))
        )

    async def _start_batch(self, message: StartWorkflows) -> None:
        launches = await launch_all(self._context, self.view, message.runs)
        await self._connection.send(session_frames.batch_result(launches))
        started = [one for one in launches if isinstance(one, Launched)]
        if message.activate_first and started:
            first = started[0]
            chats, user = self._context.chats, self.view.user
            await self._switch_view(await chats.find_or_wait(first.key, first.workflow, user))

    def _resume(self, cursor: Seq) -> None:
        self._client_cursor = cursor
        if self._in_handshake:
            self.handshake_done.set()
        elif self._subscriber is not None:
            self._count_costly()  # each replay reads the log again
            self._subscriber.resume_from(cursor)

    async def _answer(self, message: SubmitInput, question: str) -> None:
        view = await self._find_question(question, "input_request_id")
        answer = TextAnswer(message.text, message.approved, message.always)
        sent = message.client_message_id
        command = answer_command_id(question, sent)
        await self._context.chats.answer_question(
            view, question, answer, "input_request_id", command=command
        )
        await self._acknowledge(view, question, sent)

    async def _acknowledge(
        self, view: ChatView, question: str | None = None, sent: str | None = None
    ) -> None:
        chat = view.key.chat
        self._expect_event_of(view)
        stored = QuestionAnsweredData(chat_id=chat, request_id=question, input_request_id=question)
        await self._connection.send(Frame(stored))
        accepted = InputAcceptedData(
            chat_id=chat, input_request_id=question, client_message_id=sent
        )
        await self._connection.send(Frame(accepted))

    async def _answer_component(self, message: AnswerComponent) -> None:
        view = await self._find_question(message.eventId, "eventId")
        await self._context.chats.answer_component(view, message.eventId, message.answer, "eventId")
        self._expect_event_of(view)
        await self._connection.send(Frame(ComponentAnswerAcceptedData(eventId=message.eventId)))

    def _expect_event_of(self, view: ChatView) -> None:
        """The viewer is told where nothing takes up what it has sent."""
        if self._subscriber is not None and self.view.key == view.key:
            self._subscriber.expect()

    async def _find_question(self, question: str, field: str) -> ChatView:
        """The chat that asked a question, shown or not: its components stay on the page of its user."""
        if self.view.origin is not None:  # open in the origin, too: the shown chat is meant
            shown = await self._current_view()
            if shown.open_question(question) is not None:
                return shown
        view = await self._context.chats.find_by_question(question, field)
        if (view.key.app, view.user) != (self.view.key.app, self.view.user):
            raise ApiError("QUESTION_NOT_OPEN", field, "no such question is open")
        return view

    async def _current_view(self) -> ChatView:
        return await self._context.chats.find_for_command(
            self.view.key, self.view.workflow_name, self.view.user
        )
