import pytest
from nats.errors import NoRespondersError

from contracts.subjects import InvalidIdError
from services.chassis.jetstream.errors import (
    MessageTooLargeError,
    NatsRejectedError,
    NatsUnavailableError,
)
from services.chassis.jetstream.storage_health import StorageHealth
from services.transport.errors import STORAGE_FULL_MESSAGE, ApiError, ErrorCode, api_error_from

GONE = ApiError("CHAT_NOT_FOUND", "chat_id", "no such chat")
UNAVAILABLE = "service: temporarily unavailable, try again shortly"


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (GONE, "CHAT_NOT_FOUND", "chat_id: no such chat"),
        (
            InvalidIdError("app_id", "must not be empty"),
            "SCHEMA_VALIDATION_FAILED",
            "app_id: must not be empty",
        ),
        (
            MessageTooLargeError("subject", 11, 10),
            "MESSAGE_TOO_LARGE",
            "message: is larger than 10 bytes",
        ),
        (NatsRejectedError("no"), "SERVICE_UNAVAILABLE", UNAVAILABLE),
        (NatsUnavailableError("no"), "SERVICE_UNAVAILABLE", UNAVAILABLE),
        (NoRespondersError(), "SERVICE_UNAVAILABLE", UNAVAILABLE),
    ],
)
def test_an_expected_exception_becomes_an_error_with_a_code(
    raised: Exception, code: str, text: str
) -> None:
    error = api_error_from(raised, StorageHealth())
    assert error is not None
    assert (error.code, str(error)) == (code, text)


def test_an_unexpected_exception_becomes_no_error() -> None:
    assert api_error_from(ValueError("a fault"), StorageHealth()) is None


def test_while_nothing_can_be_stored_the_error_says_so() -> None:
    storage = StorageHealth()
    storage.record_rejected("EVENTS", "full")
    error = api_error_from(NatsUnavailableError("no"), storage)
    assert str(error) == f"service: {STORAGE_FULL_MESSAGE}"


@pytest.mark.parametrize(
    ("code", "close_code"),
    [
        ("CHAT_NOT_FOUND", 1008),
        ("TOKEN_EXPIRED", 1008),
        ("LIMIT_REACHED", 1013),
        ("RATE_LIMITED", 1013),
        ("SERVICE_UNAVAILABLE", 1013),
    ],
)
def test_a_socket_is_closed_with_try_again_later_for_temporary_errors(
    code: ErrorCode, close_code: int
) -> None:
    assert ApiError(code, "service", "problem").close_code == close_code
