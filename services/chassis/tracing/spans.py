"""Spans of this process: how code marks what it does, whether anybody collects it or not.

Like a logger, the tracer is one per process: `install` sets it where traces are exported. Without one
a span costs next to nothing, OpenTelemetry is not imported, and a `traceparent` that came with a
request is only passed on.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Literal, Protocol, Self

from contracts.trace_context import parse_traceparent

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | bool | int | float | Sequence[str] | None
Attributes = Mapping[str, Value]
"""By name; None is left out. Names are those of OpenTelemetry's semantic conventions, else `mozaiks.*`."""


class Span(Protocol):
    """One operation of this process."""

    @property
    def is_recording(self) -> bool:
        """Whether attributes have an effect: what is costly to compute is left out without it."""
        ...

    @property
    def traceparent(self) -> str | None:
        """What is given to whoever continues the trace."""
        ...

    def set(self, attributes: Attributes) -> None: ...

    def rename(self, name: str) -> None: ...

    def fail(self, error_type: str) -> None:
        """Mark the operation as failed. `error_type` is a code or a class, never a text of users."""
        ...

    def end(self) -> None:
        """End it now, before its context ends; a second time has no effect."""
        ...


class Tracer(Protocol):
    """Begins spans (implemented by `sdk.SdkTracer`)."""

    @property
    def captures_content(self) -> bool:
        """Whether spans may have the text of prompts, answers, arguments and results."""
        ...

    def span(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        links: Sequence[str],
        attributes: Attributes,
        is_root: bool,  # noqa: FBT001  passed on as it was given
    ) -> AbstractContextManager[Span]: ...

    def traceparent(self) -> str | None:
        """That of the current span."""
        ...


class _PassedOn:
    """The span of a process that exports no traces; it holds the `traceparent` of its context."""

    __slots__ = ("_before", "_parent")
    is_recording = False

    def __init__(self, parent: str | None) -> None:
        self._parent = parent
        self._before: str | None = None

    @property
    def traceparent(self) -> str | None:
        return self._parent or _RECEIVED.get()

    def __enter__(self) -> Self:
        if self._parent is not None:
            self._before = _RECEIVED.get()
            _RECEIVED.set(self._parent)
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        if self._parent is not None:
            _RECEIVED.set(self._before)

    def set(self, attributes: Attributes) -> None: ...

    def rename(self, name: str) -> None: ...

    def fail(self, error_type: str) -> None: ...

    def end(self) -> None: ...


_RECEIVED: ContextVar[str | None] = ContextVar("received_traceparent", default=None)
_NONE = _PassedOn(None)
_tracer: Tracer | None = None


def span(
    name: str,
    kind: Kind = "internal",
    *,
    parent: str | None = None,
    links: Sequence[str | None] = (),
    attributes: Attributes | None = None,
    is_root: bool = False,
) -> AbstractContextManager[Span]:
    """A span, for the time of a `with`: of the current one, or of the `traceparent` of another process.

    An invalid `parent` or link counts as none. `is_root`: of no other one in this process. What is
    raised inside marks the span as failed, by its class alone; a cancellation does not.
    """
    if _tracer is None and parent is None:
        return _NONE
    received = parse_traceparent(parent)
    if _tracer is None:
        return _NONE if received is None else _PassedOn(received)
    valid = [found for one in links if (found := parse_traceparent(one)) is not None]
    return _tracer.span(name, kind, received, valid, attributes or {}, is_root)


def traceparent() -> str | None:
    """The `traceparent` for what this process sends now; None where there is no trace."""
    return _RECEIVED.get() if _tracer is None else _tracer.traceparent()


def is_on() -> bool:
    """Whether this process exports traces."""
    return _tracer is not None


def captures_content() -> bool:
    """Whether spans may have the text of prompts, answers, arguments and results."""
    return _tracer is not None and _tracer.captures_content


@contextmanager
def installed(tracer: Tracer | None) -> Iterator[None]:
    """The tracer of this process, for the time of a `with`."""
    global _tracer
    before, _tracer = _tracer, tracer
    try:
        yield
    finally:
        _tracer = before
