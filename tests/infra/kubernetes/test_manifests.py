"""What infra/kubernetes renders is valid, restricted, and lets the services meet only in NATS."""

import subprocess
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from services.chassis.settings import Settings as ChassisSettings
from services.metrics.settings import Settings as MetricsSettings
from services.orchestrator.settings import Settings as OrchestratorSettings
from services.persistence.settings import Settings as PersistenceSettings
from services.transport.settings import Settings as TransportSettings
from tests.infra.kubernetes.rendered import (
    KUBECTL,
    ROOT,
    Pod,
    of_kind,
    pod_specs,
    product_pods,
    reaches,
    rendered,
)

OVERLAYS = ("development", "production")
SETTINGS: dict[str, type[ChassisSettings]] = {
    "transport": TransportSettings,
    "orchestrator": OrchestratorSettings,
    "persistence": PersistenceSettings,
    "metrics": MetricsSettings,
    "streams": ChassisSettings,
}
PROVIDER_KEYS = {"OPENAI_API_KEY"}
"""Read by name, from what an agent's model needs."""
VERSIONS = ("1.33", "1.37")
NATS = Pod("nats", {"app.kubernetes.io/name": "nats"}, {"kubernetes.io/metadata.name": "nats"})
MONGODB = Pod("mongodb", {}, {"kubernetes.io/metadata.name": "mongodb"})
GATEWAY = Pod("edge", {}, {"mozaiks.dev/role": "gateway"})
SCRAPER = Pod("monitoring", {}, {"kubernetes.io/metadata.name": "monitoring"})
STRANGER = Pod("other", {"app.kubernetes.io/part-of": "mozaiks"}, {"team": "other"})


@pytest.fixture(params=OVERLAYS)
def objects(request: pytest.FixtureRequest) -> list[Any]:
    return rendered(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid_without_unknown_fields(objects: list[Any], version: str) -> None:
    for one in objects:
        if "." in one["apiVersion"].partition("/")[0] and not one["apiVersion"].startswith(
            ("networking.k8s.io/", "policy/")
        ):
            continue  # of an operator: KEDA, Prometheus, Gateway API
        kubernetes_validate.validate(one, version, strict=True)


def test_pods_meet_the_restricted_standard(objects: list[Any]) -> None:
    for name, spec in pod_specs(objects).items():
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True, name
        assert pod["runAsUser"] >= 10_000, name
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["serviceAccountName"] == name
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False, name
            assert own["readOnlyRootFilesystem"] is True, name
            assert own["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert container["resources"]["limits"].keys() == {"memory"}, name


def test_services_have_probes_and_room_to_stop(objects: list[Any]) -> None:
    for name, spec in pod_specs(objects).items():
        if name == "streams":
            continue
        (container,) = spec["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = ChassisSettings.model_fields["drain_seconds"].default
        assert spec["terminationGracePeriodSeconds"] >= pause + drain + 5, name


def test_every_variable_is_a_setting_and_no_secret_stands_in_a_manifest(objects: list[Any]) -> None:
    shared = {one["metadata"]["name"]: set(one["data"]) for one in of_kind(objects, "ConfigMap")}
    assert not of_kind(objects, "Secret")
    for name, spec in pod_specs(objects).items():
        known = {field.upper() for field in SETTINGS[name].model_fields}
        (container,) = spec["containers"]
        given = {one["name"]: one for one in container["env"]}
        from_maps = set().union(
            *(shared[source["configMapRef"]["name"]] for source in container["envFrom"])
        )
        assert given.keys() | from_maps <= known | PROVIDER_KEYS, name
        for variable, one in given.items():
            if any(word in variable for word in ("KEY", "TOKEN", "PASSWORD", "URI")):
                is_file = variable.endswith("_FILE")
                assert is_file or "secretKeyRef" in one["valueFrom"], variable


def test_the_services_reach_nothing_of_each_other(objects: list[Any]) -> None:
    pods = product_pods(objects)
    ports = [port for pod in pods.values() for port in pod.ports.values()]
    for source in pods.values():
        for target in pods.values():
            for port in (*ports, 22, 443, 4222):
                assert not reaches(objects, source, target, port)


def test_every_service_reaches_nats_and_persistence_alone_mongodb(objects: list[Any]) -> None:
    pods = product_pods(objects)
    assert all(reaches(objects, pod, NATS, 4222) for pod in pods.values())
    assert not any(reaches(objects, pod, NATS, 8222) for pod in pods.values())
    to_mongodb = [name for name, pod in pods.items() if reaches(objects, pod, MONGODB, 27017)]
    assert to_mongodb == ["persistence"]


def test_the_gateway_reaches_the_transport_alone_and_strangers_nothing(objects: list[Any]) -> None:
    pods = product_pods(objects)
    open_to = {
        source: [
            name
            for name, pod in pods.items()
            if any(reaches(objects, one, pod, port) for port in pod.ports.values())
        ]
        for source, one in {"gateway": GATEWAY, "scraper": SCRAPER, "stranger": STRANGER}.items()
    }
    assert open_to["gateway"] == ["transport"]
    assert sorted(open_to["scraper"]) == ["metrics", "orchestrator", "persistence", "transport"]
    assert open_to["stranger"] == []


def test_orchestrators_are_scaled_before_they_are_full() -> None:
    (scaled,) = of_kind(rendered("production"), "ScaledObject")
    (trigger,) = scaled["spec"]["triggers"]
    slots = OrchestratorSettings.model_fields["max_concurrent_chats"].default
    assert float(trigger["metadata"]["lagThreshold"]) == 0.75 * slots
    assert trigger["metadata"]["stream"] == "COMMANDS"
    assert scaled["spec"]["minReplicaCount"] >= 2


def test_an_unknown_field_is_found() -> None:
    deployment = of_kind(rendered("production"), "Deployment")[0]
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_base_renders_alone() -> None:
    command = [str(KUBECTL), "kustomize", "infra/kubernetes/base"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
