"""WebSocket endpoint of a chat: one task handles client messages, one streams the chosen chat."""

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
from services.chassis.tasks import SingleWaiterEvent, run_until_first_ends
from services.chassis.tracing.http import traceparent_of
from services.transport.auth.authenticate import SUBPROTOCOL, subprotocol_token
from services.transport.auth.claims import token_expired
from services.transport.auth.expiry import wait_until_expired
from services.transport.auth.principal import require_scope
from services.transport.chats.general import GeneralChat
from services.transport.context import RequestContext
from services.transport.delivery.chat_stream import ChatStream, LostEventsError
from services.transport.errors import TRY_AGAIN_LATER, ApiError
from services.transport.path_segments import (
    chat_key,
    decode_segment,
    parse_cursor,
    parse_raw_events,
    parse_tail,
)
from services.transport.protocol import event_to_frames, session_frames
from services.transport.protocol.chat_projection import ChatView, tail_cursor
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import Frame
from services.transport.protocol.history import HistoryMapper
from services.transport.websocket import general_mode
from services.transport.websocket.connection import SocketConnection
from services.transport.websocket.dispatcher import MessageDispatcher, Progress

log = logging.getLogger(__name__)


@websocket("/ws/{workflow_name:str}/{app_id:str}/{chat_id:str}/{user_id:str}")
async def on_socket(
    socket: WebSocket[Any, Any, Any],
    context: NamedDependency[RequestContext],
    workflow_name: FromPath[str],
    app_id: FromPath[str],
    chat_id: FromPath[str],
    user_id: FromPath[str],
) -> None:
    await socket.accept(subprotocols=SUBPROTOCOL if subprotocol_token(socket) else None)
    connection = SocketConnection(socket, context)
    with (
        context.services.metrics.open_sockets.track_inprogress(),
        contextlib.suppress(WebSocketDisconnect, OSError),
    ):
        try:
            viewer, after = _viewer_and_cursor(socket, context)
            key = chat_key(app_id, chat_id)
            workflow = decode_segment(workflow_name, "workflow_name")
            user = decode_segment(user_id, "user_id")
            with context.services.connections.acquire(key.app):
                view = await context.chats.find_or_wait(key, workflow, user, tail=viewer.tail)
                viewer = await _for_workflow(context, viewer, view)
                trace = traceparent_of(socket.scope)
                await _serve(context, connection, view, viewer, after, trace)
        except LostEventsError as lost:
            log.error("a viewer is disconnected", extra={"chat": chat_id, "why": str(lost)})  # noqa: TRY400
            await connection.close(TRY_AGAIN_LATER, "reconnect")
        except Exception as raised:
            if not await connection.report(raised, close=True):
                raise
        finally:
            connection.release()


def _viewer_and_cursor(
    socket: WebSocket[Any, Any, Any], context: RequestContext
) -> tuple[Viewer, Seq]:
    query = socket.query_params
    after, tail = query.get("after"), parse_tail(query.get("tail"), query.get("after"))
    raw_events = parse_raw_events(query.get("events")) and context.services.settings.raw_events
    require_scope(context.identity, "operators" if raw_events else "users")
    has_cursor = after is not None or tail > 0
    viewer = Viewer(has_cursor=has_cursor, raw_events=raw_events, tail=tail)
    return viewer, Seq(0) if after is None else parse_cursor(after, "after")


async def _serve(
    context: RequestContext,
    connection: SocketConnection,
    view: ChatView,
    viewer: Viewer,
    after: Seq,
    trace: str | None,
) -> None:
    dispatcher = MessageDispatcher(context, connection, view, trace, has_cursor=viewer.has_cursor)

    async def show() -> None:
        await _show_chat(context, connection, dispatcher, view, viewer, Progress(after))
        while True:
            chosen, general = dispatcher.view, dispatcher.general
            if general is not None:
                await _show_general(context, connection, dispatcher, chosen, general)
                continue
            workflow_viewer = await _for_workflow(context, viewer, chosen)
            await _show_chat(
                context, connection, dispatcher, chosen, workflow_viewer, dispatcher.take_progress()
            )

    # A task takes a kilobyte, and thousands of sockets are idle: no task where nothing expires.
    expiry = [] if context.identity.expires_at is None else [_close_when_expired(context)]
    await run_until_first_ends(dispatcher.run(), show(), *expiry)


