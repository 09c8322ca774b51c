"""Every trouble of a request as one shape: a status and `{"detail": ...}`."""

import logging
from math import ceil
from typing import Any

from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, WebSocketException
from litestar.types import ExceptionHandlersMap, Scope
from nats.errors import Error as NatsError

from contracts.subjects import InvalidIdError
from services.chassis.direct_get import RefusedError, UnavailableError
from services.transport.refusals import Code, RefusalError, unavailable

log = logging.getLogger(__name__)

Answer = Response[dict[str, str]]
AnyRequest = Request[Any, Any, Any]


def _detail(status: int, detail: str) -> Answer:
    return Response({"detail": detail}, status_code=status, media_type="application/json")


def _refused(_: AnyRequest, refusal: RefusalError) -> Answer:
    answer = _detail(refusal.status, str(refusal))
    if refusal.status == 401:
        answer.headers["WWW-Authenticate"] = _challenge(refusal.code)
    if refusal.retry_after is not None:
        answer.headers["Retry-After"] = str(ceil(refusal.retry_after))
    return answer


def _challenge(code: Code) -> str:
    """RFC 6750: only a token that came is said to be wrong."""
    return "Bearer" if code == "TOKEN_MISSING" else 'Bearer error="invalid_token"'


def _invalid_id(_: AnyRequest, invalid: InvalidIdError) -> Answer:
    return _detail(400, str(invalid))


def _away(request: AnyRequest, _: Exception) -> Answer:
    return _detail(503, str(unavailable(request.app.state.desk.bus.storage)))


def _http(_: AnyRequest, trouble: HTTPException) -> Answer:
    detail = "body: is too large" if trouble.status_code == 413 else trouble.detail
    return _detail(trouble.status_code, detail)


def _unforeseen(request: AnyRequest, trouble: Exception) -> Answer:
    log.error("a request failed", exc_info=trouble, extra={"path": request.scope["path"]})
    return _detail(500, "internal error")


async def count_refusal(trouble: Exception, scope: Scope) -> None:
    refusal = trouble.__cause__ if isinstance(trouble, WebSocketException) else trouble
    if isinstance(refusal, RefusalError):
        scope["litestar_app"].state.desk.refusals.labels(refusal.code).inc()


async def note_broken_socket(trouble: Exception, scope: Scope) -> None:
    """A socket's trouble has no answer to carry it: Litestar only closes the socket."""
    foreseen = isinstance(trouble, HTTPException | WebSocketException)
    if scope["type"] == ScopeType.WEBSOCKET and not foreseen:
        log.error("a socket failed", exc_info=trouble, extra={"path": scope["path"]})


def handlers() -> ExceptionHandlersMap:
    return {
        RefusalError: _refused,
        InvalidIdError: _invalid_id,
        UnavailableError: _away,
        RefusedError: _away,
        NatsError: _away,
        HTTPException: _http,
        Exception: _unforeseen,
    }
