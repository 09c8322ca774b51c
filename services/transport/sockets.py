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
from services.transport import cursors, feed
from services.transport.addresses import key_of, plain
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.feed import Frame, Viewer
from services.transport.line import Line
from services.transport.listening import Listener
from services.transport.refusals import RefusalError, malformed, unavailable
from services.transport.signal import Signal
from services.transport.together import together
from services.transport.viewing import LostEventsError, Viewing

log = logging.getLogger(__name__)

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


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
            with desk.crowd.one_more():
                view = await desk.chats.find_soon(key, workflow, user)
                await _attend(desk, line, view, await _as(desk, viewer, view), after)
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
    later = refusal.code in ("SERVICE_UNAVAILABLE", "LIMIT_REACHED")
    await line.close(TRY_AGAIN_LATER if later else POLICY_VIOLATION, refusal.code)


def _asked(socket: WebSocket[Any, Any, Any]) -> tuple[Viewer, Seq]:
    after, events = socket.query_params.get("after"), socket.query_params.get("events")
    viewer = Viewer(has_cursor=after is not None, everything=cursors.wants_everything(events))
    return viewer, Seq(0) if after is None else cursors.cursor(after, "after")


async def _attend(desk: Desk, line: Line, view: ChatView, viewer: Viewer, after: Seq) -> None:
    listener = Listener(desk, line, view)

    async def show() -> None:
        await _show(desk, line, listener, view, viewer, after)
        while True:
            chosen = listener.view
            await _show(desk, line, listener, chosen, await _as(desk, viewer, chosen), Seq(0))

    await together(listener.run(), show())


async def _as(desk: Desk, viewer: Viewer, view: ChatView) -> Viewer:
    return replace(viewer, agents=await desk.workflows.heard(view.workflow))


async def _show(
    desk: Desk, line: Line, listener: Listener, view: ChatView, viewer: Viewer, after: Seq
) -> None:
    """Show one chat until another one is chosen."""

    async def send(frame: Frame) -> None:
        await line.send(frame if viewer.has_cursor else listener.acceptable(frame))
        if frame.type == "chat.resume_boundary":
            listener.greeting_is_over()

    async with desk.rooms.seat(view.key) as (room, seat):
        listener.attends(view, seat)
        await line.send(feed.meta(view))
        if viewer.has_cursor:
            listener.greeting_is_over()
        else:
            await _greeting(listener.greeted, desk.handshake_seconds)
        viewing = Viewing(desk.bus, room, seat, view, viewer, after, send, feed)
        await viewing.run()


async def _greeting(greeted: Signal, seconds: float) -> None:
    # ChatUI opens with `client.resume` from an earlier page's cursor, and would see the tail of the
    # replay twice if both were answered: given a moment, the one becomes part of the other.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await greeted.wait()
