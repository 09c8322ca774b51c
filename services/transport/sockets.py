"""The WebSocket: a reader and a writer that begin and end together."""

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Any

from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from contracts.ids import Seq
from contracts.subjects import InvalidIdError
from services.chassis.bus import RefusedError, UnavailableError
from services.transport import cursors, feed, inbound
from services.transport.addresses import key_of, plain
from services.transport.chats import Chats
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.feed import Frame, Viewer
from services.transport.inbound import AnswerComponent, Cancel, Inbound, Resume, SubmitInput
from services.transport.refusals import RefusalError, malformed, unavailable
from services.transport.rooms import Seat
from services.transport.together import together
from services.transport.viewing import LostEventsError, Viewing

log = logging.getLogger(__name__)

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


class Line:
    """What goes out on one socket, one frame at a time."""

    def __init__(self, socket: WebSocket[Any, Any, Any], desk: Desk) -> None:
        self._socket = socket
        self._desk = desk
        self._turn = asyncio.Lock()

    async def send(self, frame: Frame) -> None:
        timed = frame if frame.time is not None else replace(frame, time=self._desk.clock())
        async with self._turn:
            await self._socket.send_text(feed.encode(timed))
        self._desk.frames.inc()

    async def refuse(self, refusal: RefusalError) -> None:
        more = {"field": refusal.field}
        await self.send(feed.error(str(refusal), refusal.code, **more))

    async def receive(self) -> str | None:
        """The next text; none for a binary message. Raises WebSocketDisconnect."""
        event = await self._socket.receive()
        if event["type"] == "websocket.receive":
            return event.get("text")
        raise WebSocketDisconnect(detail="the client is gone")

    async def close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, reason=reason[:120])


@websocket("/ws/{workflow_name:str}/{app_id:str}/{chat_id:str}/{user_id:str}")
async def on_socket(
    socket: WebSocket[Any, Any, Any],
    desk: NamedDependency[Desk],
    workflow_name: FromPath[str],
    app_id: FromPath[str],
    chat_id: FromPath[str],
    user_id: FromPath[str],
) -> None:
    await socket.accept()
    line = Line(socket, desk)
    with desk.sockets.track_inprogress(), contextlib.suppress(WebSocketDisconnect, OSError):
        try:
            viewer, after = _asked(socket)
            key = key_of(app_id, chat_id)
            workflow, user = plain(workflow_name, "workflow_name"), plain(user_id, "user_id")
            view = await desk.chats.find_soon(key, workflow, user)
            viewer = replace(viewer, agents=await desk.workflows.heard(view.workflow))
            await _attend(desk, line, view, viewer, after)
        except RefusalError as refusal:
            await _dismiss(line, refusal)
        except InvalidIdError as invalid:
            await _dismiss(line, malformed(invalid.field, invalid.problem))
        except (UnavailableError, RefusedError):
            await _dismiss(line, unavailable())
        except LostEventsError as lost:
            log.error("a viewer is sent away", extra={"chat": chat_id, "why": str(lost)})  # noqa: TRY400
            await line.close(TRY_AGAIN_LATER, "reconnect")


async def _dismiss(line: Line, refusal: RefusalError) -> None:
    await line.refuse(refusal)
    away = refusal.code == "SERVICE_UNAVAILABLE"
    await line.close(TRY_AGAIN_LATER if away else POLICY_VIOLATION, refusal.code)


def _asked(socket: WebSocket[Any, Any, Any]) -> tuple[Viewer, Seq]:
    after, events = socket.query_params.get("after"), socket.query_params.get("events")
    viewer = Viewer(has_cursor=after is not None, everything=cursors.wants_everything(events))
    return viewer, Seq(0) if after is None else cursors.cursor(after, "after")


async def _attend(desk: Desk, line: Line, view: ChatView, viewer: Viewer, after: Seq) -> None:
    async with desk.rooms.seat(view.key) as (room, seat):
        await line.send(feed.meta(view))
        greeted = asyncio.Event()
        reader = Reader(desk.chats, line, view, seat, greeted, desk.max_message_bytes)

        async def send(frame: Frame) -> None:
            await line.send(frame if viewer.has_cursor else reader.acceptable(frame))
            if frame.type == "chat.resume_boundary":
                reader.greeting_is_over()

        async def show() -> None:
            if viewer.has_cursor:
                reader.greeting_is_over()
            else:
                await _greeting(greeted, desk.handshake_seconds)
            await Viewing(desk.bus, room, seat, view, viewer, after, send).run()

        await together(reader.run(), show())


async def _greeting(greeted: asyncio.Event, seconds: float) -> None:
    # ChatUI opens with `client.resume` from an earlier page's cursor, and would see the tail of the
    # replay twice if both were answered: given a moment, the one becomes part of the other.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await greeted.wait()


class Reader:
    """Takes what a client says and answers it; the chat itself answers by its events."""

    def __init__(
        self,
        chats: Chats,
        line: Line,
        view: ChatView,
        seat: Seat,
        greeted: asyncio.Event,
        limit: int,
    ) -> None:
        self._chats = chats
        self._line = line
        self._view = view
        self._seat = seat
        self._greeted = greeted
        self._greeting = True
        self._claimed = Seq(0)
        self._limit = limit

    def greeting_is_over(self) -> None:
        self._greeting = False

    def acceptable(self, frame: Frame) -> Frame:
        """The frame as ChatUI takes it: it throws away whose `seq` is below the cursor it has.

        Such a cursor is one of a log that is no more.
        """
        past = frame.seq is None or frame.seq > self._claimed
        return frame if past else replace(frame, seq=None)

    async def run(self) -> None:
        while True:
            text = await self._line.receive()
            try:
                await self._obey(inbound.frame(text, self._limit))
            except RefusalError as refusal:
                await self._line.refuse(refusal)
            except UnavailableError:
                await self._line.refuse(unavailable())

    async def _obey(self, said: Inbound) -> None:
        if not isinstance(said, AnswerComponent) and said.chat_id not in (
            None,
            self._view.key.chat,
        ):
            raise RefusalError("NOT_ALLOWED", "chat_id", "is not the chat of this socket")
        match said:
            case Resume(lastClientIndex=index):
                self._resume(Seq(max(index, 0)))
            case SubmitInput():
                await self._submit(said)
            case AnswerComponent():
                await self._answer_component(said)
            case Cancel(reason=reason):
                await self._chats.cancel(await self._now(), reason)

    def _resume(self, cursor: Seq) -> None:
        self._claimed = cursor
        if self._greeting:
            self._greeted.set()
        else:
            self._seat.rewind(cursor)

    async def _submit(self, said: SubmitInput) -> None:
        view = await self._now()
        if said.question is None:
            await self._chats.say(view, said.text)
        else:
            await self._chats.answer(view, said.question, said.text)
        named = {"chat_id": view.key.chat, "status": "accepted", "input_request_id": said.question}
        await self._line.send(Frame("chat.input_ack", {**named, "request_id": said.question}))
        await self._line.send(Frame("ack.input", named))

    async def _answer_component(self, said: AnswerComponent) -> None:
        view = await self._now()
        await self._chats.answer_component(view, said.eventId, said.answer, "eventId")
        done = {"eventId": said.eventId, "status": "accepted"}
        await self._line.send(Frame("ack.ui_tool_response", done))

    async def _now(self) -> ChatView:
        return await self._chats.find(self._view.key, self._view.workflow, self._view.user)
