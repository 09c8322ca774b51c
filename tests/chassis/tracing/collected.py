"""Spans that are collected in memory instead of being exported."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from services.chassis.tracing.sdk import SdkTracer
from services.chassis.tracing.spans import installed


class Collected:
    """The spans that have ended so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def spans(self) -> list[ReadableSpan]:
        """In the order in which they ended."""
        return list(self._exporter.get_finished_spans())

    def named(self, start: str) -> list[ReadableSpan]:
        """Those whose name begins so, in the order in which they began."""
        found = [one for one in self.spans if one.name.startswith(start)]
        return sorted(found, key=lambda one: one.start_time or 0)

    def children(self, parent: ReadableSpan) -> list[str]:
        """The names of a span's children, in the order in which they began."""
        found = [one for one in self.spans if one.parent and is_of(one, parent)]
        return [one.name for one in sorted(found, key=lambda one: one.start_time or 0)]


def is_of(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether a span is a child of another one."""
    assert parent.context is not None
    return span.parent is not None and span.parent.span_id == parent.context.span_id


def traceparent_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return _traceparent(span.context)


def links_of(span: ReadableSpan) -> list[str]:
    return [_traceparent(one.context) for one in span.links]


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def collecting(*, captures_content: bool = False) -> Iterator[Collected]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with installed(SdkTracer(provider, captures_content=captures_content)):
        yield Collected(exporter)
    provider.shutdown()
