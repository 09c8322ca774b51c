"""HTTP routes of budgets: what is limited and used, and how operators set limits."""

from litestar import delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody
from pydantic import ValidationError

from contracts.budget_report import Asked
from contracts.budgets import NO_BUDGET, Limit
from contracts.ids import AppId
from contracts.subjects import token
from services.chassis.budgets.reading import read_report
from services.transport.auth.principal import require_owner
from services.transport.context import RequestContext
from services.transport.errors import bad_request
from services.transport.http.api_document import documented
from services.transport.http.models.budgets import BudgetPage, LimitForm
from services.transport.http.parameters import (
    AppIdPath,
    OptionalChatIdQuery,
    OptionalUserIdQuery,
    UserIdPath,
)
from services.transport.path_segments import decode_segment
from services.transport.protocol.validation import validation_error

TAG = "Budgets"


@get(
    "/api/budgets/{app_id:str}",
    **documented(TAG, "The limits of an app and what is used", 400, open_to="administrators"),
)
async def app_budget(
    context: NamedDependency[RequestContext],
    app_id: AppIdPath,
    user_id: OptionalUserIdQuery = None,
    chat_id: OptionalChatIdQuery = None,
) -> BudgetPage:
    """With the accounts that limits name, and those of the user and the chat that are asked for."""
    users, chats = _set_of(user_id), _set_of(chat_id)
    return await _page(context, _app(context, app_id), Asked(users=users, chats=chats))


@get(
    "/api/budgets/{app_id:str}/{user_id:str}",
    **documented(TAG, "What is left of a user's budgets", 400),
)
async def user_budget(
    context: NamedDependency[RequestContext], app_id: AppIdPath, user_id: UserIdPath
) -> BudgetPage:
    """Only the user's own: not what the app or its workflows have used."""
    app, user = _app(context, app_id), decode_segment(user_id, "user_id")
    page = await _page(context, app, Asked(users=frozenset([user])))
    own = [one for one in page.limits if one.scope == "user" and one.name == user]
    return BudgetPage(limits=own)


@put(
    "/api/budgets/{app_id:str}",
    **documented(TAG, "Set a limit of an app", 400, open_to="operators"),
)
async def set_limit(
    context: NamedDependency[RequestContext], app_id: AppIdPath, data: JSONBody[LimitForm]
) -> BudgetPage:
    """Every service knows it within a second. Without `soft` and `hard` it lifts a more general one."""
    app = _app(context, app_id)
    try:
        limit = Limit.model_validate(data.model_dump())
        await context.services.budgets.change(app, lambda budget: budget.with_limit(limit))
    except ValidationError as invalid:
        raise validation_error(invalid, "body") from invalid
    return await _page(context, app, Asked(users=_set_of(limit.name)))


@delete(
    "/api/budgets/{app_id:str}",
    status_code=200,
    **documented(TAG, "Remove the limits that were set", 400, open_to="operators"),
)
async def remove_limits(context: NamedDependency[RequestContext], app_id: AppIdPath) -> BudgetPage:
    """All limits of the app but those of the environment; what was used stays counted."""
    app = _app(context, app_id)
    await context.services.budgets.change(app, lambda _: NO_BUDGET)
    return await _page(context, app, Asked())


@post(
    "/api/budgets/{app_id:str}/count",
    status_code=200,
    **documented(TAG, "Count what an app has stored", 400, open_to="operators"),
)
async def count_storage(context: NamedDependency[RequestContext], app_id: AppIdPath) -> BudgetPage:
    """Counts the bytes of files and large values anew, by a scan of all objects: for a quota that is
    set where something is stored already, and after objects were removed."""
    app = _app(context, app_id)
    await context.services.storage.count(context.services.gateway, app)
    return await _page(context, app, Asked())


def _app(context: RequestContext, app_id: str) -> AppId:
    app = AppId(decode_segment(app_id, "app_id"))
    require_owner(context.identity, app, None)
    token(app, "app_id")
    return app


def _set_of(name: str | None) -> frozenset[str]:
    if name == "":
        raise bad_request("user_id", "must not be empty")
    return frozenset() if name is None else frozenset([name])


async def _page(context: RequestContext, app: AppId, asked: Asked) -> BudgetPage:
    services = context.services
    await services.budgets.refresh()
    now = services.clock()
    return BudgetPage.of(await read_report(services.budgets, services.ledgers, app, now, asked))


HANDLERS = [app_budget, user_budget, set_limit, remove_limits, count_storage]
