"""HTTP route of the runtime log: which models were called, when, by whom and at what cost."""

from litestar import get
from litestar.di import NamedDependency

from contracts.ids import AppId, ChatId
from services.transport.auth.principal import require_owner
from services.transport.context import RequestContext
from services.transport.errors import bad_request
from services.transport.http.api_document import documented
from services.transport.http.models.runtime_log import RuntimeLogPage
from services.transport.http.parameters import (
    AppIdPath,
    EffectCursorQuery,
    ModelCallLimitQuery,
    OfChatQuery,
    SinceQuery,
    UntilQuery,
)
from services.transport.path_segments import decode_segment

TAG = "Runtime log"


@get(
    "/api/runtime-log/{app_id:str}",
    **documented(TAG, "The model calls of an app in a time span", 400, open_to="administrators"),
)
async def runtime_log(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    since: SinceQuery,
    until: UntilQuery,
    chat_id: OfChatQuery = None,
    cursor: EffectCursorQuery = None,
    limit: ModelCallLimitQuery = 50,
) -> RuntimeLogPage:
    """The model calls that ended from `since` on and before `until`, in that order, from persistence:
    it trails the chats by a moment, and 503 is the answer where it does not answer in time."""
    app = AppId(decode_segment(app_id, "app_id"))
    require_owner(context.identity, app, None)
    if since.tzinfo is None or until.tzinfo is None:
        raise bad_request("since", "since and until need an offset, such as Z")
    chat = None if chat_id is None else ChatId(chat_id)
    found = await context.read_models.model_calls(app, chat, since, until, cursor, limit)
    return RuntimeLogPage.of(found)


HANDLERS = [runtime_log]
