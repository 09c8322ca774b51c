"""Spans by OpenTelemetry's SDK; imported only where traces are exported."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer as OtelTracer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

from services.chassis.tracing.spans import Attributes, Kind, Span

SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
_KINDS = {kind.name.lower(): kind for kind in SpanKind}
_IS_ERROR = Status(StatusCode.ERROR)
_NOTHING = otel_context.Context()


class SdkTracer:
    """The tracer of a process whose traces are exported."""

    def __init__(self, provider: TracerProvider, *, captures_content: bool) -> None:
        self._tracer: OtelTracer = provider.get_tracer("mozaiks", schema_url=SCHEMA)  # type: ignore[assignment]
        self.captures_content = captures_content

    @contextmanager
    def span(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        links: Sequence[str],
        attributes: Attributes,
        is_root: bool,  # noqa: FBT001
    ) -> Iterator[Span]:
        """See `spans.span`."""
        context = None
        if parent is not None:
            context = trace.set_span_in_context(NonRecordingSpan(_context_of(parent)), _NOTHING)
        elif is_root:
            context = _NOTHING
        began = self._tracer.start_span(
            name,
            context,
            _KINDS[kind],
            {key: value for key, value in attributes.items() if value is not None},
            [Link(_context_of(one)) for one in links],
            record_exception=False,  # its text may be a user's
            set_status_on_exception=False,
        )
        span = _SdkSpan(began)
        token = otel_context.attach(trace.set_span_in_context(began, context))
        try:
            yield span
        except asyncio.CancelledError:
            span.set({"mozaiks.cancelled": True})
            raise
        except BaseException as error:
            span.fail(type(error).__qualname__)
            raise
        finally:
            otel_context.detach(token)
            span.end()

    def traceparent(self) -> str | None:
        """See `spans.traceparent`."""
        return _traceparent_of(trace.get_current_span().get_span_context())


class _SdkSpan:
    """A Span around one of OpenTelemetry."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def is_recording(self) -> bool:
        return self._span.is_recording()

    @property
    def traceparent(self) -> str | None:
        return _traceparent_of(self._span.get_span_context())

    def set(self, attributes: Attributes) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(_IS_ERROR)

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()


def _context_of(traceparent: str) -> SpanContext:
    """That of a valid `traceparent` of another process."""
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _traceparent_of(context: SpanContext) -> str | None:
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
