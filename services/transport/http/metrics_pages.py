"""The pages of the metrics service on the transport's port: asked for over NATS, sent on as they come."""

import asyncio
import json
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.status_codes import HTTP_200_OK
from nats.aio.client import Client

from contracts import subjects
from contracts.ids import AppId, ChatId, new_message_id
from contracts.metrics_pages import STATUS_HEADER, TYPE_HEADER, MetricsPage, MetricsPageRequested
from services.chassis.jetstream.subscription import ask
from services.transport.auth.authenticate import bearer_token
from services.transport.auth.principal import Identity, Principal
from services.transport.context import RequestContext
from services.transport.errors import ApiError
from services.transport.http.api_document import answer, documented
from services.transport.http.json_request import AnyRequest
from services.transport.http.parameters import ChatIdPath, OptionalAppIdQuery
from services.transport.path_segments import decode_segment

ANSWER_SECONDS = 5.0
"""How long metrics may take for a page."""
APPS_AT_ONCE = 8
"""Of an operator whose token names more apps."""
RETRY_SECONDS = 2.0
"""Sent as Retry-After."""


async def ask_metrics(nc: Client, request: MetricsPageRequested) -> Response[bytes]:
    """What the metrics service answers. Raises ApiError where it does not, and NatsUnavailableError."""
    try:
        answer = await ask(
            nc,
            subjects.METRICS_PAGES,
            request.model_dump_json().encode(),
            subjects.metrics_answer(new_message_id()),
            ANSWER_SECONDS,
        )
    except TimeoutError:
        raise _unavailable("metrics do not answer, try again") from None
    if answer is None:
        raise _unavailable("metrics are not running")
    headers = answer.headers or {}
    return Response(
        zlib.decompress(answer.data),
        status_code=int(headers[STATUS_HEADER]),
        headers={"content-type": headers[TYPE_HEADER]},
    )


def _unavailable(problem: str) -> ApiError:
    return ApiError("SERVICE_UNAVAILABLE", "metrics", problem, retry_after=RETRY_SECONDS)


async def _page(
    context: RequestContext,
    request: AnyRequest,
    page: MetricsPage,
    app: AppId | None = None,
    chat: ChatId | None = None,
) -> Response[bytes]:
    identity = context.identity
    token = None if isinstance(identity, Principal) else bearer_token(request)
    asked = MetricsPageRequested(
        page=page,
        chat_id=chat,
        operator=isinstance(identity, Principal),
        token_digest=None if token is None else sha256(token.encode()).hexdigest(),
    )
    apps = _apps_of(identity, page, app)
    answers = await _ask_in_turn(context.services.gateway.nc, asked, apps)
    return answers[0] if len(answers) == 1 else _merged(page, answers)


async def _ask_in_turn(
    nc: Client, asked: MetricsPageRequested, apps: Sequence[AppId | None]
) -> list[Response[bytes]]:
    """The page of each app, at most `APPS_AT_ONCE` asked for at the same time."""
    requests = [asked.model_copy(update={"app_id": app}) for app in apps]
    answers: list[Response[bytes]] = []
    for start in range(0, len(requests), APPS_AT_ONCE):
        some = requests[start : start + APPS_AT_ONCE]
        answers += await asyncio.gather(*(ask_metrics(nc, request) for request in some))
    return answers


def _apps_of(identity: Identity, page: MetricsPage, app: AppId | None) -> Sequence[AppId | None]:
    """The apps whose numbers an identity gets, None for all. Raises ApiError.

    An operator whose token names apps gets the numbers of these: of several, where the page is a list.
    """
    if not isinstance(identity, Principal) or not identity.apps or page == "streams":
        return [app]
    if page == "prometheus":
        raise ApiError("NOT_YOURS", "token", "names an app, and this page has the numbers of all")
    if app is None and (len(identity.apps) == 1 or page in _LISTS):
        return sorted(identity.apps)
    if app is None:
        raise ApiError("NOT_YOURS", "app_id", "required, because the token names several apps")
    if not identity.can_access_app(app):
        raise ApiError("NOT_YOURS", "app_id", "not an app of this token")
    return [app]


