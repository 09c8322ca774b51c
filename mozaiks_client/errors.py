"""What a request to the transport can fail with."""

from http import HTTPStatus
from typing import Any


class ApiError(Exception):
    """The transport refused a request; nothing has happened because of it.

    `status` is the HTTP status (0 on a socket), `field` the part of the request that is wrong,
    `code` the error code of a socket's `chat.error` frame, `retry_after` seconds, `body` what a route
    answers beside its detail.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str | None = None,
        retry_after: float | None = None,
        body: Any = None,
    ) -> None:
        super().__init__(detail)
        self.body = body
        self.detail = detail
        self.status = status
        self.code = code
        self.retry_after = retry_after

    @property
    def field(self) -> str | None:
        field, separator, _ = self.detail.partition(": ")
        return field if separator else None

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS)


class RewindRefusedError(ApiError):
    """A retry, an edit or a rewind that had no effect.

    `code` says why. With `CONFIRMATION_REQUIRED`, `effects` are what tools have done meanwhile, which
    would not be undone: the same request with `confirm=True` goes on in spite of them.
    """

    def __init__(self, refused: ApiError, code: str, effects: list[dict[str, Any]]) -> None:
        super().__init__(refused.detail, status=refused.status, code=code)
        self.effects = effects


class ServiceUnavailableError(Exception):
    """The transport did not answer, or could not, within the client's `timeout`.

    A message that was sent may have been stored: read the chat before sending it again.
    """


class DamagedExportError(Exception):
    """An export is not whole: what is wrong with it, a line each."""
