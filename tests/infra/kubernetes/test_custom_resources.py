"""The objects of operators, by their own schemas, and the numbers in them that follow from settings."""

import copy
import re
from fractions import Fraction

import pytest

from services.chassis.settings import Settings as ChassisSettings
from services.orchestrator.app import command_queue
from services.orchestrator.settings import Settings as OrchestratorSettings
from services.transport.app import socket_options
from services.transport.settings import Settings as TransportSettings
from tests.infra.kubernetes import crds
from tests.infra.kubernetes.rendered import ROOT, Object, effective_env, named, of_kind, rendered

SHARE = Fraction(3, 4)
"""Of the room of a pod that may be used before another pod is started."""


@pytest.fixture(scope="module", params=["production", "operators"])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return rendered(request.param)


def test_every_object_of_an_operator_is_what_its_schema_accepts(objects: list[Object]) -> None:
    custom = [one for one in objects if crds.has_schema(one)]
    assert {one["kind"] for one in custom} >= {"ScaledObject", "PodMonitor", "PrometheusRule"}
    assert of_kind(objects, "Ingress", "HTTPRoute")
    assert crds.problems(custom) == [[] for _ in custom]


def test_wrong_types_and_misspelt_fields_are_found() -> None:
    scaled = copy.deepcopy(dict(named(rendered("production"), "ScaledObject", "transport")))
    scaled["spec"]["minReplicaCount"] = "2"
    scaled["spec"]["poolingInterval"] = 5
    (found,) = crds.problems([scaled])
    assert found == [
        "/spec/minReplicaCount must be integer",
        "unknown field poolingInterval",
    ]


ROOMS: dict[tuple[str, str], tuple[str, type[ChassisSettings]]] = {
    ("orchestrator", "nats-jetstream"): ("MAX_OPEN_CHATS", OrchestratorSettings),
    ("orchestrator", "prometheus"): ("MAX_CONCURRENT_CHATS", OrchestratorSettings),
    ("transport", "prometheus"): ("MAX_VIEWERS", TransportSettings),
}
"""The setting of how much one pod takes, by service and by who knows how much there is."""


@pytest.mark.parametrize("service", ["orchestrator", "transport"])
def test_pods_are_added_at_three_quarters_of_their_room(
    objects: list[Object], service: str
) -> None:
    scaled = named(objects, "ScaledObject", service)["spec"]
    deployment = named(objects, "Deployment", service)
    given = effective_env(objects, deployment)
    for trigger in scaled["triggers"]:
        variable, settings = ROOMS[service, trigger["type"]]
        assert variable.lower() in settings.model_fields
        metadata = trigger["metadata"]
        threshold = metadata.get("lagThreshold", metadata.get("threshold"))
        assert threshold == str(SHARE * int(given[variable]))
        assert trigger["metricType"] == "AverageValue"
    assert {trigger["type"] for trigger in scaled["triggers"]} == {
        kind for name, kind in ROOMS if name == service
    }
    assert scaled["scaleTargetRef"]["name"] == service
    assert scaled["minReplicaCount"] >= 2
    assert "replicas" not in deployment["spec"]


def test_scaling_asks_for_a_consumer_and_metrics_that_there_are(objects: list[Object]) -> None:
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    for scaled in of_kind(objects, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            asked = trigger["metadata"]
            if trigger["type"] == "nats-jetstream":
                queue = command_queue(OrchestratorSettings())
                assert (asked["stream"], asked["consumer"]) == (queue.stream, queue.durable)
            else:
                metrics = re.findall(r"mozaiks_\w+", asked["query"])
                assert metrics
                assert all(f"| `{name}` | gauge |" in reference for name in metrics)


def test_sockets_outlive_the_pauses_between_their_pings(objects: list[Object]) -> None:
    ping = socket_options(TransportSettings())["ws_ping_interval"]
    for ingress in of_kind(objects, "Ingress"):
        set_to = ingress["metadata"]["annotations"]
        for direction in ("read", "send"):
            limit = set_to[f"nginx.ingress.kubernetes.io/proxy-{direction}-timeout"]
            assert int(limit) > 10 * ping
    for route in of_kind(objects, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            assert set(rule["timeouts"].values()) == {"0s"}  # none


def test_files_of_the_allowed_size_pass_the_ingress(objects: list[Object]) -> None:
    largest = TransportSettings.model_fields["upload_max_bytes"].default
    for ingress in of_kind(objects, "Ingress"):
        limit = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
        assert limit.endswith("m")
        assert largest < int(limit[:-1]) * 2**20 < 2 * largest


def test_the_public_address_is_a_host_that_the_transport_accepts(objects: list[Object]) -> None:
    accepted = effective_env(objects, named(objects, "Deployment", "transport"))["ALLOWED_HOSTS"]
    for ingress in of_kind(objects, "Ingress"):
        assert [rule["host"] for rule in ingress["spec"]["rules"]] == [accepted]
        assert [tls["hosts"] for tls in ingress["spec"]["tls"]] == [[accepted]]
    for route in of_kind(objects, "HTTPRoute"):
        assert route["spec"]["hostnames"] == [accepted]


def test_prometheus_is_told_to_read_every_pod_once(objects: list[Object]) -> None:
    monitors = of_kind(objects, "PodMonitor")
    pages = {
        one["metadata"]["name"]: one["spec"]["podMetricsEndpoints"][0]["path"] for one in monitors
    }
    assert pages == {"mozaiks": "/metrics", "mozaiks-log": "/metrics/prometheus"}
    for monitor in monitors:
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        selected = [
            one["metadata"]["name"]
            for one in of_kind(objects, "Deployment")
            if wanted <= one["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(selected) == (4 if monitor["metadata"]["name"] == "mozaiks" else 1)