_LISTS: dict[MetricsPage, Callable[[dict[str, Any]], Any]] = {
    "chats": lambda one: datetime.fromisoformat(one["last_event_at"]),
    "stalled": lambda one: one["silent_sec"],
    "tenants": lambda one: one["cost"],
}
"""The pages that are lists, and what they are ordered by, from the largest down."""


def _merged(page: MetricsPage, answers: Sequence[Response[bytes]]) -> Response[bytes]:
    """One list in the order of the page; the first answer that is no list, where there is one."""
    for one in answers:
        if one.status_code != HTTP_200_OK:
            return one
    entries = [entry for one in answers for entry in json.loads(one.content)]
    body = json.dumps(sorted(entries, key=_LISTS[page], reverse=True)).encode()
    return Response(body, headers=answers[0].headers)


TAG = "Metrics"
_OBJECT = answer(dict[str, Any], "As the metrics service has it.")
_LIST = answer(list[dict[str, Any]], "As the metrics service has it.")
_SERIES = answer(str, "Prometheus text format 0.0.4.", media_type="text/plain")


def _documented(summary: str, content: ResponseSpec, *errors: int) -> dict[str, Any]:
    return documented(TAG, summary, *errors, 413, open_to="operators", answers={200: content})


@get("/metrics/perf/aggregate", **_documented("Numbers of all chats", _OBJECT, 400))
async def metrics_of_all(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: OptionalAppIdQuery = None,
) -> Response[bytes]:
    """Sums over all chats that ever were, and the numbers of those that are tracked."""
    return await _page(context, request, "aggregate", app_id)


@get("/metrics/perf/chats", **_documented("Numbers of each tracked chat", _LIST, 400))
async def metrics_of_chats(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: OptionalAppIdQuery = None,
) -> Response[bytes]:
    return await _page(context, request, "chats", app_id)


@get(
    "/metrics/perf/chats/{chat_id:path}",
    **_documented("Numbers of a chat", _OBJECT, 400, 404, 409),
)
async def metrics_of_chat(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    chat_id: ChatIdPath,
    app_id: OptionalAppIdQuery = None,
) -> Response[bytes]:
    """Where several apps have a chat with this id, `app_id` is required."""
    name = ChatId(decode_segment(chat_id.removeprefix("/"), "chat_id"))
    return await _page(context, request, "chat", app_id, name)


@get("/metrics/perf/stalled", **_documented("Chats that hang", _LIST, 400))
async def stalled_chats(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: OptionalAppIdQuery = None,
) -> Response[bytes]:
    """Those that wait for the runtime, and of which nothing has come for long."""
    return await _page(context, request, "stalled", app_id)


@get("/metrics/perf/tenants", **_documented("What each app has used", _LIST, 400))
async def tenants(
    context: NamedDependency[RequestContext],
    request: AnyRequest,
    app_id: OptionalAppIdQuery = None,
) -> Response[bytes]:
    """Chats by status, turns, tokens and cost of all chats that an app ever had; the costliest first."""
    return await _page(context, request, "tenants", app_id)


@get("/metrics/perf/streams", **_documented("Streams, and how far their readers are", _OBJECT, 400))
async def streams(context: NamedDependency[RequestContext], request: AnyRequest) -> Response[bytes]:
    """As NATS answered the metrics service last, which asks every ten seconds."""
    return await _page(context, request, "streams")


@get("/metrics/prometheus", **_documented("Series for Prometheus", _SERIES))
async def prometheus(
    context: NamedDependency[RequestContext], request: AnyRequest
) -> Response[bytes]:
    """For operators of all apps."""
    return await _page(context, request, "prometheus")


HANDLERS = [
    metrics_of_all,
    metrics_of_chats,
    metrics_of_chat,
    stalled_chats,
    tenants,
    streams,
    prometheus,
]
