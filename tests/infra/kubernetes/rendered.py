"""The Kubernetes objects that kustomize renders from infra/kubernetes, and who may reach whom by them."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[3]
KUBECTL = Path(sys.executable).with_name("kubectl")
Object = Mapping[str, Any]


@cache
def rendered(overlay: str) -> list[Object]:
    """Every object of an overlay, as `kubectl apply -k` would send it."""
    folder = f"infra/kubernetes/overlays/{overlay}"
    command = [str(KUBECTL), "kustomize", folder]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return list(yaml.load_all(ran.stdout, yaml.CSafeLoader))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [one for one in objects if one["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = (one for one in of_kind(objects, kind) if one["metadata"]["name"] == name)
    return found


def effective_env(objects: list[Object], workload: Object) -> dict[str, Any]:
    """The variables of a workload's container: a text, or where a secret has it."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    maps = {one["metadata"]["name"]: one["data"] for one in of_kind(objects, "ConfigMap")}
    found: dict[str, Any] = {}
    for source in container.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for variable in container.get("env", ()):
        found[variable["name"]] = _value(variable, maps)
    return found


def _value(variable: Mapping[str, Any], maps: Mapping[str, Mapping[str, str]]) -> Any:
    source = variable.get("valueFrom", {})
    if reference := source.get("configMapKeyRef"):
        return maps[reference["name"]][reference["key"]]
    return source or variable.get("value", "")


def pod_specs(objects: list[Object]) -> dict[str, Any]:
    return {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in of_kind(objects, "Deployment", "Job")
    }


@dataclass(frozen=True)
class Pod:
    """An end of a connection: a pod of the product, or of another namespace, or an address outside."""

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


def product_pods(objects: list[Object]) -> dict[str, Pod]:
    namespace = of_kind(objects, "Namespace")[0]["metadata"]["name"]
    return {
        one["metadata"]["name"]: Pod(
            namespace,
            one["spec"]["template"]["metadata"]["labels"],
            {"kubernetes.io/metadata.name": namespace},
            {
                port["name"]: port["containerPort"]
                for container in one["spec"]["template"]["spec"]["containers"]
                for port in container.get("ports", ())
            },
        )
        for one in of_kind(objects, "Deployment", "Job")
    }


def reaches(objects: list[Object], source: Pod, target: Pod, port: int) -> bool:
    """Whether the NetworkPolicies let a TCP connection through, by the rules of networking.k8s.io/v1.

    A pod that no policy of a direction selects is open in that direction.
    """
    policies = of_kind(objects, "NetworkPolicy")
    return _allowed(policies, "Egress", source, target, target, port) and _allowed(
        policies, "Ingress", target, source, target, port
    )


def _allowed(
    policies: list[Object], direction: str, subject: Pod, peer: Pod, target: Pod, port: int
) -> bool:
    mine = [
        one["spec"]
        for one in policies
        if one["metadata"]["namespace"] == subject.namespace
        and direction in one["spec"]["policyTypes"]
        and _selects(one["spec"]["podSelector"], subject.labels)
    ]
    if not mine:
        return True
    rules = [rule for spec in mine for rule in spec.get(direction.lower(), ())]
    side = "to" if direction == "Egress" else "from"
    return any(
        _peers(rule.get(side), subject, peer) and _ports(rule.get("ports"), target, port)
        for rule in rules
    )


def _peers(peers: list[Any] | None, subject: Pod, peer: Pod) -> bool:
    return peers is None or any(_is_peer(one, subject, peer) for one in peers)


def _is_peer(one: Mapping[str, Any], subject: Pod, peer: Pod) -> bool:
    if "ipBlock" in one:
        return False  # all pods have addresses of the excepted networks
    if "namespaceSelector" in one:
        if not _selects(one["namespaceSelector"], peer.namespace_labels):
            return False
    elif peer.namespace != subject.namespace:
        return False
    return _selects(one.get("podSelector", {}), peer.labels)


def _ports(ports: list[Any] | None, target: Pod, port: int) -> bool:
    return ports is None or any(
        one.get("protocol", "TCP") == "TCP"
        and target.ports.get(str(one["port"]), one["port"]) == port
        for one in ports
    )


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    equal = selector.get("matchLabels", {}).items() <= labels.items()
    expressions = selector.get("matchExpressions", ())
    assert all(one["operator"] == "In" for one in expressions), "not modelled"
    return equal and all(labels.get(one["key"]) in one["values"] for one in expressions)
