"""HTTP routes of chats: start, look up, list, and follow as server-sent events or JSON pages."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from litestar.response.base import ASGIResponse

from contracts.cache_seed import cache_seed
from contracts.catalogue import ChatStatus, ChatSummary
from contracts.ids import AppId, Seq, UserId, WorkflowName
from contracts.subjects import token
from services.transport.auth.principal import require_scope
from services.transport.chats.general import OPEN_STATUSES
from services.transport.chats.service import StartedChat
from services.transport.chats.user_chats import ListedChats
from services.transport.context import RequestContext
from services.transport.errors import ApiError, bad_request
from services.transport.http.api_document import EventStreamOperation, answer, documented
from services.transport.http.event_pages import read_earlier, read_page
from services.transport.http.json_request import AnyRequest
from services.transport.http.models.base import ForkOrigin
from services.transport.http.models.chats import (
    ChatExistence,
    ChatIds,
    ChatMeta,
    ChatSession,
    ChatSessions,
    EventsPage,
    NoChat,
    NoRecentChat,
    RecentChat,
    StartChatAnswer,
    StartChatRequest,
    TranscriptPage,
)
from services.transport.http.parameters import (
    AfterQuery,
    AppIdPath,
    AtQuery,
    BeforeQuery,
    ChatIdPath,
    ChatLimitQuery,
    CursorQuery,
    EventLimitQuery,
    LastEventIdHeader,
    MessageLimitQuery,
    RawEventsQuery,
    TailQuery,
    UserIdPath,
    UserIdQuery,
    WaitQuery,
    WorkflowPath,
    require_event,
)
from services.transport.http.sse import EventStream, FrameSource
from services.transport.path_segments import chat_key, decode_segment, websocket_path
from services.transport.protocol import session_frames
from services.transport.protocol.chat_projection import STATUS_NUMBER, ChatView, tail_cursor
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.history import HistoryMapper

TAG = "Chats"
NOT_FOUND_CODES = {"CHAT_NOT_FOUND", "CHAT_DELETED", "NOT_ALLOWED"}
EXAMPLE_EVENTS = (
    'id: 5\ndata: {"type":"chat.text","data":{"agent":"Greeter","content":"Hello."},"seq":5}\n\n'
)


class EventsOperation(EventStreamOperation):
    """The operation that answers with events or, where the client accepts JSON, with a page."""

    example = ("frame", EXAMPLE_EVENTS)


@post(
    "/api/chats/{app_id:str}/{workflow_name:str}/start",
    status_code=200,
    **documented(
        TAG,
        "Start a chat",
        *(400, 403, 404, 409, 413),
        answers={202: answer(StartChatAnswer, "Accepted; the chat has not started yet.")},
    ),
)
async def start_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    workflow_name: WorkflowPath,
    data: JSONBody[StartChatRequest],
) -> Response[StartChatAnswer]:
    """Requests of a user with an equal `client_request_id` start one chat."""
    app = AppId(decode_segment(app_id, "app_id"))
    workflow = WorkflowName(decode_segment(workflow_name, "workflow_name"))
    token(app, "app_id")
    token(workflow, "workflow_name")
    token(data.user_id, "user_id")
    await context.services.workflows.startable(workflow)
    started = await context.chats.start(
        app,
        workflow,
        data.user_id,
        client_request_id=data.client_request_id,
        message=data.message,
        frontend_context=data.frontend_context,
        variables=data.variables,
    )
    answer = _start_answer(started, workflow, data)
    return Response(answer, status_code=200 if started.confirmed else 202)


@get(
    "/api/chats/exists/{app_id:str}/{workflow_name:str}/{chat_id:str}",
    **documented(TAG, "Whether there is such a chat", 400),
)
async def chat_exists(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    workflow_name: WorkflowPath,
    chat_id: ChatIdPath,
) -> ChatExistence:
    view = await _find_or_none(context, app_id, workflow_name, chat_id)
    return ChatExistence(exists=view is not None)


@get(
    "/api/chats/meta/{app_id:str}/{workflow_name:str}/{chat_id:str}",
    **documented(TAG, "Status and position of a chat", 400),
)
async def chat_meta(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    workflow_name: WorkflowPath,
    chat_id: ChatIdPath,
) -> ChatMeta | NoChat:
    view = await _find_or_none(context, app_id, workflow_name, chat_id)
    return NoChat() if view is None else _meta(view)


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/events",
    operation_class=EventsOperation,
    **documented(
        TAG,
        "Follow the events of a chat",
        *(400, 404),
        answers={
            200: answer(EventsPage, "Events as they come, or one page of them."),
            204: answer(None, "The chat has ended, and the client has it all."),
        },
    ),
)
async def chat_events(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
    last_event_id: LastEventIdHeader = None,
    after: AfterQuery = 0,
    tail: TailQuery = None,
    before: BeforeQuery = None,
    limit: EventLimitQuery = 100,
    wait: WaitQuery = None,
    events: RawEventsQuery = 0,
) -> ASGIResponse:
    """Server-sent events; with `wait` or `before`, or where the client accepts JSON only, one JSON page."""
    _reject_two_places(after, tail, before)
    raw_events = bool(events) and context.services.settings.raw_events
    require_scope(context.identity, "operators" if raw_events else "users")
    # The header is newer: a browser that reconnects repeats the URL of its first request.
    is_tail = tail is not None and last_event_id is None
    recent = tail if tail and is_tail else limit if before is not None else 0
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id, tail=recent)
    agents = await context.services.workflows.visible_agents(view.workflow_name)
    viewer = Viewer(raw_events=raw_events, agents=agents, tail=tail if tail and is_tail else 0)
    if before is not None:
        page = await read_earlier(context, view, viewer, Seq(before), limit)
        return ASGIResponse(body=page.model_dump_json())
    cursor = Seq(after if last_event_id is None else last_event_id)
    if viewer.tail:
        cursor = tail_cursor(view, viewer.tail)
    if wait is not None or request.headers.get("accept", "").startswith("application/json"):
        page = await read_page(context, view, viewer, cursor, wait or 0.0)
        return ASGIResponse(body=page.model_dump_json())
    if view.ended_at is not None and cursor >= view.last_seq:
        return ASGIResponse(status_code=204)  # tells an EventSource not to come back
    source = FrameSource(view, HistoryMapper(cursor)) if viewer.tail else FrameSource(view)
    return EventStream(context, view, viewer, cursor, source)


def _reject_two_places(after: int, tail: int | None, before: int | None) -> None:
    given = {"after": after, "tail": tail, "before": before}
    named = [f"`{name}`" for name, value in given.items() if value]
    if len(named) > 1:
        raise bad_request(named[-1].strip("`"), f"only one of {', '.join(named)} can be given")


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/messages",
    **documented(TAG, "The transcript of a chat, page by page", *(400, 404)),
)
async def chat_transcript(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
    cursor: CursorQuery = None,
    limit: MessageLimitQuery = 50,
    at: AtQuery = None,
) -> TranscriptPage:
    """The messages that the user may see, from persistence; 503 where it does not answer in time.

    With `at` those up to that event.
    """
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id)
    agents = await context.services.workflows.visible_agents(view.workflow_name)
    last = None if at is None else require_event(view, at)
    found = await context.read_models.messages(view, cursor, limit, agents, last)
    return TranscriptPage.of(view.chat_id, found)


@get(
    "/api/chats/{app_id:str}/{workflow_name:str}",
    **documented(TAG, "A user's chats of one workflow, newest first", 400),
)
async def chats_of_workflow(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    workflow_name: WorkflowPath,
    user_id: UserIdQuery,
    limit: ChatLimitQuery = 20,
) -> ChatIds:
    workflow = decode_segment(workflow_name, "workflow_name")
    app = AppId(decode_segment(app_id, "app_id"))
    wanted = ListedChats(workflow=WorkflowName(workflow))
    found = await context.user_chats.newest(app, UserId(user_id), wanted, limit)
    return ChatIds(chat_ids=[chat.chat_id for chat in found])


@get(
    "/api/sessions/list/{app_id:str}/{user_id:str}",
    **documented(TAG, "A user's chats, newest first", 400),
)
async def list_sessions(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: UserIdPath,
    limit: ChatLimitQuery = 200,
) -> ChatSessions:
    chats = await _workflow_chats(context, app_id, user_id, limit)
    sessions = [ChatSession.of(chat) for chat in chats]
    return ChatSessions(sessions=sessions, count=len(sessions))


@get(
    "/api/sessions/recent/{app_id:str}/{user_id:str}",
    **documented(TAG, "The chat that changed last and has not ended", 400),
)
async def most_recent_session(
    context: NamedDependency[RequestContext], app_id: AppIdPath, user_id: UserIdPath
) -> RecentChat | NoRecentChat:
    found = await _workflow_chats(context, app_id, user_id, 1, OPEN_STATUSES)
    return RecentChat.of(found[0]) if found else NoRecentChat()


async def _find_or_none(
    context: RequestContext, app_id: str, workflow_name: str, chat_id: str
) -> ChatView | None:
    workflow = decode_segment(workflow_name, "workflow_name")
    token(workflow, "workflow_name")
    try:
        return await context.chats.find(chat_key(app_id, chat_id), workflow)
    except ApiError as error:
        if error.code in NOT_FOUND_CODES:
            return None
        raise


def _start_answer(
    started: StartedChat, workflow: WorkflowName, request: StartChatRequest
) -> StartChatAnswer:
    app, chat = started.key
    return StartChatAnswer(
        chat_id=chat,
        workflow_name=workflow,
        app_id=app,
        user_id=request.user_id,
        websocket_url=websocket_path(workflow, app, chat, request.user_id),
        message="Chat started." if started.confirmed else "Chat is about to start.",
        reused=started.reused,
        cache_seed=cache_seed(app, chat),
    )


def _meta(view: ChatView) -> ChatMeta:
    return ChatMeta(
        chat_id=view.key.chat,
        workflow_name=view.workflow_name,
        app_id=view.key.app,
        cache_seed=view.seed,
        status=STATUS_NUMBER[view.status],
        chat_status=view.status,
        last_sequence=view.last_seq,
        last_digest=view.place.head.digest,
        created_at=view.created_at,
        last_updated_at=view.last_updated_at,
        last_artifact=session_frames.last_artifact(view),
        artifact_instance_id=None if view.last_artifact is None else view.last_artifact.question_id,
        origin=ForkOrigin.of(view.origin),
    )


async def _workflow_chats(
    context: RequestContext,
    app_id: str,
    user_id: str,
    limit: int,
    statuses: tuple[ChatStatus, ...] = (),
) -> list[ChatSummary]:
    """A user's chats without the general ones, which have a list of their own."""
    app, user = AppId(decode_segment(app_id, "app_id")), UserId(decode_segment(user_id, "user_id"))
    general = await context.services.workflows.general_name()
    wanted = ListedChats(other_than=general, statuses=statuses)
    return await context.user_chats.newest(app, user, wanted, limit)


HANDLERS = [
    start_chat,
    chat_exists,
    chat_meta,
    chat_events,
    chat_transcript,
    chats_of_workflow,
    list_sessions,
    most_recent_session,
]
