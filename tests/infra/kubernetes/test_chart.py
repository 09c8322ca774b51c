"""The Helm chart renders what kustomize renders, and refuses values that are wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.infra.kubernetes.chart import (
    CHART,
    chart_objects,
    comparable,
    helm,
    refusal,
    values_of,
)
from tests.infra.kubernetes.rendered import Object, named, of_kind, rendered


def test_helm_finds_nothing_wrong_with_the_chart() -> None:
    for example in (None, "development", "operators"):
        report = helm().lint(CHART, values_of(example), strict=True)
        worse_than_info = [one for one in report["messages"] if one["severity"] > 1]
        assert (report["total_charts_linted"], report["errors"], worse_than_info) == (1, [], [])


@pytest.mark.parametrize(
    ("overlay", "example", "namespace"),
    [
        ("production", None, "mozaiks"),
        ("operators", "operators", "mozaiks"),
        ("development", "development", "mozaiks-dev"),
    ],
)
def test_the_chart_renders_each_object_of_the_overlay(
    overlay: str, example: str | None, namespace: str
) -> None:
    by_kustomize = comparable(rendered(overlay))
    by_helm = comparable(chart_objects(values_of(example), namespace))
    assert by_helm.keys() == by_kustomize.keys()
    for name, wanted in by_kustomize.items():
        assert by_helm[name] == wanted, name


def test_streams_are_ensured_before_a_release_by_what_needs_nothing_of_it() -> None:
    objects = chart_objects({})
    hooks = [one for one in objects if "helm.sh/hook" in annotations(one)]
    assert sorted(one["kind"] for one in hooks) == ["Job", "ServiceAccount"]
    for one in hooks:
        assert annotations(one)["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert annotations(one)["helm.sh/hook-delete-policy"] == "before-hook-creation"
    weights = {one["kind"]: int(annotations(one)["helm.sh/hook-weight"]) for one in hooks}
    assert weights["ServiceAccount"] < weights["Job"]
    (container,) = named(objects, "Job", "streams")["spec"]["template"]["spec"]["containers"]
    assert "envFrom" not in container


def annotations(one: Object) -> dict[str, str]:
    return one["metadata"].get("annotations") or {}


def test_changed_settings_replace_the_pods() -> None:
    def checksum(values: dict[str, Any]) -> str:
        deployment = named(chart_objects(values), "Deployment", "metrics")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({"services": {"metrics": {"replicas": 2}}})
    assert checksum({}) != checksum({"config": {"LOG_LEVEL": "DEBUG"}})


def test_thresholds_follow_the_slots_and_viewers_of_the_values() -> None:
    services = {"orchestrator": {"slots": 200, "openChats": 400}, "transport": {"maxViewers": 1000}}
    objects = chart_objects({"services": services})
    thresholds = {
        one["metadata"]["name"]: {
            trigger["metadata"].get("lagThreshold", trigger["metadata"].get("threshold"))
            for trigger in one["spec"]["triggers"]
        }
        for one in of_kind(objects, "ScaledObject")
    }
    assert thresholds == {"orchestrator": {"300", "150"}, "transport": {"750"}}


def test_a_service_has_its_own_settings_and_secrets() -> None:
    secret = {"secretKeyRef": {"name": "model-provider", "key": "anthropic"}}
    env = {"ANTHROPIC_API_KEY": secret, "MODEL_MAX_RETRIES": 2}
    objects = chart_objects({"services": {"orchestrator": {"env": env}}})
    (container,) = named(objects, "Deployment", "orchestrator")["spec"]["template"]["spec"][
        "containers"
    ]
    assert {"name": "ANTHROPIC_API_KEY", "valueFrom": secret} in container["env"]
    assert {"name": "MODEL_MAX_RETRIES", "value": "2"} in container["env"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"image": {"registrry": "x"}}, "registrry"),
    ({"host": "https://chat.example"}, "host"),
    ({"authentication": {"issuer": "http://issuer.example"}}, "issuer"),
    ({"authentication": {"issuer": ""}}, "allowInsecure"),
    ({"nats": {"url": "nats.nats.svc"}}, "url"),
    ({"streams": {"manager": "terraform"}}, "manager"),
    ({"streams": {"replicas": 2}}, "replicas"),
    ({"streams": {"events": 3}}, "events"),
    ({"streams": {"manager": "nack", "events": 4}}, "events"),
    ({"services": {"transport": {"replicas": 0}}}, "replicas"),
    ({"services": {"orchestrator": {"slots": "many"}}}, "slots"),
    ({"services": {"orchestrator": {"env": {"lower": "x"}}}}, "lower"),
    ({"services": {"orchestrator": {"terminationGracePeriodSeconds": 5}}}, "Grace"),
    ({"services": {"billing": {}}}, "billing"),
    ({"config": {"STREAM_REPLICAS": 3}}, "STREAM_REPLICAS"),
    ({"networkPolicy": {"closedNetworks": []}}, "closedNetworks"),
]


@pytest.mark.parametrize(("values", "named_in_error"), WRONG)
def test_wrong_values_are_refused_by_name(values: dict[str, Any], named_in_error: str) -> None:
    with pytest.raises(refusal(), match=named_in_error):
        chart_objects(values)


def test_every_value_is_described_and_no_other_is_accepted() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    with helm().Chart.load(CHART) as chart:
        defaults = chart.values
    described = dict(walk(schema))
    for path in leaves(defaults, described):
        assert described.get(path), f"{'.'.join(path)} has no description"


def walk(
    schema: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    yield path, schema.get("description", "")
    if "properties" in schema and path[-1:] != ("resources",):
        assert schema["additionalProperties"] is False, path
        for name, inner in schema["properties"].items():
            yield from walk(inner, (*path, name))


def leaves(
    values: Any, described: dict[tuple[str, ...], str], path: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The values that the schema has names for; maps of the user's own are one value."""
    if isinstance(values, dict) and any(one[:-1] == path for one in described if one):
        for name, inner in values.items():
            yield from leaves(inner, described, (*path, name))
    else:
        yield path
