"""What a request to the transport can fail with."""

from http import HTTPStatus


class ApiError(Exception):
    """The transport refused a request; nothing has happened because of it.

    `status` is the HTTP status (0 on a socket), `field` the part of the request that is wrong,
    `code` the error code of a socket's `chat.error` frame, `retry_after` seconds.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int = 0,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
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


class ServiceUnavailableError(Exception):
    """The transport did not answer, or could not, within the client's `timeout`.

    A message that was sent may have been stored: read the chat before sending it again.
    """
