"""HTTP route of large values: the whole value of which an event, and its frame, has the beginning."""

from litestar import get
from litestar.di import NamedDependency
from litestar.response.base import ASGIResponse

from services.chassis.jetstream.value_store import ValueLostError
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.http.api_document import answer, documented
from services.transport.http.downloads import DownloadResponse
from services.transport.http.parameters import AppIdPath, ChatIdPath, DigestPath, UserIdQuery
from services.transport.path_segments import chat_key
from services.transport.protocol.stored_values import is_digest

VALUE = answer(bytes, "The value.", media_type="application/octet-stream")


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/values/{digest:str}",
    **documented("Chats", "A large value of a chat", 400, 404, answers={200: VALUE}),
)
async def value(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    digest: DigestPath,
    user_id: UserIdQuery,
) -> ASGIResponse:
    """The whole value that a frame names in `stored_values`. Only the chat's own user gets it."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id)
    services = context.services
    not_found = ApiError("VALUE_NOT_FOUND", "digest", "no such value")
    if not is_digest(digest):
        raise not_found
    try:
        content = await services.gateway.values.open(view.key, digest)
    except ValueLostError as missing:
        raise not_found from missing
    return DownloadResponse(
        content.chunks,
        size=content.size,
        media_type=content.media_type,
        filename=digest,
        timeout=services.settings.client_send_timeout_seconds,
    )


HANDLERS = [value]