async def _close_when_expired(context: RequestContext) -> None:
    await wait_until_expired(context.identity, context.services.clock)
    raise token_expired()


async def _for_workflow(context: RequestContext, viewer: Viewer, view: ChatView) -> Viewer:
    return replace(
        viewer, agents=await context.services.workflows.visible_agents(view.workflow_name)
    )


async def _show_chat(
    context: RequestContext,
    connection: SocketConnection,
    dispatcher: MessageDispatcher,
    view: ChatView,
    viewer: Viewer,
    progress: Progress,
) -> None:
    """Stream one chat until another one is chosen."""
    is_tail = viewer.tail > 0 and not progress.cursor
    cursor = tail_cursor(view, viewer.tail) if is_tail else progress.cursor
    history = HistoryMapper(cursor) if is_tail else None

    async def send(frame: Frame) -> None:
        await connection.send_batched(
            frame if viewer.has_cursor else dispatcher.without_stale_seq(frame)
        )
        if frame.type == "chat.resume_boundary":
            dispatcher.end_handshake()

    async with context.services.hub.subscribe(view.key) as (channel, subscriber):
        dispatcher.attach(view, subscriber)
        await connection.send(session_frames.chat_meta(view))
        if not viewer.has_cursor and progress.cursor:  # shown before: the questions are not to come
            await _send_open_questions(context, connection, view)
        if viewer.has_cursor:
            dispatcher.end_handshake()
        else:
            await _wait_for_handshake(
                dispatcher.handshake_done, context.services.settings.resume_handshake_seconds
            )
        stream = ChatStream(
            context.services.gateway.events,
            channel,
            subscriber,
            view,
            viewer,
            cursor,
            send,
            history or event_to_frames,
            connection.flush,
        )
        stream.continue_text_from(progress.text)
        await stream.run()
        was_shown = history is None or history.is_complete
        dispatcher.detach(view, Progress(stream.cursor, stream.text) if was_shown else Progress())
    if stream.resume_cursor is not None:
        whole, earlier = await context.chats.find(view.key), Progress(stream.resume_cursor)
        await _show_chat(context, connection, dispatcher, whole, replace(viewer, tail=0), earlier)


async def _send_open_questions(
    context: RequestContext, connection: SocketConnection, view: ChatView
) -> None:
    """Once more, without `seq`: ChatUI forgets what a text answers when it shows another chat."""
    for question in view.open_questions:
        with contextlib.suppress(ApiError):  # answered meanwhile
            asked = await context.chats.asked_question(view, question.question_id, "question_id")
            await connection.send(event_to_frames.open_question(asked.event, view))


async def _show_general(
    context: RequestContext,
    connection: SocketConnection,
    dispatcher: MessageDispatcher,
    view: ChatView,
    general: GeneralChat,
) -> None:
    """Stream the new messages of a general chat; earlier ones are in its transcript."""

    async def send(frame: Frame) -> None:
        general_frame = general_mode.as_general_frame(frame, general)
        if general_frame is not None:
            await connection.send_batched(general_frame)

    async with context.services.hub.subscribe(view.key) as (channel, subscriber):
        dispatcher.attach(view, subscriber)
        viewer = await _for_workflow(context, Viewer(has_cursor=False), view)
        await ChatStream(
            context.services.gateway.events,
            channel,
            subscriber,
            view,
            viewer,
            view.last_seq,
            send,
            event_to_frames,
            connection.flush,
        ).run()


async def _wait_for_handshake(done: SingleWaiterEvent, seconds: float) -> None:
    # ChatUI sends `client.resume` with the cursor of an earlier page right after it connects. If the
    # replay had begun by then, the client would get its end twice: so wait a moment for the message.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await done.wait()
