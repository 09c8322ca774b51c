"""Starts the export of traces where the environment asks for it, by OpenTelemetry's standard variables."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from contracts.ids import new_process_id
from services.chassis.settings import Settings, comma_separated
from services.chassis.tracing.spans import installed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from services.chassis.tracing.export import BoundedExport

log = logging.getLogger(__name__)

CLOSE_SECONDS = 2.0
"""How long the end of a process waits for its last spans, and a quarter of DRAIN_SECONDS at the most."""
NAMESPACE = "mozaiks"
_PROTOCOL = "http/protobuf"
_CONTENT = {"true", "span_only", "span_and_event"}


def exporters_of(settings: Settings) -> frozenset[str]:
    """The exporters that the environment asks for: of `otlp` and `console`; none by default.

    What is not known is logged and ignored, as OpenTelemetry's specification has it.
    """
    if (settings.otel_sdk_disabled or "").strip().lower() == "true":
        return frozenset()
    has_endpoint = (
        settings.otel_exporter_otlp_endpoint or settings.otel_exporter_otlp_traces_endpoint
    )
    wanted = comma_separated(settings.otel_traces_exporter or ("otlp" if has_endpoint else ""))
    for unknown in sorted(wanted - {"otlp", "console", "none"}):
        log.warning("OTEL_TRACES_EXPORTER: expected otlp, console or none", extra={"got": unknown})
    protocol = settings.otel_exporter_otlp_protocol
    if "otlp" in wanted and protocol not in (None, _PROTOCOL):
        fields = {"got": protocol, "supported": _PROTOCOL}
        log.warning("OTEL_EXPORTER_OTLP_PROTOCOL: not supported, no traces", extra=fields)
        wanted -= {"otlp"}
    return wanted & {"otlp", "console"}


@asynccontextmanager
async def exported_traces(
    settings: Settings, service: str, registry: CollectorRegistry
) -> AsyncIterator[None]:
    """Export the spans of this process, if the environment asks for it, and the last ones at the end."""
    wanted = exporters_of(settings)
    async with AsyncExitStack() as stack:
        if wanted:
            try:
                await _start(stack, wanted, settings, service, registry)
            except Exception as error:  # noqa: BLE001  no exporter is worth a service
                log.error("traces cannot be exported", extra={"why": repr(error)})  # noqa: TRY400
        yield


async def _start(
    stack: AsyncExitStack,
    wanted: frozenset[str],
    settings: Settings,
    service: str,
    registry: CollectorRegistry,
) -> None:
    # Only here: without traces no process needs the memory and time of these.
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider

    from services.chassis.tracing.export import BoundedExport, SpanCounters, log_rate_limited
    from services.chassis.tracing.sdk import SdkTracer

    own = {
        "service.name": service,
        "service.namespace": NAMESPACE,
        "service.instance.id": new_process_id(),
    }
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say counts more.
    resource = Resource.create(own).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    log_rate_limited()
    counters = SpanCounters(registry)
    for name in sorted(wanted):
        export = BoundedExport(
            _exporter(name),
            counters,
            settings.otel_bsp_max_queue_size,
            settings.otel_bsp_max_export_batch_size,
            settings.otel_bsp_schedule_delay,
        )
        provider.add_span_processor(export)
        stack.push_async_callback(_close, export, min(CLOSE_SECONDS, settings.drain_seconds / 4))
    content = (settings.otel_instrumentation_genai_capture_message_content or "").strip().lower()
    stack.enter_context(installed(SdkTracer(provider, captures_content=content in _CONTENT)))
    log.info("traces are exported", extra={"exporters": sorted(wanted)})


async def _close(export: "BoundedExport", seconds: float) -> None:
    await asyncio.to_thread(export.close, seconds)


def _exporter(name: str) -> "SpanExporter":
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
