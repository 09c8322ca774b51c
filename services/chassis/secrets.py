"""Remove API keys, tokens and passwords from text before it is logged, stored or shown."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache

REDACTED = "[redacted]"
MIN_SECRET_CHARS = 8
"""A shorter value, `true` for one, would be removed from ordinary text."""

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTHORIZATION|COOKIE)(?:_|$)",
    re.IGNORECASE,
)
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|-")
_NOT_SECRET_VALUE = re.compile(r"[\w.-]*[/\\].*|\d+", re.DOTALL)
"""A path of a file that holds the secret, or a number."""
_URL_PASSWORD = re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)(?=@)")
_PATTERNS = re.compile(
    r"\b(?:"
    r"sk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic, DeepSeek and others
    r"|AKIA[0-9A-Z]{16}"  # AWS access key id
    r"|AIza[0-9A-Za-z_-]{35}"  # Google
    r"|gh[pousr]_[A-Za-z0-9]{36,}"  # GitHub
    r"|xox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # JWT
    r")"
    r"|(?<=Bearer )[A-Za-z0-9._~+/=-]{16,}"
)


def is_secret_name(name: str) -> bool:
    """Whether a variable or a field of this name holds a secret: `API_KEY`, `accessToken`, `x-api-key`."""
    return _SECRET_NAME.search(_CAMEL_CASE.sub("_", name)) is not None


def secrets_of(environment: Mapping[str, str]) -> frozenset[str]:
    """The values of variables that are named like a secret, and the passwords in URLs."""
    found = {
        value
        for name, value in environment.items()
        if is_secret_name(name) and not _NOT_SECRET_VALUE.fullmatch(value)
    }
    passwords = {
        match.group(2) for value in environment.values() for match in _URL_PASSWORD.finditer(value)
    }
    return frozenset(one for one in found | passwords if len(one) >= MIN_SECRET_CHARS)


class Redactor:
    """Replaces known secrets, and what looks like one, with REDACTED."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = sorted(set(secrets), key=len, reverse=True)  # one may contain another
        self._known = re.compile("|".join(map(re.escape, known))) if known else None
        self._in_json = [json.dumps(one, ensure_ascii=False)[1:-1] for one in known]

    def is_in_json(self, text: str) -> bool:
        """Whether a known secret is in JSON text that does not escape what is no ASCII.

        Much quicker than a replacement, as almost no text has one.
        """
        return any(one in text for one in self._in_json)

    def without_known(self, text: str) -> str:
        """For what a program returns on purpose: only the secrets of this process are replaced."""
        return text if self._known is None else self._known.sub(REDACTED, text)

    def without_any(self, text: str) -> str:
        """For errors and log lines: also what has the form of a key, a token or a URL's password."""
        return _PATTERNS.sub(
            REDACTED, _URL_PASSWORD.sub(rf"\1:{REDACTED}", self.without_known(text))
        )


@cache
def process_redactor() -> Redactor:
    """The redactor of this process's environment, as it was at the first call."""
    return Redactor(secrets_of(os.environ))
