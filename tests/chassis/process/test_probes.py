import asyncio
import json
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from services.chassis.process.probes import Probes


def asked(probes: Probes, path: str) -> tuple[int, str, bytes]:
    page = probes.page(path)
    assert page is not None
    return page


def waiting_for(probes: Probes) -> dict[str, str]:
    status, _, body = asked(probes, "/ready")
    answer = json.loads(body)
    assert (status == 200) is answer["ready"] is not bool(answer["waiting_for"])
    found: dict[str, str] = answer["waiting_for"]
    return found


def test_a_process_is_not_ready_until_it_says_when_it_is() -> None:
    probes = Probes(CollectorRegistry())
    assert waiting_for(probes) == {"startup": "still starting"}
    probes.ready_when()
    assert waiting_for(probes) == {}


def test_readiness_names_every_check_that_fails_and_evaluates_them_each_time() -> None:
    trouble: dict[str, str | None] = {"nats": "NATS is unavailable", "store": None}
    probes = Probes(CollectorRegistry())
    probes.ready_when(nats=lambda: trouble["nats"], store=lambda: trouble["store"])
    assert waiting_for(probes) == {"nats": "NATS is unavailable"}
    trouble.update(nats=None, store="MongoDB is away")
    assert waiting_for(probes) == {"store": "MongoDB is away"}


def test_a_draining_process_is_alive_but_not_ready() -> None:
    probes = Probes(CollectorRegistry())
    probes.ready_when()
    probes.draining()
    assert waiting_for(probes) == {"drain": "stopping"}
    assert asked(probes, "/health")[0] == 200


def test_readiness_includes_details() -> None:
    probes = Probes(CollectorRegistry())
    probes.ready_when()
    probes.details = lambda: {"open": 3}
    assert json.loads(asked(probes, "/ready")[2])["open"] == 3


async def test_metrics_are_those_of_the_process_own_registry() -> None:
    registry = CollectorRegistry()
    Counter("seen", "Things seen.", registry=registry).inc(2)
    _, content_type, body = await Probes(registry).metrics_page()
    assert content_type.startswith("text/plain")
    assert b"seen_total 2.0" in body


async def test_many_who_ask_for_metrics_share_a_page_that_is_as_new_as_their_requests() -> None:
    counted = CountedWrites()
    probes = Probes(CollectorRegistry())
    probes.registry.register(counted)
    first = await probes.metrics_page()
    later = await asyncio.gather(*(probes.metrics_page() for _ in range(50)))
    assert counted.writes <= 3, "one for the first of them at most, and one for all others"
    assert first not in later
    assert await probes.metrics_page() not in later


class CountedWrites(Collector):
    """A metric that says how often it was collected."""

    writes = 0

    def collect(self) -> Iterator[Metric]:
        self.writes += 1
        yield CounterMetricFamily("writes", "Pages written.", value=self.writes)


def test_other_paths_are_left_to_the_app() -> None:
    assert Probes(CollectorRegistry()).page("/healthy") is None
