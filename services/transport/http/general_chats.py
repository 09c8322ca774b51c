"""HTTP routes of general chats: their list, and the transcript of one."""

from litestar import get
from litestar.di import NamedDependency

from contracts.catalogue import ChatSummary
from contracts.codec import Fact
from contracts.events.chat import UserMessageReceived
from contracts.events.turn import USER, ModelResponded
from contracts.ids import AppId, Seq, UserId
from services.transport.chats.general import GeneralChat
from services.transport.context import RequestContext
from services.transport.http.api_document import documented
from services.transport.http.models.general_chats import (
    GeneralChatSession,
    GeneralChatSessions,
    GeneralMessage,
    GeneralTranscript,
    Role,
)
from services.transport.http.parameters import (
    AfterMessageQuery,
    AppIdPath,
    GeneralChatIdPath,
    GeneralLimitQuery,
    OptionalUserIdQuery,
    UserIdPath,
)
from services.transport.path_segments import chat_key, decode_segment
from services.transport.protocol.chat_projection import ChatView

TAG = "General chats"


@get(
    "/api/general_chats/list/{app_id:str}/{user_id:str}",
    **documented(TAG, "A user's general chats, newest first", 400),
)
async def general_chats(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: UserIdPath,
    limit: GeneralLimitQuery = 50,
) -> GeneralChatSessions:
    app, user = AppId(decode_segment(app_id, "app_id")), UserId(decode_segment(user_id, "user_id"))
    found = await context.general_chats.list_for_user(app, user, limit)
    sessions = [_session(general, summary) for general, summary in found]
    return GeneralChatSessions(sessions=sessions, count=len(sessions))


@get(
    "/api/general_chats/transcript/{app_id:str}/{general_chat_id:str}",
    **documented(TAG, "The messages of a general chat, in order", 400, 404),
)
async def transcript(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    general_chat_id: GeneralChatIdPath,
    user_id: OptionalUserIdQuery = None,
    after_sequence: AfterMessageQuery = -1,
    limit: GeneralLimitQuery = 200,
) -> GeneralTranscript:
    key = chat_key(app_id, general_chat_id)
    general, view = await context.general_chats.find(key, user_id)
    cursor = Seq(max(after_sequence, 0))
    return GeneralTranscript(
        chat_id=general.key.chat,
        label=general.label,
        sequence=general.number,
        status=view.status,
        app_id=general.key.app,
        user_id=view.user,
        created_at=view.created_at,
        last_updated_at=view.last_updated_at,
        last_sequence=view.last_seq,
        messages=await _messages(context, view, cursor, limit),
    )


async def _messages(
    context: RequestContext, view: ChatView, after: Seq, limit: int
) -> list[GeneralMessage]:
    found: list[GeneralMessage] = []
    async for commit in context.services.gateway.events.read_from(
        view.key, after, known=view.place
    ):
        for fact in commit.facts:
            if fact.envelope.seq > after:
                found += _messages_of(fact)
                after = fact.envelope.seq
        if len(found) >= limit:
            break
    return found[:limit]


def _messages_of(fact: Fact) -> list[GeneralMessage]:
    match fact.event:
        case UserMessageReceived(text=text):
            return [_message(fact, "user", USER, text)]
        case ModelResponded(agent=agent, text=str(text), hidden=False) if text:
            return [_message(fact, "assistant", agent, text)]
        case _:
            return []


def _message(fact: Fact, role: Role, agent: str, text: str) -> GeneralMessage:
    return GeneralMessage(
        sequence=fact.envelope.seq,
        event_id=fact.envelope.event_id,
        timestamp=fact.envelope.time,
        role=role,
        agent=agent,
        agent_name=agent,
        content=text,
    )


def _session(general: GeneralChat, summary: ChatSummary) -> GeneralChatSession:
    return GeneralChatSession(
        chat_id=general.key.chat,
        label=general.label,
        sequence=general.number,
        status=summary.status,
        created_at=summary.created_at,
        last_updated_at=summary.updated_at,
        last_sequence=summary.last_seq,
    )


HANDLERS = [general_chats, transcript]
