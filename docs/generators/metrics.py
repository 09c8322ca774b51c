"""The Metrics Reference: every Prometheus metric of every service, from the registries that they build."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from contracts.prices import PRICES
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.process.probes import Probes
from services.chassis.tracing.export import SpanCounters
from services.metrics import app as metrics
from services.metrics.metrics_state import MetricsState
from services.metrics.prometheus import MetricsCollector
from services.metrics.settings import Settings as MetricsSettings
from services.orchestrator import app as orchestrator
from services.orchestrator.runtime.chat_snapshots import ChatSnapshots
from services.orchestrator.settings import Settings as OrchestratorSettings
from services.persistence import app as persistence
from services.persistence.settings import Settings as PersistenceSettings
from services.transport import app as transport
from services.transport.settings import Settings as TransportSettings

PAGE = Path(__file__).parents[1] / "reference" / "metrics.md"
_HEAD = """# Metrics Reference

Every Prometheus metric, generated from the registries of the services. How to scrape them, and what to watch:
[Observability](../runtime/observability.md). Metrics of a process are on its page `/metrics` and never name a tenant. Metrics of the
log are on `/metrics/prometheus` of the metrics service, which asks for `METRICS_TOKEN` where that is set: they are folded from the
events, so that a restart changes nothing, and any replica of the service has them all.
"""


@dataclass(frozen=True, slots=True)
class DocumentedMetric:
    """One metric family; `name` is that of its samples, for a histogram without `_bucket`, `_sum`, `_count`."""

    name: str
    type: str
    meaning: str
    labels: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        """The names that its samples have."""
        if self.type in ("histogram", "summary"):
            buckets = (f"{self.name}_bucket",) if self.type == "histogram" else ()
            return (*buckets, f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


def registries() -> Mapping[str, CollectorRegistry]:
    """The registry of each service's process, and under `log` that of the numbers folded from the log."""
    built: dict[str, Probes] = {
        "orchestrator": orchestrator.build_app(OrchestratorSettings())[1],
        "transport": transport.build_app(TransportSettings())[1],
        "persistence": persistence.build_app(PersistenceSettings())[1],
        "metrics": metrics.build_app(MetricsSettings())[1],
    }
    for probes in built.values():
        SpanCounters(probes.registry)  # made where a receiver of traces is named
    # Made once there is a connection, of which it needs nothing here.
    ChatSnapshots(JetStreamGateway(Client()), built["orchestrator"].registry)
    log = CollectorRegistry()
    log.register(
        MetricsCollector(
            MetricsState(PRICES), metrics.now, MetricsSettings().metrics_stalled_seconds
        )
    )
    return {**{name: probes.registry for name, probes in built.items()}, "log": log}


def documented(registry: CollectorRegistry) -> Iterator[DocumentedMetric]:
    """The metrics of a registry, in the order of their names."""
    # The public way names no labels of a metric without a sample.
    for collector in registry._collector_to_names:  # noqa: SLF001
        common: Iterable[str] = getattr(collector, "_labelnames", ())
        for family in collector.collect():
            labels = tuple(getattr(family, "_labelnames", None) or common)
            suffix = "_total" if family.type == "counter" else ""
            yield DocumentedMetric(
                f"{family.name}{suffix}", family.type, family.documentation, labels
            )


def text() -> str:
    found = {service: set(documented(registry)) for service, registry in registries().items()}
    log = found.pop("log")
    shared = set.intersection(*found.values())
    lines = [_HEAD, *_table("Every process", shared)]
    for service, families in found.items():
        lines += _table(f"The process of {service}", families - shared)
    lines += _table("The log", log)
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, families: Iterable[DocumentedMetric]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| metric | type | labels | meaning |"
    yield "|---|---|---|---|"
    for one in sorted(families, key=lambda family: family.name):
        labels = ", ".join(f"`{label}`" for label in one.labels)
        meaning = one.meaning.replace("|", "\\|").removesuffix(".")
        yield f"| `{one.name}` | {one.type} | {labels} | {meaning} |"
    yield ""
