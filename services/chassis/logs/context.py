"""What a log line belongs to: chat, app, user, run and trace of the work during which it is logged."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

from contracts.trace_context import parse_traceparent

FIELDS = ("app", "chat", "user", "run", "trace")
"""The fields of the context, in the order in which lines have them."""
USER_HASH_CHARACTERS = 12

_context: ContextVar[Mapping[str, str]] = ContextVar("log context", default=MappingProxyType({}))


def current_context() -> Mapping[str, str]:
    """The fields of FIELDS that are known here; tasks and threads of asyncio inherit them."""
    return _context.get()


@contextmanager
def log_context(**fields: str | None) -> Iterator[None]:
    """Add fields to each line that is logged within; None leaves a field as it is."""
    token = _context.set(_with(fields))
    try:
        yield
    finally:
        _context.reset(token)


def bind_log_context(**fields: str | None) -> None:
    """Add fields to each line of the running task from here on, where their scope is the whole task."""
    _context.set(_with(fields))


def user_hash(app: str, user: str) -> str:
    """A pseudonym of a user: the same in every log of this product, and not the user's name.

    It is no protection against one who guesses names; it keeps addresses out of logs.
    """
    return hashlib.sha256(f"{app}\n{user}".encode()).hexdigest()[:USER_HASH_CHARACTERS]


def trace_id(traceparent: str | None) -> str | None:
    """The trace of a W3C `traceparent`, 32 hexadecimal digits; None where there is none that is valid."""
    valid = parse_traceparent(traceparent)
    return None if valid is None else valid.split("-")[1]


def _with(fields: Mapping[str, str | None]) -> Mapping[str, str]:
    known = {key: value for key, value in fields.items() if value is not None}
    return MappingProxyType({**_context.get(), **known})
