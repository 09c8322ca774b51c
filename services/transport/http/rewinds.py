"""HTTP routes that retry an answer, edit a message, and rewind a chat."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from contracts.ids import Seq
from services.transport.chats.rewinds import Edit, GoBack, Retry, Rewind
from services.transport.context import RequestContext
from services.transport.http.api_document import answer, documented
from services.transport.http.models.rewinds import (
    EditRequest,
    RetryRequest,
    RewindAccepted,
    RewindRefusedAnswer,
    RewindRequest,
)
from services.transport.http.parameters import AppIdPath, ChatIdPath
from services.transport.path_segments import chat_key

TAG = "Messages"
REFUSED = {
    409: answer(
        RewindRefusedAnswer,
        "It is not possible now, or would not undo what tools have done: then `confirm` is needed.",
        example={
            "detail": "chat_id: an answer is running; stop it first, or wait for its end",
            "code": "ANSWER_RUNNING",
            "effects": [],
        },
    )
}


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/retry",
    status_code=200,
    **documented(TAG, "Run the last turn of an agent again", 400, 404, 413, answers=REFUSED),
)
async def retry_answer(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[RetryRequest],
) -> RewindAccepted:
    """Also after a failure, and once the chat has ended. The same request at the same position of the
    chat has one effect, however often it is sent."""
    return await _rewind(context, app_id, chat_id, data, Retry())


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/edit",
    status_code=200,
    **documented(TAG, "Replace a message of the user", 400, 404, 413, answers=REFUSED),
)
async def edit_message(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[EditRequest],
) -> RewindAccepted:
    """What came after the message does not count any more; the agents answer the new text."""
    wanted = Edit(Seq(data.message_seq), data.message)
    return await _rewind(context, app_id, chat_id, data, wanted)


@post(
    "/api/chats/{app_id:str}/{chat_id:str}/rewind",
    status_code=200,
    **documented(TAG, "Take a chat back", 400, 404, 413, answers=REFUSED),
)
async def rewind_chat(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    data: JSONBody[RewindRequest],
) -> RewindAccepted:
    """Variables and open questions are as they were; nothing runs until the user says something."""
    return await _rewind(context, app_id, chat_id, data, GoBack(Seq(data.to_seq)))


async def _rewind(
    context: RequestContext, app_id: str, chat_id: str, data: RetryRequest, wanted: Rewind
) -> RewindAccepted:
    view = await context.chats.find_for_command(chat_key(app_id, chat_id), user=data.user_id)
    seen = None if data.seen_seq is None else Seq(data.seen_seq)
    seq = await context.rewinds.send(view, wanted, confirm=data.confirm, seen=seen)
    return RewindAccepted(status="accepted" if seq is None else "rewound", seq=seq)


HANDLERS = [retry_answer, edit_message, rewind_chat]
