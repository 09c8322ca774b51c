"""Reads the error messages of providers: most have no code for what was wrong with a request."""

import re

from services.orchestrator.agents.models.wire.provider_error import ErrorBody

MIN_WINDOW = 256
MAX_WINDOW = 100_000_000
"""A smaller or larger number in a message is something else than a context window."""

_TOO_LONG_CODES = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "model_max_prompt_tokens_exceeded",
    "request_too_large",
    "string_above_max_length",
}
_TOO_LONG = re.compile(
    r"(maximum|model'?s|available|exceeds?( the)?) context|context (length|window|size|limit)"
    r"|(prompt|input) (is )?too (long|large)|(prompt|input)[\w ]* exceeds? (the )?max"
    r"|maximum (prompt|model|input) length|input length|input token count"
    r"|input tokens exceed|token (count|limit)|too many tokens|tokens? .{0,40}too large for model"
    r"|prompt token count|reduce the length|must have less than \d+ tokens"
    r"|tokens? \+ .{0,20}max_new_tokens|request (is )?too large|max_tokens must be at least 1",
    re.IGNORECASE,
)
_TOO_LONG_STATUSES = (400, 413, 422, 429, 500)
_TOO_LARGE_REQUEST = re.compile(
    r"request (is )?too large|(message|prompt) size|tokens must be reduced", re.IGNORECASE
)
"""Beyond the limit of tokens per minute by itself: no delay helps."""

_NUMBER = r"(\d[\d,]*)"
_WINDOWS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\(TPM\):? Limit:? {_NUMBER}",
        rf"{_NUMBER} maximum context length",
        rf"maximum (?:context|prompt|model|input) length[^\d]{{0,30}}{_NUMBER}",
        rf"> {_NUMBER}",
        rf"maximum number of tokens allowed[^\d]{{0,10}}{_NUMBER}",
        rf"context (?:length|window|size|limit)[^\d]{{0,30}}{_NUMBER}(?! \+)",
        rf"(?:limit (?:of|is)|token limit:|cannot exceed|must be <=|less than) {_NUMBER}",
        rf"should be \[\d+, {_NUMBER}\]",
    )
]

_FORMAT_CODES = {"json_validate_failed"}
_FORMAT = re.compile(
    r"(response|output)[_ ]?(format|config)|response[_ ]?mime[_ ]?type|response[_ ]?schema|json[_ ]object"
    r"|json[_ ]mode|json_schema|structured[_ ]?outputs?|controlled generation|xgrammar"
    r"|guided[_ ](json|decoding)|(not|n't) support json|failed to (generate|validate) json",
    re.IGNORECASE,
)
_FORMAT_STATUSES = (400, 404, 422, 501)
_ABOUT_SCHEMA = re.compile(r"invalid schema|schema (contains|is (invalid|too))", re.IGNORECASE)


def is_context_too_long(status: int, error: ErrorBody) -> bool:
    """Whether the request has more tokens than the model, or one request at all, may have."""
    if _TOO_LONG_CODES & {error.code, error.type} or status == 413:
        return True
    if status == 429:
        return bool(_TOO_LARGE_REQUEST.search(error.message))
    return status in _TOO_LONG_STATUSES and bool(_TOO_LONG.search(error.message))


def named_context_window(error: ErrorBody) -> int | None:
    """The number of tokens that the message names as the most that are accepted."""
    numbers = (_number(pattern, error.message) for pattern in _WINDOWS)
    return next((one for one in numbers if MIN_WINDOW <= one <= MAX_WINDOW), None)


def _number(pattern: re.Pattern[str], message: str) -> int:
    found = pattern.search(message)
    return 0 if found is None else int(found[1].replace(",", "")[:20])


def is_format_refused(status: int, error: ErrorBody) -> bool:
    """Whether the message is about the form of the answer that was asked for."""
    if _FORMAT_CODES & {error.code, error.type}:
        return True
    return status in _FORMAT_STATUSES and bool(_FORMAT.search(error.message))


def is_about_schema(error: ErrorBody) -> bool:
    """Whether a refused form of answer is refused for this schema only."""
    return bool(_ABOUT_SCHEMA.search(error.message))
