"""What a model provider's failure means: whether to ask again, and what the person is told."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from math import isfinite

import openai
from ag2.events import ModelResponse

from services.orchestrator.agents.codec import told_of


@dataclass(frozen=True, slots=True)
class Fault:
    """`code` is for programs, `message` for the person who waits: no key, no path, nothing said.

    One that `passes` may be gone when the model is asked again, `after` so many seconds where the
    provider says so.
    """

    code: str
    message: str
    passes: bool = False
    after: float | None = None


class ModelFaultError(Exception):
    """A model did not answer, and asking again is of no use, or no more."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def failure(trouble: Exception) -> tuple[str, str]:
    """A code for programs and a sentence for the person, of whatever ended a turn."""
    if isinstance(trouble, ModelFaultError):
        return trouble.fault.code, trouble.fault.message
    return "TURN_FAILED", told_of(trouble)


BROKE_OFF = Fault("MODEL_BROKE_OFF", "The model provider broke off its answer.", passes=True)
UNREACHABLE = Fault("MODEL_UNREACHABLE", "The model provider does not answer.", passes=True)
FILTERED = Fault("CONTENT_FILTERED", "The model provider's content filter stopped the answer.")
TOO_LONG = Fault("CONTEXT_TOO_LONG", "The conversation has become too long for the model.")
EXHAUSTED = Fault(
    "MODEL_QUOTA_EXHAUSTED", "The account at the model provider has no credit or quota left."
)
DENIED = Fault("MODEL_ACCESS_DENIED", "The model provider refused access: check its API key.")
LIMITED = Fault("MODEL_RATE_LIMITED", "The model provider's rate limit is reached.", passes=True)
UNKNOWN_MODEL = "MODEL_NOT_FOUND"


def fault_of(trouble: Exception, model: str, now: datetime) -> Fault | None:
    """What a provider's failure means; none for what is no failure of a provider's."""
    match trouble:
        case openai.APIStatusError():
            headers = trouble.response.headers
            fault = _refusal(trouble.status_code, trouble, model)
            return _as_told(fault, headers, now)
        case openai.APIConnectionError():
            return UNREACHABLE
        case openai.APIError():
            return _refusal(_status_told(trouble), trouble, model)
        case json.JSONDecodeError() | UnicodeDecodeError():  # half of a chunk
            return BROKE_OFF
        case _:
            return None


def fault_in(response: ModelResponse) -> Fault | None:
    """What is wrong with an answer that looks like one."""
    match response.finish_reason:
        case None:  # the stream ended as a broken connection may, before its end
            return BROKE_OFF
        case "content_filter":
            return FILTERED
        case _:
            return None


def _refusal(status: int, trouble: openai.APIError, model: str) -> Fault:
    """By the provider's own code where it has one that says more than the status."""
    named = {trouble.code, trouble.type}
    if status == 402 or _EXHAUSTED & named:
        return EXHAUSTED
    if _FILTERED & named:
        return FILTERED
    if _is_too_long(status, trouble):
        return TOO_LONG
    if status == 404 or trouble.code == "model_not_found":
        return Fault(UNKNOWN_MODEL, f"The model provider does not know the model {model}.")
    return _by_status(status, trouble.code)


def _by_status(status: int, code: str | None) -> Fault:
    match status:
        case 401 | 403:
            return DENIED
        case 429:
            return LIMITED
        case _ if status in (408, 409) or status >= 500:
            return Fault("MODEL_FAILED", f"The model provider failed ({status}).", passes=True)
        case _:
            why = _plain(code) or str(status)
            told = f"The model provider did not accept the request ({why})."
            return Fault("MODEL_REQUEST_INVALID", told)


_EXHAUSTED = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_FILTERED = {"content_filter", "content_policy_violation"}
_TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error"}
_TOO_LONG_WORDS = re.compile(
    r"(maximum|model'?s|available) context|context (length|window|size)|prompt is too long",
    re.IGNORECASE,
)


def _is_too_long(status: int, trouble: openai.APIError) -> bool:
    """Whether the model's window is the matter; compatible servers say so in words only."""
    if _TOO_LONG_CODES & {trouble.code, trouble.type}:
        return True
    return status in (400, 413, 422) and bool(_TOO_LONG_WORDS.search(str(trouble.message)))


def _plain(code: str | None) -> str | None:
    """A provider's code where it is one: anything else may quote what nobody should read."""
    return code if code and re.fullmatch(r"[\w.-]{1,60}", code) else None


def _status_told(trouble: openai.APIError) -> int:
    """The status that an error in mid-stream amounts to, which has none of its own."""
    if trouble.code is not None and re.fullmatch(r"[45]\d\d", trouble.code):
        return int(trouble.code)
    named = f"{trouble.code} {trouble.type}"
    if "rate_limit" in named:
        return 429
    return 400 if "invalid_request" in named else 500


def _as_told(fault: Fault, headers: Mapping[str, str], now: datetime) -> Fault:
    """The fault with what the provider says of trying again."""
    said = headers.get("x-should-retry")
    if said in ("true", "false"):
        fault = replace(fault, passes=said == "true")
    return replace(fault, after=waiting_time(headers, now)) if fault.passes else fault


def waiting_time(headers: Mapping[str, str], now: datetime) -> float | None:
    """How many seconds the provider asks for: in milliseconds, in seconds, or until a date."""
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(header, "")) * unit
        except ValueError:
            continue
        return seconds if isfinite(seconds) and seconds >= 0 else None
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (date - now).total_seconds())
    except (ValueError, TypeError):  # no date, or one without a zone
        return None
