"""Errors that a client gets: a code, the field at fault, what is wrong, and the HTTP status."""

from typing import Literal

from nats.errors import Error as NatsError

from contracts.subjects import InvalidIdError
from services.chassis.budgets.storage import StorageUsedUpError
from services.chassis.jetstream.errors import (
    MessageTooLargeError,
    NatsRejectedError,
    NatsUnavailableError,
)
from services.chassis.jetstream.storage_health import StorageHealth

STORAGE_FULL_MESSAGE = "nothing can be stored at the moment, nothing was changed: try again later"

POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013
"""Close codes of WebSockets (RFC 6455 and the IANA registry)."""

ErrorCode = Literal[
    "SCHEMA_VALIDATION_FAILED",
    "MESSAGE_TOO_LARGE",
    "QUESTION_NOT_OPEN",
    "LINK_INVALID",
    "LINK_EXPIRED",
    "LINKS_OFF",
    "CHAT_ENDED",
    "CHAT_DELETED",
    "CHAT_HAS_FORKS",
    "FORK_POSITION",
    "CHAT_NOT_FOUND",
    "NOT_ALLOWED",
    "LIMIT_REACHED",
    "STORAGE_USED_UP",
    "TYPE_NOT_ALLOWED",
    "ATTACHMENT_NOT_FOUND",
    "VALUE_NOT_FOUND",
    "ERASURE_NOT_FOUND",
    "DEAD_LETTER_NOT_FOUND",
    "NOT_REDRIVABLE",
    "MODEL_CALL_NOT_FOUND",
    "DRAFTS_OFF",
    "WORKFLOW_NOT_FOUND",
    "WORKFLOW_NOT_LOADED",
    "SERVICE_UNAVAILABLE",
    "TOKEN_MISSING",
    "TOKEN_INVALID",
    "TOKEN_EXPIRED",
    "SCOPE_MISSING",
    "NOT_YOURS",
    "NOT_SETTABLE",
    "ORIGIN_NOT_ALLOWED",
    "RATE_LIMITED",
    "ANSWER_RUNNING",
    "CHAT_CHANGED",
    "CONFIRMATION_REQUIRED",
    "NOT_A_RESTING_POINT",
    "NOT_EDITABLE",
    "NOTHING_TO_RETRY",
    "NOTHING_TO_REWIND",
    "TOO_MANY_REWINDS",
]

# A request learns nothing about chats of others: what is not allowed looks as if it did not exist.
HTTP_STATUS: dict[ErrorCode, int] = {
    "SCHEMA_VALIDATION_FAILED": 400,
    "MESSAGE_TOO_LARGE": 413,
    "QUESTION_NOT_OPEN": 404,
    "LINK_INVALID": 404,
    "LINK_EXPIRED": 410,
    "LINKS_OFF": 409,
    "CHAT_ENDED": 409,
    "CHAT_DELETED": 410,
    "CHAT_HAS_FORKS": 409,
    "FORK_POSITION": 409,
    "CHAT_NOT_FOUND": 404,
    "NOT_ALLOWED": 404,
    "LIMIT_REACHED": 429,
    "STORAGE_USED_UP": 507,
    "TYPE_NOT_ALLOWED": 415,
    "ATTACHMENT_NOT_FOUND": 404,
    "VALUE_NOT_FOUND": 404,
    "ERASURE_NOT_FOUND": 404,
    "DEAD_LETTER_NOT_FOUND": 404,
    "NOT_REDRIVABLE": 409,
    "MODEL_CALL_NOT_FOUND": 404,
    "DRAFTS_OFF": 409,
    "WORKFLOW_NOT_FOUND": 404,
    "WORKFLOW_NOT_LOADED": 409,
    "SERVICE_UNAVAILABLE": 503,
    "TOKEN_MISSING": 401,
    "TOKEN_INVALID": 401,
    "TOKEN_EXPIRED": 401,
    "SCOPE_MISSING": 403,
    "NOT_YOURS": 403,
    "NOT_SETTABLE": 403,
    "ORIGIN_NOT_ALLOWED": 403,
    "RATE_LIMITED": 429,
    "ANSWER_RUNNING": 409,
    "CHAT_CHANGED": 409,
    "CONFIRMATION_REQUIRED": 409,
    "NOT_A_RESTING_POINT": 409,
    "NOT_EDITABLE": 409,
    "NOTHING_TO_RETRY": 409,
    "NOTHING_TO_REWIND": 409,
    "TOO_MANY_REWINDS": 409,
}


class ApiError(Exception):
    """A request that is answered with an error and changes nothing; its text is `field: problem`."""

    def __init__(
        self, code: ErrorCode, field: str, problem: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{field}: {problem}")
        self.code = code
        self.field = field
        self.retry_after = retry_after
        """Seconds after which a repeated request may succeed, where that is known."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return HTTP_STATUS[self.code]

    @property
    def close_code(self) -> int:
        """The code that a WebSocket is closed with."""
        return TRY_AGAIN_LATER if self.status in (429, 503) else POLICY_VIOLATION


def api_error_from(error: Exception, storage: StorageHealth) -> ApiError | None:
    """The error that a client gets for an exception; None for an exception that is a fault of ours.

    The only place that translates exceptions: HTTP, WebSocket and AG-UI use it at their edge. The
    result may be the exception itself: held by a local variable of a frame that the exception passed,
    it would keep the frame and everything in it until the next full garbage collection.
    """
    match error:
        case ApiError():
            return error
        case InvalidIdError():
            return bad_request(error.field, error.problem)
        case StorageUsedUpError(limit=left):
            problem = f"the storage of this app is nearly full: {left:,} bytes are left"
            return ApiError("STORAGE_USED_UP", "file", problem)
        case MessageTooLargeError(limit=limit):
            return too_large("message", limit)
        case NatsUnavailableError() | NatsRejectedError() | NatsError():
            return service_unavailable(storage)
        case _:
            return None


def bad_request(field: str, problem: str) -> ApiError:
    return ApiError("SCHEMA_VALIDATION_FAILED", field, problem)


def too_large(field: str, limit: int) -> ApiError:
    return ApiError("MESSAGE_TOO_LARGE", field, f"is larger than {limit} bytes")


def limit_exceeded(field: str, problem: str) -> ApiError:
    return ApiError("LIMIT_REACHED", field, problem)


def service_unavailable(storage: StorageHealth) -> ApiError:
    """The details are for the operator, in the log and at `/ready`; a client gets none of them."""
    if storage.problem is not None:
        return ApiError("SERVICE_UNAVAILABLE", "service", STORAGE_FULL_MESSAGE)
    problem = "temporarily unavailable, try again shortly"
    return ApiError("SERVICE_UNAVAILABLE", "service", problem)
