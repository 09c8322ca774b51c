"""What infra/kubernetes and the chart render is valid, restricted, and lets the services meet only in NATS."""

import json
import subprocess
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import PurePosixPath

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from services.chassis.settings import Settings as ChassisSettings
from services.metrics.settings import Settings as MetricsSettings
from services.orchestrator.settings import Settings as OrchestratorSettings
from services.persistence.settings import Settings as PersistenceSettings
from services.transport.settings import Settings as TransportSettings
from tests.infra.kubernetes.chart import chart_objects
from tests.infra.kubernetes.rendered import (
    KUBECTL,
    ROOT,
    Object,
    Pod,
    effective_env,
    named,
    of_kind,
    pod_specs,
    product_pods,
    reaches,
    rendered,
)

OVERLAYS = ("development", "production", "operators")
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


@pytest.fixture(params=(*OVERLAYS, "chart"))
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return _chart() if request.param == "chart" else rendered(request.param)


@cache
def _chart() -> list[Object]:
    """Helm takes the namespace as an argument."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mozaiks"}}
    return [namespace, *chart_objects({})]


@pytest.mark.parametrize(
    ("overlay", "version"), [("production", VERSIONS[0]), *product(OVERLAYS, VERSIONS[-1:])]
)
def test_every_object_is_valid_without_unknown_fields(overlay: str, version: str) -> None:
    for one in rendered(overlay):
        if _is_of_kubernetes(one):
            _validate(json.dumps(one), version)


def _is_of_kubernetes(one: Object) -> bool:
    group = one["apiVersion"].partition("/")[0]
    return "." not in group or group in ("networking.k8s.io", "policy")


@cache  # overlays have most objects in common
def _validate(one: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(one), version, strict=True)


def test_pods_meet_the_restricted_standard(objects: list[Object]) -> None:
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


def test_services_have_probes_and_room_to_stop(objects: list[Object]) -> None:
    for name, spec in pod_specs(objects).items():
        if name == "streams":
            continue
        (container,) = spec["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/health"
        assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = ChassisSettings.model_fields["drain_seconds"].default
        assert spec["terminationGracePeriodSeconds"] >= pause + drain + 5, name


def test_every_variable_is_a_setting_and_no_secret_stands_in_a_manifest(
    objects: list[Object],
) -> None:
    assert not of_kind(objects, "Secret")
    for workload in of_kind(objects, "Deployment", "Job"):
        name = workload["metadata"]["name"]
        known = {field.upper() for field in SETTINGS[name].model_fields}
        given = effective_env(objects, workload)
        assert given.keys() <= known | PROVIDER_KEYS, name
        for variable, value in given.items():
            if any(word in variable for word in ("KEY", "TOKEN", "PASSWORD", "URI")):
                assert variable.endswith("_FILE") or "secretKeyRef" in value, variable


def test_files_of_settings_are_in_volumes_of_secrets(objects: list[Object]) -> None:
    for workload in of_kind(objects, "Deployment", "Job"):
        spec = workload["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        volumes = {one["name"]: one for one in spec["volumes"]}
        folders = {
            one["mountPath"]: volumes[one["name"]]
            for one in container["volumeMounts"]
            if one.get("readOnly")
        }
        given = effective_env(objects, workload)
        files = [value for name, value in given.items() if name.endswith("_FILE") and value]
        assert files
        for file in files:
            volume = folders[str(PurePosixPath(file).parent)]
            assert "secret" in volume or all("secret" in s for s in volume["projected"]["sources"])


def test_each_nats_user_is_the_secret_of_one_workload(objects: list[Object]) -> None:
    for name, spec in pod_specs(objects).items():
        (nats,) = (one for one in spec["volumes"] if one["name"] == "nats")
        names = [source["secret"]["name"] for source in nats["projected"]["sources"]]
        assert names == [f"nats-{name}", "nats-ca"]


def test_a_rollout_never_has_fewer_pods_and_pods_are_spread(objects: list[Object]) -> None:
    for one in of_kind(objects, "Deployment"):
        labels = {"app.kubernetes.io/name": one["metadata"]["name"]}
        assert one["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        spread = one["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert [rule["topologyKey"] for rule in spread] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        for rule in spread:
            assert rule["labelSelector"] == {"matchLabels": labels}
            assert rule["matchLabelKeys"] == ["pod-template-hash"]
        budget = named(objects, "PodDisruptionBudget", one["metadata"]["name"])["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"] == {"matchLabels": labels}


def test_service_accounts_have_no_tokens(objects: list[Object]) -> None:
    accounts = of_kind(objects, "ServiceAccount")
    assert {one["metadata"]["name"] for one in accounts} == {*pod_specs(objects)}
    assert all(one["automountServiceAccountToken"] is False for one in accounts)
    assert not of_kind(objects, "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")


def test_streams_are_ensured_before_services_start_and_after_what_the_job_needs() -> None:
    objects = rendered("production")
    job = named(objects, "Job", "streams")
    before = [
        *of_kind(objects, "NetworkPolicy"),
        named(objects, "ServiceAccount", "streams"),
        next(one for one in of_kind(objects, "ConfigMap") if "NATS_URL" in one["data"]),
    ]
    assert job["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"
    waves = [max(map(_wave, before)), _wave(job), min(map(_wave, of_kind(objects, "Deployment")))]
    assert waves == [-2, -1, 0]


def _wave(one: Object) -> int:
    annotations = one["metadata"].get("annotations", {})
    return int(annotations.get("argocd.argoproj.io/sync-wave", 0))


def test_the_services_reach_nothing_of_each_other(objects: list[Object]) -> None:
    pods = product_pods(objects)
    ports = [port for pod in pods.values() for port in pod.ports.values()]
    for source in pods.values():
        for target in pods.values():
            for port in (*ports, 22, 443, 4222):
                assert not reaches(objects, source, target, port)


def test_every_service_reaches_nats_and_persistence_alone_mongodb(objects: list[Object]) -> None:
    pods = product_pods(objects)
    assert all(reaches(objects, pod, NATS, 4222) for pod in pods.values())
    assert not any(reaches(objects, pod, NATS, 8222) for pod in pods.values())
    to_mongodb = [name for name, pod in pods.items() if reaches(objects, pod, MONGODB, 27017)]
    assert to_mongodb == ["persistence"]


def test_the_gateway_reaches_the_transport_alone_and_strangers_nothing(
    objects: list[Object],
) -> None:
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


def test_what_reaches_the_internet_does_not_reach_the_cluster_or_its_cloud(
    objects: list[Object],
) -> None:
    blocks = [
        (policy["metadata"]["name"], peer["ipBlock"])
        for policy in of_kind(objects, "NetworkPolicy")
        for rule in policy["spec"].get("egress", ())
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert {name for name, _ in blocks} == {"orchestrator-to-internet", "transport-to-issuer"}
    for _, block in blocks:
        closed = [ip_network(one) for one in block["except"]]
        for address in ("10.0.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"):
            assert any(ip_address(address) in one for one in closed), address


def test_an_unknown_field_is_found() -> None:
    deployment = of_kind(rendered("production"), "Deployment")[0]
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_the_base_renders_alone() -> None:
    command = [str(KUBECTL), "kustomize", "infra/kubernetes/base"]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
