"""HTTP routes that fork a chat at one of its events, and show the state after one of them."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from contracts.ids import ChatId, Seq
from services.transport.agui.state import ThreadState
from services.transport.agui.state import apply as apply_to_thread
from services.transport.chats.forks import ForkRequest
from services.transport.context import RequestContext
from services.transport.http.api_document import answer, documented
from services.transport.http.models.base import ForkOrigin
from services.transport.http.models.forks import (
    ChatState,
    ForkChatAnswer,
    ForkChatRequest,
    ForksPage,
    LargeVariable,
    StateQuestion,
)
from services.transport.http.parameters import (
    AppIdPath,
    AtQuery,
    ChatIdPath,
    ForkCursorQuery,
    ForkLimitQuery,
    UserIdQuery,
    require_event,
)
from services.transport.path_segments import chat_key, websocket_path
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.chat_projection import apply as apply_to_view

TAG = "Forks"


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/fork",
    status_code=200,
    **documented(
        TAG,
        "Fork a chat",
        *(400, 404, 409, 413),
        answers={202: answer(ForkChatAnswer, "Accepted; the fork has not begun yet.")},
    ),
)
async def fork_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[ForkChatRequest],
) -> Response[ForkChatAnswer]:
    """A new chat of the same user that goes on from event `seq`; this one stays as it is. The events
    up to there are in both: nothing is copied. 409 where the chat had ended before."""
    origin = chat_key(app_id, chat_id)
    forked = await context.forks.fork(
        origin,
        ForkRequest(
            None if data.seq is None else Seq(data.seq),
            data.message,
            data.client_request_id,
            data.user_id,
        ),
    )
    app, chat = forked.key
    body = ForkChatAnswer(
        chat_id=chat,
        workflow_name=forked.workflow,
        app_id=app,
        user_id=forked.user,
        websocket_url=websocket_path(forked.workflow, app, chat, forked.user),
        origin=ForkOrigin(chat_id=origin.chat, sequence=forked.seq),
        reused=forked.reused,
    )
    return Response(body, status_code=200 if forked.confirmed else 202)


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/state",
    **documented(TAG, "The state of a chat, now or after an earlier event", 400, 404),
)
async def chat_state(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
    at: AtQuery = None,
) -> ChatState:
    """Variables, open questions, status and whose turn it was, folded from the events up to `at`."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id)
    last = view.last_seq if at is None else require_event(view, at)
    past, thread = await _folded(context, view, last)
    return ChatState(
        chat_id=view.chat_id,
        workflow_name=past.workflow_name,
        sequence=last,
        last_sequence=view.last_seq,
        time=past.last_updated_at,
        title=past.title,
        chat_status=past.status,
        speaker=past.speaker,
        variables=dict(thread.variables),
        stored_values=[LargeVariable.of(one) for one in thread.stored.values()],
        open_questions=[StateQuestion.of(one) for one in past.open_questions],
        origin=ForkOrigin.of(past.origin),
    )


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/forks",
    **documented(TAG, "The forks of a chat", 400, 404),
)
async def forks_of_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
    cursor: ForkCursorQuery = None,
    limit: ForkLimitQuery = 50,
) -> ForksPage:
    """Those that read events of it, forks of forks included, from persistence: it trails the chats by a
    moment, and 503 is the answer where persistence does not answer in time."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id, tail=1)
    after = None if cursor is None else ChatId(cursor)
    return ForksPage.of(await context.read_models.forks(view.key, after, limit))


async def _folded(
    context: RequestContext, view: ChatView, last: Seq
) -> tuple[ChatView, ThreadState]:
    """The chat as of an event, from its log. Raises NatsUnavailableError."""
    past: ChatView | None = None
    thread = ThreadState()
    events = context.services.gateway.events
    async for commit in events.read_part(view.key, Seq(1), last, known=view.place):
        for stored in commit.events:
            if stored.envelope.seq > last:
                continue
            past = past or ChatView.before(stored.envelope)
            past = apply_to_view(past, stored.envelope, stored.event)
            if (fact := stored.fact) is not None:
                thread = apply_to_thread(thread, fact)
    return past or view, thread


HANDLERS = [fork_chat, chat_state, forks_of_chat]
