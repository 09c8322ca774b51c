"""What is wrong with objects of KEDA, the Prometheus Operator and the Gateway API, by their own schemas."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from infra import npm
from tests.conftest import missing
from tests.infra.kubernetes.rendered import Object

PACKAGES = {
    "gateway.networking.k8s.io": "gateway-api",
    "keda.sh": "keda",
    "monitoring.coreos.com": "prometheus-operator",
}
_SCRIPT = Path(__file__).parent / "crd_validator" / "validate.mjs"
_FREE = {"annotations", "labels", "matchLabels", "metadata", "podTargetLabels"}
"""Fields whose own fields have no names in a schema."""


def has_schema(one: Object) -> bool:
    return _group(one) in PACKAGES


def problems(objects: Sequence[Object]) -> list[list[str]]:
    """For each object what its schema refuses, and the fields that its schema does not have."""
    home, node = npm.find(npm.CRDS), shutil.which("node")
    if home is None or node is None:
        missing(
            "the schemas of custom resources are not installed: python -m infra.npm crds says why"
        )
    ran = subprocess.run(
        [node, _SCRIPT, home], input=json.dumps(objects), capture_output=True, text=True, check=True
    )
    refused: list[list[str]] = json.loads(ran.stdout)
    return [
        [*found, *(f"unknown field {name}" for name in _unknown(one, home))]
        for one, found in zip(objects, refused, strict=True)
    ]


def _unknown(one: Object, home: Path) -> list[str]:
    """The API server drops such fields without an error: a misspelt one would have no effect."""
    return sorted(set(_fields(one["spec"])) - _field_names(home, _group(one)))


def _group(one: Object) -> str:
    return str(one["apiVersion"].partition("/")[0])


@cache
def _field_names(home: Path, group: str) -> frozenset[str]:
    """Every name in the type declarations of a group, and of what it takes from Kubernetes itself."""
    models = home / "node_modules"
    kubernetes = models / "kubernetes-models"
    folders = [
        models / "@kubernetes-models" / PACKAGES[group] / group,
        kubernetes / "autoscaling" / "v2",
        kubernetes / "v1",
        models / "@kubernetes-models" / "apimachinery",
    ]
    texts = (file.read_text() for folder in folders for file in folder.rglob("*.d.ts"))
    return frozenset(
        name for text in texts for name in re.findall(r'^\s+"(\w+)"\??:', text, re.MULTILINE)
    )


def _fields(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from value
        for name, inner in value.items():
            if name not in _FREE:
                yield from _fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _fields(inner)
