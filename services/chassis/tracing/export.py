"""Export of spans, which never slows or stops the work that they are about.

Spans wait in a queue of limited length, and a thread of its own sends them. Those for which there is no
room, and those that the receiver does not take, are dropped and counted; the log says why, once in a
while. The end of the process waits for the last ones, for a limited time.
"""

import logging
import threading
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter

from services.chassis.logs.repeats import RateLimitedLog

log = logging.getLogger(__name__)


class SpanCounters:
    """How many spans of this process were sent, and how many were not."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exported = Counter(
            "mozaiks_spans_exported", "Spans that the receiver of traces took.", registry=registry
        )
        self.dropped = Counter(
            "mozaiks_spans_dropped",
            "Spans that were not sent: queue_full, or the receiver did not take them: not_taken.",
            ["reason"],
            registry=registry,
        )


class CountingExporter(SpanExporter):
    """Counts what another exporter sends; whatever it raises stays here."""

    def __init__(self, inner: SpanExporter, counters: SpanCounters) -> None:
        self._inner = inner
        self._counters = counters
        self._log = RateLimitedLog(log)
        self.taken = 0
        """How many spans were taken out of the queue."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        try:
            result = self._inner.export(spans)
        except Exception as error:  # noqa: BLE001  whatever an exporter raises, the work goes on
            self._log.warning("traces are not exported", why=repr(error))
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self._counters.exported.inc(len(spans))
        else:
            self._counters.dropped.labels("not_taken").inc(len(spans))
            self._log.warning("traces are not exported")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class BoundedExport(SpanProcessor):
    """A queue of spans that have ended, and the thread that sends them."""

    def __init__(
        self,
        exporter: SpanExporter,
        counters: SpanCounters,
        queue_size: int,
        batch_size: int,
        delay_milliseconds: float,
    ) -> None:
        """Spans are sent in batches of this size, and wait for this long until one is full."""
        self._counters = counters
        self._exporter = CountingExporter(exporter, counters)
        self._queue_size = queue_size
        self._put = 0
        self._lock = threading.Lock()
        self._log = RateLimitedLog(log)
        self._batches = BatchSpanProcessor(
            self._exporter,
            max_queue_size=2 * queue_size,  # never reached: it would drop without being counted
            max_export_batch_size=min(batch_size, queue_size),
            schedule_delay_millis=delay_milliseconds,
        )

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing is to be done at the start."""

    def on_end(self, span: ReadableSpan) -> None:
        """Put the span into the queue, unless it is full."""
        if not (span.context and span.context.trace_flags.sampled):
            return
        with self._lock:
            has_room = self._put - self._exporter.taken < self._queue_size
            self._put += has_room
        if has_room:
            self._batches.on_end(span)
            return
        self._counters.dropped.labels("queue_full").inc()
        self._log.warning("spans are dropped: the receiver of traces is too slow")

    def close(self, seconds: float) -> None:
        """Send what waits, for this long at the most."""
        closing = threading.Thread(target=self._batches.shutdown, name="close traces", daemon=True)
        closing.start()
        closing.join(seconds)
        if closing.is_alive():
            self._log.warning("the last spans are not exported: there is no time left")
            self._exporter.shutdown()  # ends the pause before another attempt


class OpenTelemetryLog(logging.Handler):
    """What OpenTelemetry logs, as one rate-limited line: it would log each batch that fails."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log = RateLimitedLog(log)

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning("OpenTelemetry reports a problem", why=record.getMessage()[:500])


def log_rate_limited() -> None:
    """Have OpenTelemetry's own warnings logged as one line in a while."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers = [OpenTelemetryLog()]
