"""What a client says on its socket: obeyed, or refused by the name of the field."""

from dataclasses import replace

from contracts.ids import ChatId, ChatKey, Seq
from contracts.subjects import InvalidIdError
from services.chassis.bus import RefusedError, UnavailableError
from services.transport import feed, inbound
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.feed import Frame, Launched
from services.transport.inbound import (
    AnswerComponent,
    Cancel,
    Inbound,
    Resume,
    StartWorkflow,
    StartWorkflows,
    SubmitInput,
    SwitchChat,
)
from services.transport.launching import launch, launch_all
from services.transport.line import Line
from services.transport.refusals import RefusalError, malformed, unavailable
from services.transport.rooms import Seat
from services.transport.signal import Signal


class Listener:
    """Takes what a client says and answers it; the chat itself answers by its events.

    `view` is the chat that the client looks at: the one of its address until it chooses another.
    """

    def __init__(self, desk: Desk, line: Line, view: ChatView) -> None:
        self.view = view
        self.greeted = Signal()
        self._desk = desk
        self._line = line
        self._seat: Seat | None = None
        self._greeting = True
        self._claimed = Seq(0)
        self._sent = Seq(0)

    def attends(self, view: ChatView, seat: Seat) -> None:
        self._seat = seat
        if self.view.key != view.key:  # yet another one was chosen on the way here
            seat.leave()

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
                await self._obey(inbound.frame(text, self._desk.max_message_bytes))
            except RefusalError as refusal:
                await self._line.refuse(refusal)
            except InvalidIdError as invalid:
                await self._line.refuse(malformed(invalid.field, invalid.problem))
            except (UnavailableError, RefusedError):
                await self._line.refuse(unavailable())

    async def _obey(self, said: Inbound) -> None:
        match said:
            case Resume(lastClientIndex=index):
                self._must_be_here(said.chat_id)
                self._resume(Seq(max(index, 0)))
            case SubmitInput():
                self._must_be_here(said.chat_id)
                await self._submit(said)
            case AnswerComponent():
                await self._answer_component(said)
            case Cancel(reason=reason):
                self._must_be_here(said.chat_id)
                await self._desk.chats.cancel(await self._now(), reason)
            case SwitchChat(chat_id=chat):
                key = ChatKey(self.view.key.app, ChatId(chat))
                await self._switch(await self._desk.chats.find(key, user=self.view.user))
            case StartWorkflow():
                await self._start(said)
            case StartWorkflows():
                await self._start_all(said)

    def _must_be_here(self, chat: str | None) -> None:
        if chat not in (None, self.view.key.chat):
            raise RefusalError("NOT_ALLOWED", "chat_id", "is not the chat of this socket")

    async def _switch(self, view: ChatView) -> None:
        await self._line.send(feed.context_switched(self.view, view))
        # What ChatUI has counted in one chat it holds against the next.
        self._claimed = max(self._claimed, self._sent)
        self.view, self._greeting = view, True
        self.greeted.set()
        if self._seat is not None:
            self._seat.leave()

    async def _start(self, said: StartWorkflow) -> None:
        await self._line.send(feed.launched(await launch(self._desk, self.view, said)))

    async def _start_all(self, said: StartWorkflows) -> None:
        launches = await launch_all(self._desk, self.view, said.runs)
        await self._line.send(feed.batch_launched(launches))
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

    async def _submit(self, said: SubmitInput) -> None:
        view = await self._now()
        if said.question is None:
            await self._desk.chats.say(view, said.text)
        else:
            await self._desk.chats.answer(view, said.question, said.text)
        named = {"chat_id": view.key.chat, "status": "accepted", "input_request_id": said.question}
        await self._line.send(Frame("chat.input_ack", {**named, "request_id": said.question}))
        await self._line.send(Frame("ack.input", named))

    async def _answer_component(self, said: AnswerComponent) -> None:
        view = await self._now()
        await self._desk.chats.answer_component(view, said.eventId, said.answer, "eventId")
        done = {"eventId": said.eventId, "status": "accepted"}
        await self._line.send(Frame("ack.ui_tool_response", done))

    async def _now(self) -> ChatView:
        return await self._desk.chats.find(self.view.key, self.view.workflow, self.view.user)
