"""What a client says on its socket: obeyed, or refused by the name of the field."""

from dataclasses import dataclass, replace

from contracts.ids import ChatId, ChatKey, Seq
from contracts.subjects import InvalidIdError
from services.chassis.direct_get import RefusedError, UnavailableError
from services.transport import artifacts, asking, inbound, notices
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.frames import Frame
from services.transport.general import GeneralChat
from services.transport.inbound import (
    AnswerComponent,
    ArtifactAction,
    Cancel,
    EnterGeneralMode,
    Inbound,
    Resume,
    StartGeneralChat,
    StartWorkflow,
    StartWorkflows,
    SubmitInput,
    SwitchChat,
)
from services.transport.launching import launch, launch_all
from services.transport.line import Line
from services.transport.notices import Launched
from services.transport.refusals import RefusalError, malformed, unavailable
from services.transport.rooms import Seat
from services.transport.signal import Signal
from services.transport.speech import Speech


@dataclass(frozen=True, slots=True)
class Shown:
    """How far a chat was shown: up to an event, and what of the text that came after it."""

    cursor: Seq = Seq(0)  # noqa: RUF009
    heard: Speech | None = None


class Listener:
    """Takes what a client says and answers it; the chat itself answers by its events.

    `view` is the chat that the client looks at: the one of its address until it chooses another;
    `general` is there while that is a general chat.
    """

    def __init__(self, desk: Desk, line: Line, view: ChatView) -> None:
        self.view = view
        self.general: GeneralChat | None = None
        self.greeted = Signal()
        self._desk = desk
        self._line = line
        self._seat: Seat | None = None
        self._greeting = True
        self._claimed = Seq(0)
        self._sent = Seq(0)
        self._shown: dict[ChatKey, Shown] = {}

    def attends(self, view: ChatView, seat: Seat) -> None:
        self._seat = seat
        if self.view.key != view.key:  # yet another one was chosen on the way here
            seat.leave()

    def leaves(self, view: ChatView, shown: Shown) -> None:
        """Note how far a chat was shown: it stays on the page behind a general one."""
        if self.general is not None:
            self._shown[view.key] = shown

    def returns(self) -> Shown:
        """How far the chosen chat is on the client's page already."""
        shown = self._shown.get(self.view.key, Shown())
        self._shown.clear()
        return shown

    def greeting_is_over(self) -> None:
        self._greeting = False

    def acceptable(self, frame: Frame) -> Frame:
        """The frame as ChatUI takes it: it throws away whose `seq` is below the cursor it has.

        Such a cursor is one of a log that is no more.
        """
        self._sent = max(self._sent, frame.seq or Seq(0))
        past = frame.seq is None or frame.seq > self._claimed
        return frame if past else replace(frame, seq=None)

    async def run(self) -> None:
        while True:
            text = await self._line.receive()
            try:
                self._desk.count(self.view.key.app)
                await self._obey(inbound.frame(text, self._desk.max_message_bytes))
            except RefusalError as refusal:
                await self._line.refuse(refusal)
            except InvalidIdError as invalid:
                await self._line.refuse(malformed(invalid.field, invalid.problem))
            except (UnavailableError, RefusedError):
                await self._line.refuse(unavailable(self._desk.bus.storage))

    async def _obey(self, said: Inbound) -> None:
        match said:
            case Resume(lastClientIndex=index):
                self._must_be_here(said.chat_id)
                self._resume(Seq(max(index, 0)))
            case SubmitInput() if said.asks:
                await self._ask(said)
            case SubmitInput(question=str(question)):
                await self._answer(said, question)
            case SubmitInput():
                self._must_be_here(said.chat_id)
                await self._desk.chats.say(await self._now(), said.text)
                await self._accept(self.view)
            case AnswerComponent():
                await self._answer_component(said)
            case Cancel(reason=reason):
                self._must_be_here(said.chat_id)
                await self._desk.chats.cancel(await self._now(), reason)
            case SwitchChat():
                await self._go(said)
            case EnterGeneralMode():
                general, view = await self._desk.general.latest(self.view.key.app, self.view.user)
                await self._turn_to(general, view, asking.mode_is_general(general))
            case StartGeneralChat():
                await self._begin_general()
            case StartWorkflow():
                await self._start(said)
            case StartWorkflows():
                await self._start_all(said)
            case ArtifactAction():
                for frame in await artifacts.act(self._desk, await self._now(), said):
                    await self._line.send(frame)

    def _must_be_here(self, chat: str | None) -> None:
        if chat not in (None, self.view.key.chat):
            raise RefusalError("NOT_ALLOWED", "chat_id", "is not the chat of this socket")

    async def _go(self, said: SwitchChat) -> None:
        key = ChatKey(self.view.key.app, ChatId(said.chat_id))
        view = await self._desk.chats.find(key, user=self.view.user)
        if said.frontend_context and view.ended is None:
            told = inbound.of_page(said.frontend_context)
            await self._desk.chats.set_variables(view, told, "frontend_context")
        await self._switch(view)

    async def _switch(self, view: ChatView) -> None:
        if self.general is not None:
            await self._line.send(asking.mode_is_workflow(view.key.chat, view.workflow))
        await self._line.send(notices.context_switched(self.view, view))
        # What ChatUI has counted in one chat it holds against the next.
        self._claimed = max(self._claimed, self._sent)
        self._greeting = True
        self._look_at(view, None)

    def _look_at(self, view: ChatView, general: GeneralChat | None) -> None:
        self.view, self.general = view, general
        self.greeted.set()
        if self._seat is not None:
            self._seat.leave()

    async def _turn_to(self, general: GeneralChat, view: ChatView, told: Frame) -> None:
        await self._line.send(told)
        if self.view.key != view.key or self.general is None:
            self._look_at(view, general)

    async def _begin_general(self) -> None:
        general, view = await self._desk.general.begin(self.view.key.app, self.view.user)
        await self._turn_to(general, view, asking.session_created(general))

    async def _ask(self, said: SubmitInput) -> None:
        """Say something in the general chat that is meant, if need be in a new one."""
        general, view = await self._meant(said.general_chat)
        if view.ended is not None:
            await self._begin_general()
        elif self.general is None or self.view.key != view.key:
            await self._turn_to(general, view, asking.mode_is_general(general))
        await self._desk.chats.say(self.view, said.text)
        await self._accept(self.view)

    async def _meant(self, chat: str | None) -> tuple[GeneralChat, ChatView]:
        app, user, chats = self.view.key.app, self.view.user, self._desk.general
        if chat is not None:
            return await chats.find(ChatKey(app, ChatId(chat)), user)
        if self.general is not None:
            return self.general, await self._now()
        return await chats.latest(app, user)

    async def _start(self, said: StartWorkflow) -> None:
        await self._line.send(notices.launched(await launch(self._desk, self.view, said)))

    async def _start_all(self, said: StartWorkflows) -> None:
        launches = await launch_all(self._desk, self.view, said.runs)
        await self._line.send(notices.batch_launched(launches))
        begun = [one for one in launches if isinstance(one, Launched)]
        if said.activate_first and begun:
            first = begun[0]
            chats, user = self._desk.chats, self.view.user
            await self._switch(await chats.find_soon(first.key, first.workflow, user))

    def _resume(self, cursor: Seq) -> None:
        self._claimed = cursor
        if self._greeting:
            self.greeted.set()
        elif self._seat is not None:
            self._seat.rewind(cursor)

    async def _answer(self, said: SubmitInput, question: str) -> None:
        view = await self._asked(question, "input_request_id")
        await self._desk.chats.answer(view, question, said.text)
        await self._accept(view, question)

    async def _accept(self, view: ChatView, question: str | None = None) -> None:
        named = {"chat_id": view.key.chat, "status": "accepted", "input_request_id": question}
        await self._line.send(Frame("chat.input_ack", {**named, "request_id": question}))
        await self._line.send(Frame("ack.input", named))

    async def _answer_component(self, said: AnswerComponent) -> None:
        view = await self._asked(said.eventId, "eventId")
        await self._desk.chats.answer_component(view, said.eventId, said.answer, "eventId")
        done = {"eventId": said.eventId, "status": "accepted"}
        await self._line.send(Frame("ack.ui_tool_response", done))

    async def _asked(self, question: str, field: str) -> ChatView:
        """The chat that asks, looked at or not: what it has shown stays on the page of its user."""
        view = await self._desk.chats.of_question(question, field)
        if (view.key.app, view.user) != (self.view.key.app, self.view.user):
            raise RefusalError("QUESTION_NOT_OPEN", field, "no such question is open")
        return view

    async def _now(self) -> ChatView:
        return await self._desk.chats.find(self.view.key, self.view.workflow, self.view.user)
