"""Why a request cannot be served: one code, one field, and what is wrong with it."""

from typing import Literal

from services.chassis.storage import Storage

NOT_STORED = "nothing can be stored now, nothing was changed: try again later"

Code = Literal[
    "SCHEMA_VALIDATION_FAILED",
    "MESSAGE_TOO_LARGE",
    "QUESTION_NOT_OPEN",
    "CHAT_ENDED",
    "CHAT_NOT_FOUND",
    "NOT_ALLOWED",
    "LIMIT_REACHED",
    "TYPE_NOT_ALLOWED",
    "ATTACHMENT_NOT_FOUND",
    "WORKFLOW_NOT_FOUND",
    "WORKFLOW_NOT_LOADED",
    "SERVICE_UNAVAILABLE",
    "TOKEN_MISSING",
    "TOKEN_INVALID",
    "TOKEN_EXPIRED",
    "SCOPE_MISSING",
    "NOT_YOURS",
    "ORIGIN_NOT_ALLOWED",
    "RATE_LIMITED",
]

# One chat's existence is nobody else's business: what is not allowed looks as if it were not there.
HTTP_STATUS: dict[Code, int] = {
    "SCHEMA_VALIDATION_FAILED": 400,
    "MESSAGE_TOO_LARGE": 413,
    "QUESTION_NOT_OPEN": 404,
    "CHAT_ENDED": 409,
    "CHAT_NOT_FOUND": 404,
    "NOT_ALLOWED": 404,
    "LIMIT_REACHED": 429,
    "TYPE_NOT_ALLOWED": 415,
    "ATTACHMENT_NOT_FOUND": 404,
    "WORKFLOW_NOT_FOUND": 404,
    "WORKFLOW_NOT_LOADED": 409,
    "SERVICE_UNAVAILABLE": 503,
    "TOKEN_MISSING": 401,
    "TOKEN_INVALID": 401,
    "TOKEN_EXPIRED": 401,
    "SCOPE_MISSING": 403,
    "NOT_YOURS": 403,
    "ORIGIN_NOT_ALLOWED": 403,
    "RATE_LIMITED": 429,
}


class RefusalError(Exception):
    """A request that is answered with a reason; nothing has happened because of it."""

    def __init__(
        self, code: Code, field: str, problem: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{field}: {problem}")
        self.code = code
        self.field = field
        self.retry_after = retry_after
        """Seconds until it is worth while to ask again, where that is known."""

    @property
    def status(self) -> int:
        return HTTP_STATUS[self.code]


def malformed(field: str, problem: str) -> RefusalError:
    return RefusalError("SCHEMA_VALIDATION_FAILED", field, problem)


def too_large(field: str, limit: int) -> RefusalError:
    return RefusalError("MESSAGE_TOO_LARGE", field, f"is larger than {limit} bytes")


def limit_reached(field: str, problem: str) -> RefusalError:
    return RefusalError("LIMIT_REACHED", field, problem)


def unavailable(storage: Storage) -> RefusalError:
    """For whoever asked: what is wrong in detail is for the operator, in the log and `/ready`."""
    if storage.trouble is not None:
        return RefusalError("SERVICE_UNAVAILABLE", "service", NOT_STORED)
    return RefusalError("SERVICE_UNAVAILABLE", "service", "NATS is away, try again shortly")
