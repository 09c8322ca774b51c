"""HTTP routes of the effect ledger: what the tools of a chat, or of an app, have done to the world."""

from litestar import get
from litestar.di import NamedDependency

from contracts.ids import AppId
from services.transport.auth.principal import require_owner
from services.transport.context import RequestContext
from services.transport.errors import bad_request
from services.transport.http.api_document import documented
from services.transport.http.models.effects import EffectsPage
from services.transport.http.parameters import (
    AppIdPath,
    ChatIdPath,
    EffectCursorQuery,
    EffectLimitQuery,
    SinceQuery,
    UntilQuery,
    UserIdQuery,
)
from services.transport.path_segments import chat_key, decode_segment

TAG = "Effects"


@get(
    "/api/chats/{app_id:str}/{chat_id:str}/effects",
    **documented(TAG, "What a chat has done to the world, page by page", 400, 404),
)
async def chat_effects(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    chat_id: ChatIdPath,
    user_id: UserIdQuery,
    cursor: EffectCursorQuery = None,
    limit: EffectLimitQuery = 50,
) -> EffectsPage:
    """The calls of tools that may have changed something, from persistence: it trails the chat by a
    moment, and 503 is the answer where persistence does not answer in time."""
    view = await context.chats.find(chat_key(app_id, chat_id), user=user_id)
    return EffectsPage.of(await context.read_models.chat_effects(view, cursor, limit))


@get(
    "/api/effects/{app_id:str}",
    **documented(TAG, "What all chats of an app did in a time span", 400, open_to="administrators"),
)
async def app_effects(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    since: SinceQuery,
    until: UntilQuery,
    cursor: EffectCursorQuery = None,
    limit: EffectLimitQuery = 50,
) -> EffectsPage:
    """The calls that were made first from `since` on and before `until`, in the order of their times."""
    app = AppId(decode_segment(app_id, "app_id"))
    require_owner(context.identity, app, None)
    if since.tzinfo is None or until.tzinfo is None:
        raise bad_request("since", "since and until need an offset, such as Z")
    found = await context.read_models.app_effects(app, since, until, cursor, limit)
    return EffectsPage.of(found)


HANDLERS = [chat_effects, app_effects]
