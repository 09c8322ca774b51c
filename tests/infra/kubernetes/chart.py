"""The objects of the Helm chart, and of kustomize, in a form that does not depend on the tool."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.conftest import missing
from tests.infra.kubernetes.rendered import ROOT, Object, effective_env, of_kind

CHART = ROOT / "infra" / "helm" / "mozaiks"
_TOOLS = ("argocd.argoproj.io/", "kustomize.toolkit.fluxcd.io/", "helm.sh/", "checksum/")
"""Annotations by which a tool puts things in their order."""
_HASH = re.compile(r"-[a-z0-9]{10}$")


def helm() -> Any:
    """Helm itself, as a library."""
    try:
        from helm_python import chart
    except ImportError:
        missing("helm-python-sdk is not installed, which there is for Linux on x86-64")
    return chart


def refusal() -> type[Exception]:
    """What Helm raises for values that the chart's schema does not accept."""
    helm()
    from helm_python.errors import HelmValuesError

    return HelmValuesError


def values_of(example: str | None) -> dict[str, Any]:
    """The values of an example; without one, the defaults of the chart."""
    text = "" if example is None else (CHART / "examples" / f"{example}.yaml").read_text()
    return yaml.safe_load(text) or {}


def chart_objects(
    values: Mapping[str, Any], namespace: str = "mozaiks", path: Path = CHART
) -> list[Object]:
    """What `helm install` sends, hooks included. Raises `refusal`."""
    with helm().Chart.load(path) as chart:
        chart.validate_schema(values)
        texts = chart.render(values, name="mozaiks", namespace=namespace)
    pages = (text for name, text in sorted(texts.items()) if name.endswith(".yaml"))
    return [one for page in pages for one in yaml.load_all(page, yaml.CSafeLoader) if one]


def comparable(objects: list[Object]) -> dict[tuple[str, str], Any]:
    """Each object by kind and name.

    Without what only a tool needs: namespaces, which Helm does not create, and annotations. Variables
    are as a process has them, for the Job has the settings itself where it is a hook of Helm. The names of
    ConfigMaps are without kustomize's hash.
    """
    found: dict[tuple[str, str], Any] = {}
    for one in objects:
        if one["kind"] == "Namespace":
            continue
        plain = copy.deepcopy(dict(one))
        if one in of_kind(objects, "Deployment", "Job"):
            template = plain["spec"]["template"]
            (container,) = template["spec"]["containers"]
            container.pop("envFrom", None)
            container["env"] = effective_env(objects, one)
            _drop_annotations(template["metadata"])
        _drop_annotations(plain["metadata"])
        if one["kind"] == "ConfigMap":
            plain["metadata"]["name"] = _HASH.sub("", one["metadata"]["name"])
        found[one["kind"], plain["metadata"]["name"]] = plain
    return found


def _drop_annotations(metadata: dict[str, Any]) -> None:
    kept = {k: v for k, v in metadata.pop("annotations", {}).items() if not k.startswith(_TOOLS)}
    if kept:
        metadata["annotations"] = kept
