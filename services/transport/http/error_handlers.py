"""Answers every error of a request as a status and `{"detail": "field: problem"}`."""

import logging
from math import ceil
from typing import Any, Literal, get_args, get_origin

from litestar import Response
from litestar.enums import ParamType, ScopeType
from litestar.exceptions import HTTPException, ValidationException, WebSocketException
from litestar.params import ParameterKwarg
from litestar.types import ExceptionHandlersMap, Scope
from litestar.typing import FieldDefinition
from pydantic import ValidationError

from services.transport.chats.rewinds import RewindError
from services.transport.context import AppServices
from services.transport.errors import ApiError, ErrorCode, api_error_from, bad_request
from services.transport.http.json_request import AnyRequest
from services.transport.http.models.base import ErrorAnswer
from services.transport.http.models.rewinds import RewindRefusedAnswer
from services.transport.protocol.validation import shown, validation_error

log = logging.getLogger(__name__)

ErrorResponse = Response[ErrorAnswer]


def handlers() -> ExceptionHandlersMap:
    return {Exception: answer_error}


def answer_error(request: AnyRequest, raised: Exception) -> Response[Any]:
    match raised:
        case ValidationException():
            return _api_error(_invalid(request, raised))
        case HTTPException(status_code=413):
            return _response(413, "body: is too large")
        case HTTPException():  # of Litestar: no such route, or no such method
            return _response(raised.status_code, raised.detail)
        case _:
            return _exception(request, raised)


def _exception(request: AnyRequest, raised: Exception) -> Response[Any]:
    services: AppServices = request.app.state.services
    error = api_error_from(raised, services.gateway.storage)
    if error is None:
        log.error("a request failed", exc_info=raised, extra={"path": request.scope["path"]})
        return _response(500, "internal error")
    return _api_error(error)


def _response(status: int, detail: str) -> ErrorResponse:
    return Response(ErrorAnswer(detail=detail), status_code=status, media_type="application/json")


def _api_error(error: ApiError) -> Response[Any]:
    if isinstance(error, RewindError):
        refused = RewindRefusedAnswer(
            detail=str(error), code=error.code, effects=list(error.effects)
        )
        return Response(refused, status_code=error.status, media_type="application/json")
    response = _response(error.status, str(error))
    if error.status == 401:
        response.headers["WWW-Authenticate"] = _challenge(error.code)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(ceil(error.retry_after))
    return response


def _challenge(code: ErrorCode) -> str:
    """RFC 6750: `error` is only given where a token was sent."""
    return "Bearer" if code == "TOKEN_MISSING" else 'Bearer error="invalid_token"'


def _invalid(request: AnyRequest, error: ValidationException) -> ApiError:
    """What Litestar found wrong: the body by pydantic, or the parameters by itself."""
    cause = error.__cause__
    if isinstance(cause, KeyError):  # a required parameter, by its name
        return bad_request(str(cause.args[0]), "is required")
    while cause is not None and not isinstance(cause, ValidationError):
        cause = cause.__cause__
    if cause is not None:
        return validation_error(cause, "body")
    name = _first_key(error)
    if name == "data":  # there is no body at all
        return bad_request("body", "is required")
    return _parameter_error(request, request.route_handler.parsed_fn_signature.parameters[name])


def _first_key(error: ValidationException) -> str:
    match error.extra:
        case [{"key": str(key)}, *_]:
            return key
        case _:
            raise TypeError(f"an error of parameters names none: {error.extra!r}") from error


def _parameter_error(request: AnyRequest, field: FieldDefinition) -> ApiError:
    definition = field.kwarg_definition
    if not isinstance(definition, ParameterKwarg):
        raise TypeError(f"{field.name} is no parameter of the request")
    name = definition.name or field.name
    is_header = definition.param_type == ParamType.HEADER
    found = (request.headers if is_header else request.query_params).get(name)
    return bad_request(name, f"{shown(found)}, must be {_accepted(field.annotation, definition)}")


def _accepted(annotation: Any, definition: ParameterKwarg) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(str(value) for value in get_args(annotation))
    if definition.ge is None:
        return "a text that is not empty"
    kind = "a number" if float in (annotation, *get_args(annotation)) else "a whole number"
    return f"{kind} from {definition.ge} to {definition.le}"


async def count_error(error: Exception, scope: Scope) -> None:
    code = _code(error.__cause__ if isinstance(error, WebSocketException) else error)
    if code is not None:
        services: AppServices = scope["litestar_app"].state.services
        services.metrics.errors.labels(code).inc()


def _code(error: BaseException | None) -> ErrorCode | None:
    match error:
        case ApiError():
            return error.code
        case ValidationException():
            return "SCHEMA_VALIDATION_FAILED"
        case _:
            return None


async def log_socket_failure(error: Exception, scope: Scope) -> None:
    """Log what no response can report: after an exception Litestar only closes the socket."""
    expected = isinstance(error, HTTPException | WebSocketException)
    if scope["type"] == ScopeType.WEBSOCKET and not expected:
        log.error("a socket failed", exc_info=error, extra={"path": scope["path"]})
