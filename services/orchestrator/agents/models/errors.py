"""Classifies failures of model providers: whether to retry, and what the user is shown."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

from ag2.events import ModelResponse

from services.orchestrator.agents.models.error_texts import (
    is_about_schema,
    is_context_too_long,
    is_format_refused,
    named_context_window,
)
from services.orchestrator.agents.models.wire.provider_error import (
    ErrorBody,
    IncompleteResponseError,
    ProviderBodyError,
    ProviderStatusError,
    ProviderUnreachableError,
)


@dataclass(frozen=True, slots=True)
class ModelFailure:
    """Why a model did not answer.

    `code` is for programs. `message` is for the user: it contains no key, no path and nothing of the
    conversation. A `retryable` failure may be gone at the next attempt, which the provider may ask
    to delay by `retry_after` seconds.
    """

    code: str
    message: str
    retryable: bool = False
    retry_after: float | None = None
    context_window: int | None = None
    """In tokens, if the provider named it."""
    about_schema: bool = False
    """Whether a form of answer is refused because of the schema that was given."""
    detail: str | None = None
    """What the provider itself said, for operators only: it may quote the request."""


class ModelError(Exception):
    """A model did not answer, and another attempt of the same request is of no use.

    `response` is what the provider sent in place of an answer, and counts: none if it sent nothing.
    """

    def __init__(self, failure: ModelFailure, response: ModelResponse | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.response = response


INTERRUPTED = ModelFailure(
    "MODEL_BROKE_OFF", "The model provider ended its answer before it was complete.", retryable=True
)
UNREACHABLE = ModelFailure(
    "MODEL_UNREACHABLE", "The model provider does not answer.", retryable=True
)
CONTENT_FILTERED = ModelFailure(
    "CONTENT_FILTERED", "The model provider's content filter stopped the answer."
)
CONTEXT_TOO_LONG = ModelFailure(
    "CONTEXT_TOO_LONG", "The conversation has become too long for the model."
)
MODEL_EMPTY = ModelFailure("MODEL_EMPTY", "The model answered without any text.")
ANSWER_CUT = ModelFailure("ANSWER_CUT", "The model's answer was cut at its limit of tokens.")
FORMAT_REFUSED = ModelFailure(
    "RESPONSE_FORMAT_REFUSED", "The model provider does not offer answers of the required form."
)
QUOTA_EXHAUSTED = ModelFailure(
    "MODEL_QUOTA_EXHAUSTED", "The account at the model provider has no credit or quota left."
)
ACCESS_DENIED = ModelFailure(
    "MODEL_ACCESS_DENIED", "The model provider refused access: check its API key."
)
RATE_LIMITED = ModelFailure(
    "MODEL_RATE_LIMITED", "The model provider's rate limit is reached.", retryable=True
)
MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
MAX_DETAIL_CHARS = 2_000


def classify_exception(error: Exception, model: str, now: datetime) -> ModelFailure | None:
    """What a provider's exception means; none for an exception that is not a provider's."""
    match error:
        case ProviderStatusError(status, headers, body):
            failure = _with_retry_delay(_classify_error(status, body, model), body)
            return _with_detail(_with_retry_headers(failure, headers, now), body)
        case ProviderBodyError(body):
            implied = _classify_error(_implied_status(body), body, model)
            return _with_detail(_with_retry_delay(implied, body), body)
        case ProviderUnreachableError():
            return UNREACHABLE
        case IncompleteResponseError():
            return INTERRUPTED
        case _:
            return None


def _with_detail(failure: ModelFailure, body: ErrorBody) -> ModelFailure:
    said = body.message.strip()[:MAX_DETAIL_CHARS]
    return replace(failure, detail=said) if said else failure


def _classify_error(status: int, error: ErrorBody, model: str) -> ModelFailure:
    """By the provider's own code if it says more than the status."""
    codes = {error.code, error.type}
    if status == 402 or _QUOTA_CODES & codes or _is_without_credit(status, error):
        return QUOTA_EXHAUSTED
    if error.reason in _DENIED_REASONS:
        return ACCESS_DENIED
    if _FILTER_CODES & codes:
        return CONTENT_FILTERED
    if is_context_too_long(status, error):
        return replace(CONTEXT_TOO_LONG, context_window=named_context_window(error))
    if is_format_refused(status, error):
        return replace(FORMAT_REFUSED, about_schema=is_about_schema(error))
    if status == 404 or error.code == "model_not_found":
        return ModelFailure(MODEL_NOT_FOUND, f"The model provider does not know the model {model}.")
    return _classify_status(status, error.code)


def _classify_status(status: int, code: str | None) -> ModelFailure:
    match status:
        case 401 | 403:
            return ACCESS_DENIED
        case 429:
            return RATE_LIMITED
        case _ if status in (408, 409) or status >= 500:
            return ModelFailure(
                "MODEL_FAILED", f"The model provider failed ({status}).", retryable=True
            )
        case _:
            reason = _safe_code(code) or str(status)
            message = f"The model provider did not accept the request ({reason})."
            return ModelFailure("MODEL_REQUEST_INVALID", message)


_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_FILTER_CODES = {"content_filter", "content_policy_violation"}
_DENIED_REASONS = {"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED"}
"""Google's, with status 400."""
_NO_CREDIT_MESSAGE = re.compile(r"credit balance is too low", re.IGNORECASE)
_STATUS_OF_TYPE = {
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "billing_error": 402,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
}
"""The words of Anthropic and of Google."""


def _is_without_credit(status: int, error: ErrorBody) -> bool:
    """Also where the quota of a day is used up: it is of no use to wait for it."""
    if status == 429 and any("PerDay" in quota for quota in error.quotas):
        return True
    return status == 400 and bool(_NO_CREDIT_MESSAGE.search(error.message))


def _safe_code(code: str | None) -> str | None:
    """A provider's code if it looks like one: other text may quote the request."""
    return code if code and re.fullmatch(r"[\w.-]{1,60}", code) else None


def _implied_status(error: ErrorBody) -> int:
    """The HTTP status that an error within a stream amounts to: it has none of its own."""
    if error.code is not None and re.fullmatch(r"[45]\d\d", error.code):
        return int(error.code)
    if error.type in _STATUS_OF_TYPE:
        return _STATUS_OF_TYPE[error.type]
    codes = f"{error.code} {error.type}"
    if "rate_limit" in codes:
        return 429
    return 400 if "invalid_request" in codes else 500


def _with_retry_headers(
    failure: ModelFailure, headers: Mapping[str, str], now: datetime
) -> ModelFailure:
    """The failure with what the provider's headers say about another attempt."""
    should_retry = headers.get("x-should-retry")
    if should_retry in ("true", "false"):
        failure = replace(failure, retryable=should_retry == "true")
    seconds = retry_after_seconds(headers, now)
    return (
        replace(failure, retry_after=seconds)
        if failure.retryable and seconds is not None
        else failure
    )


def _with_retry_delay(failure: ModelFailure, error: ErrorBody) -> ModelFailure:
    """The failure with the delay that the provider asks for in its description."""
    return replace(failure, retry_after=error.retry_after) if failure.retryable else failure


def retry_after_seconds(headers: Mapping[str, str], now: datetime) -> float | None:
    """The delay that the provider asks for: given in milliseconds, in seconds, or as a date."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(header, "")) * unit
        except ValueError:
            continue
        return seconds if isfinite(seconds) and seconds >= 0 else None
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (date - now).total_seconds())
    except (ValueError, TypeError):  # not a date, or one without a time zone
        return None
