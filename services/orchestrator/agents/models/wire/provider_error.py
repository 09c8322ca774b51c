"""What a provider did instead of answering, as exceptions."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.orchestrator.agents.models.wire import json_text

MAX_MESSAGE_CHARS = 10_000
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


@dataclass(frozen=True, slots=True)
class ErrorBody:
    """A provider's description of an error; members are none where it has none.

    Google adds `reason`, the delay in seconds that it asks for, and the quotas that are used up.
    """

    message: str = ""
    code: str | None = None
    type: str | None = None
    reason: str | None = None
    retry_after: float | None = None
    quotas: tuple[str, ...] = ()


class ProviderError(Exception):
    """A provider did not answer. The text names the class of the failure, not its content."""


@dataclass(eq=False)
class ProviderStatusError(ProviderError):
    """The provider answered with an HTTP status that is an error."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: ErrorBody = field(repr=False)

    def __str__(self) -> str:
        return f"HTTP status {self.status}"

    @property
    def request_id(self) -> str | None:
        return self.headers.get("x-request-id") or self.headers.get("request-id")


@dataclass(eq=False)
class ProviderBodyError(ProviderError):
    """The provider accepted the request and sent an error in place of an answer, or within it."""

    body: ErrorBody = field(repr=False)

    def __str__(self) -> str:
        return "an error in the body of the response"


class ProviderUnreachableError(ProviderError):
    """The connection failed, or broke before the end of the response."""


class IncompleteResponseError(ProviderError):
    """The response ended, or became unreadable, before it was complete."""


def error_body_of(data: bytes) -> ErrorBody:
    """The error in the body of a response, in any of the forms that providers use."""
    try:
        value = json_text.decode(data)
    except ValueError:
        value = data.decode(errors="replace")
    return error_of(value)


def error_of(value: Any) -> ErrorBody:
    """The same for a decoded value: an object, one within a list or under `error`, or text."""
    match value:
        case [first, *_]:
            return error_of(first)
        case {"error": dict() | list() | str() as inner} if inner:
            return error_of(inner)
        case dict():
            details = [*_details(value)]
            return ErrorBody(
                _text(value.get("message") or value.get("detail")),
                _word(value.get("code")),
                _word(value.get("type") or value.get("status")),
                next((_word(one["reason"]) for one in details if "reason" in one), None),
                next((_seconds(one["retryDelay"]) for one in details if "retryDelay" in one), None),
                tuple(_quotas(details)),
            )
        case _:
            return ErrorBody(_text(value))


def _details(value: Mapping[Any, Any]) -> Iterator[Mapping[str, Any]]:
    """https://cloud.google.com/apis/design/errors#error_details"""
    details = value.get("details")
    return (
        (one for one in details if isinstance(one, dict)) if isinstance(details, list) else iter(())
    )


def _quotas(details: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for detail in details:
        violations = detail.get("violations")
        for one in violations if isinstance(violations, list) else ():
            if isinstance(one, dict) and isinstance(one.get("quotaId"), str):
                yield one["quotaId"]


def _seconds(value: Any) -> float | None:
    """A duration as Google writes it: `3.5s`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return float(match.group(1)) if match else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (value if isinstance(value, str) else str(value))[:MAX_MESSAGE_CHARS]


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
