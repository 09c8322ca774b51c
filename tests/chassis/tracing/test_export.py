"""Export of spans: whatever the receiver does, the work goes on, and what is lost is counted."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from services.chassis.settings import Settings
from services.chassis.tracing import setup
from services.chassis.tracing.export import BoundedExport, SpanCounters
from services.chassis.tracing.sdk import SdkTracer
from services.chassis.tracing.setup import exported_traces, exporters_of
from services.chassis.tracing.spans import installed, is_on, span


class Receiver(SpanExporter):
    """Waits until it may answer, and answers as it is told."""

    def __init__(self, result: SpanExportResult | Exception) -> None:
        self.result = result
        self.may_answer = threading.Event()
        self.was_asked = threading.Event()
        self.received: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.was_asked.set()
        self.may_answer.wait(30)
        if isinstance(self.result, Exception):
            raise self.result
        self.received += [one.name for one in spans]
        return self.result

    def shutdown(self) -> None:
        self.may_answer.set()


class Export:
    """An export with a queue of four spans, in batches of two."""

    def __init__(self, receiver: Receiver) -> None:
        self.registry = CollectorRegistry()
        self.receiver = receiver
        self.queue = BoundedExport(receiver, SpanCounters(self.registry), 4, 2, 60_000.0)

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"mozaiks_spans_{name}_total", labels) or 0.0


@contextmanager
def exporting(receiver: Receiver) -> Iterator[Export]:
    export = Export(receiver)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.queue)
    with installed(SdkTracer(provider, captures_content=False)):
        yield export
    export.queue.close(30)


def work(*names: str) -> None:
    for name in names:
        with span(name):
            pass


def test_the_end_of_the_process_sends_what_waits() -> None:
    receiver = Receiver(SpanExportResult.SUCCESS)
    receiver.may_answer.set()
    with exporting(receiver) as export:
        work("a")
    assert receiver.received == ["a"]
    assert export.count("exported") == 1


def test_a_receiver_that_hangs_costs_spans_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = Receiver(SpanExportResult.SUCCESS)
    with exporting(receiver) as export:
        work("a", "b")
        assert receiver.was_asked.wait(30)  # the two are in its hands now
        work("c", "d", "e", "f")
        with caplog.at_level(logging.WARNING):
            work("too", "many", "spans")
        assert export.count("dropped", reason="queue_full") == 3
        assert caplog.messages == ["spans are dropped: the receiver of traces is too slow"]
        receiver.may_answer.set()
    assert receiver.received == ["a", "b", "c", "d", "e", "f"]
    assert export.count("exported") == 6


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, RuntimeError("broken")])
def test_a_receiver_that_takes_nothing_is_reported_once(
    result: SpanExportResult | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver(result)
    receiver.may_answer.set()
    with caplog.at_level(logging.WARNING), exporting(receiver) as export:
        work("a", "b", "c")
    assert export.count("dropped", reason="not_taken") == 3
    assert [one for one in caplog.messages if one == "traces are not exported"] == [
        "traces are not exported"
    ]


def test_the_end_of_the_process_does_not_wait_for_a_receiver_that_hangs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver = Receiver(SpanExportResult.SUCCESS)
    export = Export(receiver)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(export.queue)
    with installed(SdkTracer(provider, captures_content=False)):
        work("a")
    export.queue.close(0.01)
    assert "the last spans are not exported: there is no time left" in caplog.messages


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, set()),
        ({"otel_exporter_otlp_endpoint": "http://127.0.0.1:4318"}, {"otlp"}),
        ({"otel_exporter_otlp_traces_endpoint": "http://127.0.0.1:4318/v1/traces"}, {"otlp"}),
        ({"otel_traces_exporter": "otlp,console"}, {"otlp", "console"}),
        ({"otel_traces_exporter": "none", "otel_exporter_otlp_endpoint": "http://a"}, set()),
        ({"otel_traces_exporter": "jaeger"}, set()),
        ({"otel_traces_exporter": "otlp", "otel_sdk_disabled": "TRUE"}, set()),
        ({"otel_traces_exporter": "otlp", "otel_sdk_disabled": "no"}, {"otlp"}),
        ({"otel_traces_exporter": "otlp", "otel_exporter_otlp_protocol": "grpc"}, set()),
    ],
)
def test_the_standard_variables_say_what_is_exported(
    variables: dict[str, str], expected: set[str]
) -> None:
    assert exporters_of(Settings.model_validate(variables)) == expected


async def test_an_exporter_that_cannot_be_made_costs_no_service(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str) -> SpanExporter:
        raise ValueError(name)

    monkeypatch.setattr(setup, "_exporter", broken)
    settings = Settings(otel_traces_exporter="otlp")

    async with exported_traces(settings, "orchestrator", CollectorRegistry()):
        assert not is_on()
    assert "traces cannot be exported" in caplog.messages
