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
from services.chassis.direct_get import RefusedError, UnavailableError
from services.transport import asking, cursors, feed, notices
from services.transport.addresses import key_of, plain
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.feed import Viewer
from services.transport.frames import Frame
from services.transport.general import GeneralChat
from services.transport.line import Line
from services.transport.listening import Listener, Shown
from services.transport.refusals import RefusalError, malformed, unavailable
from services.transport.signal import Signal
from services.transport.signin.claims import expired
from services.transport.signin.door import SUBPROTOCOL, offered_token
from services.transport.signin.guard import POLICY_VIOLATION, TRY_AGAIN_LATER
from services.transport.signin.lasting import run_out
from services.transport.signin.principal import refuse_unfit
from services.transport.together import together
from services.transport.viewing import LostEventsError, Viewing

log = logging.getLogger(__name__)


@websocket("/ws/{workflow_name:str}/{app_id:str}/{chat_id:str}/{user_id:str}")
async def on_socket(
    socket: WebSocket[Any, Any, Any],
    desk: NamedDependency[Desk],
    workflow_name: FromPath[str],
    app_id: FromPath[str],
    chat_id: FromPath[str],
    user_id: FromPath[str],
) -> None:
    await socket.accept(subprotocols=SUBPROTOCOL if offered_token(socket) else None)
    line = Line(socket, desk)
    with desk.sockets.track_inprogress(), contextlib.suppress(WebSocketDisconnect, OSError):
        try:
            viewer, after = _asked(socket, desk)
            key = key_of(app_id, chat_id)
            workflow, user = plain(workflow_name, "workflow_name"), plain(user_id, "user_id")
            with desk.crowd.one_more(key.app):
                view = await desk.chats.find_soon(key, workflow, user)
                await _attend(desk, line, view, await _as(desk, viewer, view), after)
        except RefusalError as refusal:
            await _dismiss(line, refusal)
        except InvalidIdError as invalid:
            await _dismiss(line, malformed(invalid.field, invalid.problem))
        except (UnavailableError, RefusedError):
            await _dismiss(line, unavailable(desk.bus.storage))
        except LostEventsError as lost:
            log.error("a viewer is sent away", extra={"chat": chat_id, "why": str(lost)})  # noqa: TRY400
            await line.close(TRY_AGAIN_LATER, "reconnect")
        finally:
            line.let_go()


async def _dismiss(line: Line, refusal: RefusalError) -> None:
    await line.refuse(refusal)
    later = refusal.code in ("SERVICE_UNAVAILABLE", "LIMIT_REACHED", "RATE_LIMITED")
    await line.close(TRY_AGAIN_LATER if later else POLICY_VIOLATION, refusal.code)


def _asked(socket: WebSocket[Any, Any, Any], desk: Desk) -> tuple[Viewer, Seq]:
    after, events = socket.query_params.get("after"), socket.query_params.get("events")
    everything = cursors.wants_everything(events) and desk.raw_events
    refuse_unfit(desk.who, "operators" if everything else "users")
    viewer = Viewer(has_cursor=after is not None, everything=everything)
    return viewer, Seq(0) if after is None else cursors.cursor(after, "after")


async def _attend(desk: Desk, line: Line, view: ChatView, viewer: Viewer, after: Seq) -> None:
    listener = Listener(desk, line, view)

    async def show() -> None:
        await _show(desk, line, listener, view, viewer, Shown(after))
        while True:
            chosen, general = listener.view, listener.general
            if general is not None:
                await _show_general(desk, line, listener, chosen, general)
                continue
            seen_as = await _as(desk, viewer, chosen)
            await _show(desk, line, listener, chosen, seen_as, listener.returns())

    # A task is a kilobyte, and of idle sockets there are thousands: none where nothing runs out.
    lasting = [] if desk.who.until is None else [_run_out(desk)]
    await together(listener.run(), show(), *lasting)


async def _run_out(desk: Desk) -> None:
    await run_out(desk.who, desk.clock)
    raise expired()


async def _as(desk: Desk, viewer: Viewer, view: ChatView) -> Viewer:
    return replace(viewer, agents=await desk.workflows.heard(view.workflow))


async def _show(
    desk: Desk, line: Line, listener: Listener, view: ChatView, viewer: Viewer, shown: Shown
) -> None:
    """Show one chat until another one is chosen."""

    async def send(frame: Frame) -> None:
        await line.send(frame if viewer.has_cursor else listener.acceptable(frame))
        if frame.type == "chat.resume_boundary":
            listener.greeting_is_over()

    async with desk.rooms.seat(view.key) as (room, seat):
        listener.attends(view, seat)
        await line.send(notices.meta(view))
        if viewer.has_cursor:
            listener.greeting_is_over()
        else:
            await _greeting(listener.greeted, desk.handshake_seconds)
        viewing = Viewing(desk.bus, room, seat, view, viewer, shown.cursor, send, feed)
        viewing.goes_on_from(shown.heard)
        await viewing.run()
        listener.leaves(view, Shown(viewing.cursor, viewing.heard))


async def _show_general(
    desk: Desk, line: Line, listener: Listener, view: ChatView, general: GeneralChat
) -> None:
    """Show what is said in a general chat from now on; its transcript has the rest."""

    async def send(frame: Frame) -> None:
        shown = asking.asked(frame, general)
        if shown is not None:
            await line.send(shown)

    async with desk.rooms.seat(view.key) as (room, seat):
        listener.attends(view, seat)
        viewer = await _as(desk, Viewer(has_cursor=False), view)
        await Viewing(desk.bus, room, seat, view, viewer, view.last_seq, send, feed).run()


async def _greeting(greeted: Signal, seconds: float) -> None:
    # ChatUI opens with `client.resume` from an earlier page's cursor, and would see the tail of the
    # replay twice if both were answered: given a moment, the one becomes part of the other.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await greeted.wait()
