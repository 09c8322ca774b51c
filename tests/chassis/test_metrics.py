import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from prometheus_client import CollectorRegistry, generate_latest

from services.chassis.metrics import OTHER, RELEASE, LabelCap, ProcessMetrics, seconds_since
from tests.chassis.keys import authority
from tests.story import NOON

ROOT = Path(__file__).parents[2]


class Connection:
    def __init__(self) -> None:
        self.stats = {"reconnects": 2, "in_msgs": 7, "out_msgs": 5, "in_bytes": 70, "out_bytes": 50}
        self.is_connected, self.is_deaf, self.times_deaf = True, False, 0


class Delivered(NamedTuple):
    num_delivered: int
    timestamp: datetime = NOON


def value(metrics: ProcessMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def fresh() -> ProcessMetrics:
    return ProcessMetrics(CollectorRegistry())


def test_the_release_is_that_of_the_manifests() -> None:
    for manifest in ROOT.glob("services/*/pyproject.toml"):
        assert tomllib.loads(manifest.read_text())["project"]["version"] == RELEASE


def test_a_client_cannot_make_series_by_what_it_sends() -> None:
    metrics = fresh()
    for number in range(500):
        metrics.observe_request(f"VERB{number}", "", 404, 0.001)
    assert value(
        metrics,
        "mozaiks_http_request_duration_seconds_count",
        method=OTHER,
        route="unmatched",
        status="404",
    ) == float(500)
    assert generate_latest(metrics.registry).count(b"http_request_duration_seconds_count") == 1


def test_a_capped_label_has_so_many_values_and_one_for_all_others() -> None:
    cap = LabelCap(3)
    given = [cap(f"model-{number}") for number in range(10)]
    assert given == ["model-0", "model-1", "model-2", *[OTHER] * 7]
    assert (cap("model-1"), cap(None)) == ("model-1", OTHER)
    assert LabelCap(1)(None) == "unknown"


def test_the_connection_is_read_at_each_scrape() -> None:
    metrics, connection = fresh(), Connection()
    assert value(metrics, "mozaiks_nats_connected") == 0
    metrics.nats.watch(connection)
    assert value(metrics, "mozaiks_nats_connected") == 1
    assert value(metrics, "mozaiks_nats_reconnects_total") == 2
    connection.is_deaf, connection.times_deaf = True, 1
    assert value(metrics, "mozaiks_nats_deaf") == 1
    assert value(metrics, "mozaiks_nats_times_deaf_total") == 1


def test_a_stream_that_stored_nothing_is_shown_until_the_process_ends() -> None:
    metrics, full = fresh(), {"EVENTS"}
    metrics.health.unwritable = lambda: full
    assert value(metrics, "mozaiks_stream_unwritable", stream="EVENTS") == 1
    full.clear()
    assert value(metrics, "mozaiks_stream_unwritable", stream="EVENTS") == 0


def test_a_failing_check_is_shown_by_name() -> None:
    metrics = fresh()
    metrics.health.checks = lambda: {"nats": lambda: None, "streams": lambda: "EVENTS is missing"}
    assert value(metrics, "mozaiks_ready") == 0
    assert value(metrics, "mozaiks_check_failing", check="streams") == 1
    assert value(metrics, "mozaiks_check_failing", check="nats") == 0


def test_only_the_first_delivery_of_a_message_counts_as_its_wait() -> None:
    metrics = fresh()
    for attempt in (1, 2):
        with metrics.handling("orchestrator", Delivered(attempt)):
            assert value(metrics, "mozaiks_queue_slots_used", queue="orchestrator") == 1
    assert value(metrics, "mozaiks_queue_slots_used", queue="orchestrator") == 0
    assert value(metrics, "mozaiks_queue_wait_seconds_count", queue="orchestrator") == 1
    assert value(metrics, "mozaiks_queue_run_seconds_count", queue="orchestrator") == 2


def test_time_since_then_grows_with_the_distance() -> None:
    assert seconds_since(NOON) < seconds_since(NOON - timedelta(seconds=1))


def test_the_first_expiry_of_a_file_of_certificates_is_shown(tmp_path: Path) -> None:
    metrics = fresh()
    own = authority(tmp_path, "own")
    whole, broken = tmp_path / "whole.pem", tmp_path / "broken.pem"
    certificate = own.issue("a.example")[0].read_bytes()
    whole.write_bytes(certificate + own.ca.read_bytes())
    broken.write_text("no certificate")
    expiries = [
        one.not_valid_after_utc for one in x509.load_pem_x509_certificates(whole.read_bytes())
    ]
    gone = tmp_path / "gone.pem"
    metrics.health.certificates = {"WHOLE": whole, "BROKEN": broken, "GONE": gone}
    name = "mozaiks_certificate_expiry_timestamp_seconds"
    assert value(metrics, name, file="WHOLE") == min(expiries).timestamp()
    assert value(metrics, name, file="BROKEN") == 0
    assert value(metrics, name, file="GONE") == 0
