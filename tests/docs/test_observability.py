"""infra/observability: rules, dashboards and runbook speak of what exists, and each alert is tested."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from docs.generators import dashboards, metrics, prometheus_rule
from docs.generators.pages import ROOT, Page
from infra.prometheus import Prometheus

FOLDER = ROOT / "infra" / "observability"
RUNBOOK = ROOT / "docs" / "operations" / "runbook.md"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(prometheus_rule.RULES.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule["alert"] for rule in RULES]
NAME = re.compile(r"\b(?:mozaiks|gen_ai|process)_[a-z0-9_]+\b")
SELECTOR = re.compile(r"\{([^{}]*)\}")
LABEL = re.compile(r"\b([a-z_]+)\s*(?:=~|!~|!=|=)")
PARTS = ("**What it means.**", "**How to look.**", "**How to mend.**")


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The labels of each series, by its name."""
    found: dict[str, set[str]] = {}
    for registry in metrics.registries().values():
        for family in metrics.documented(registry):
            for name in family.series:
                found.setdefault(name, set()).update(family.labels)
    return found


def expressions() -> list[str]:
    return [rule["expr"] for rule in RULES] + dashboards.expressions()


def without_labels(expression: str) -> str:
    """The expression without its selectors and groupings, whose words are labels."""
    bare = SELECTOR.sub("", expression)
    return re.sub(r"\b(by|without|on)\s*\([^)]*\)", "", bare)


def test_every_metric_in_an_alert_or_a_dashboard_exists(known: dict[str, set[str]]) -> None:
    named = {name for one in expressions() for name in NAME.findall(without_labels(one))}
    assert len(named) > 40
    assert named - known.keys() == set()


def test_every_label_that_is_selected_exists(known: dict[str, set[str]]) -> None:
    for expression in expressions():
        for name, selector in re.findall(r"\b([a-z_]+)\{([^{}]*)\}", expression):
            if name != "up":
                assert set(LABEL.findall(selector)) <= known[name], expression


def test_alerts_and_their_tests_pass_promtool(prometheus: Prometheus) -> None:
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        ran = subprocess.run(
            [prometheus.promtool, *arguments],
            cwd=FOLDER,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_has_a_test_in_which_it_fires() -> None:
    tests = yaml.safe_load((FOLDER / "tests.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert set(ALERTS) == fired


def test_every_alert_has_its_section_of_the_runbook() -> None:
    text = RUNBOOK.read_text()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(sections) == ALERTS
    for name, section in sections.items():
        assert [section.count(part) for part in PARTS] == [1, 1, 1], name


def test_metrics_that_the_runbook_names_exist(known: dict[str, set[str]]) -> None:
    page = Page(str(RUNBOOK), RUNBOOK.read_text())
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known} | known.keys()
    assert [one for one in page.inline if NAME.fullmatch(one) and one not in families] == []


def test_dashboards_are_what_grafana_reads() -> None:
    for file in sorted((FOLDER / "dashboards").glob("*.json")):
        document = json.loads(file.read_text())
        assert document["uid"] == f"mozaiks-{file.stem}"
        for panel in document["panels"]:
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= dashboards.WIDTH
            assert panel["targets"], panel["title"]
    assert {path.name for path in dashboards.pages()} == {
        path.name for path in (FOLDER / "dashboards").iterdir()
    }


def test_queries_of_dashboards_are_valid(prometheus: Prometheus, tmp_path: Path) -> None:
    """As the expressions of recording rules, which promtool parses."""
    filled = [
        one.replace("$__rate_interval", "5m").replace("$__range", "6h").replace("$app", "acme")
        for one in dashboards.expressions()
    ]
    rules = [{"record": f"test:{number}", "expr": one} for number, one in enumerate(filled)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    ran = subprocess.run(
        [prometheus.promtool, "check", "rules", "--lint=none", file],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_object_for_the_operator_has_the_same_alerts() -> None:
    shipped = yaml.safe_load(prometheus_rule.PAGES[0].read_text())
    assert shipped["spec"] == {
        "groups": yaml.safe_load(prometheus_rule.RULES.read_text())["groups"]
    }
