"""Variables from a database, in both syntaxes: the resulting references, and errors with their path."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from services.orchestrator.workflows.spec import DataReference

MENU: dict[str, Any] = {
    "type": "data_reference",
    "database_name": "shop",
    "collection": "menus",
    "query_template": {"day": "{{var.day}}", "owner": "{{runtime.app_id}}"},
    "fields": ["soup", "cake"],
    "default": {},
    "refresh_strategy": "Per-Phase",
    "db_type": "mongodb",
}
DAY: dict[str, Any] = {"type": "static", "value": "monday"}


def folder(root: Path, **sources: dict[str, Any]) -> Path:
    place = root / "Kitchen"
    place.mkdir()
    (place / "workflow.json").write_text('{"workflow_name": "Kitchen"}')
    (place / "agents.json").write_text('{"agents": [{"name": "Cook"}]}')
    definitions = {name: {"source": source} for name, source in sources.items()}
    (place / "context_variables.json").write_text(json.dumps({"definitions": definitions}))
    return place


def test_a_reference_has_its_query_and_starts_with_its_default(tmp_path: Path) -> None:
    found = load(folder(tmp_path, menu=MENU, day=DAY))
    assert isinstance(found, LoadedWorkflow), found
    assert found.diagnostics == ()
    assert found.workflow.variables == {"menu": {}, "day": "monday"}
    assert found.workflow.references == (
        DataReference(
            name="menu",
            database="shop",
            collection="menus",
            query={"day": "{{var.day}}", "owner": "{{runtime.app_id}}"},
            fields=("soup", "cake"),
            default={},
            refresh="per_phase",
        ),
    )


@pytest.mark.parametrize(
    ("search_by", "query"),
    [
        ("user_id", {"user_id": "{{runtime.user_id}}"}),
        ("day", {"day": "{{var.day}}"}),
        (None, {}),
    ],
)
def test_the_older_syntax_is_a_reference_too(
    tmp_path: Path, search_by: str | None, query: dict[str, str]
) -> None:
    older = {
        "type": "database",
        "database_name": "shop",
        "collection": "menus",
        "search_by": search_by,
        "field": "soup",
    }
    found = load(folder(tmp_path, menu=older, day=DAY))
    assert isinstance(found, LoadedWorkflow), found
    (reference,) = found.workflow.references
    assert (reference.query, reference.fields, reference.refresh) == (query, ("soup",), "once")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no collection": ({"collection": None}, "collection: Input should be a valid string"),
    "an operator": (
        {"query_template": {"$where": "true"}},
        "query_template: $where is not a field name: operators are not supported",
    ),
    "a variable that nobody defines": (
        {"query_template": {"day": "{{var.dya}}"}},
        "there is no variable dya (accepted: menu, day); did you mean day?",
    ),
    "a value that the runtime has not": (
        {"query_template": {"day": "{{runtime.weekday}}"}},
        "there is no value of the runtime weekday (accepted: app_id, chat_id, user_id)",
    ),
    "a placeholder of no kind": (
        {"query_template": {"day": "{{day}}"}},
        "{{day}} is not one of the accepted values (accepted: {{runtime.…}}, {{var.…}})",
    ),
    "another database": ({"db_type": "oracle"}, "db_type: is not one of the accepted values"),
    "a strategy that is none": (
        {"refresh_strategy": "always"},
        "refresh_strategy: is not one of the accepted values",
    ),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED.values(), ids=REFUSED)
def test_an_error_names_its_path(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    found = load(folder(tmp_path, menu={**MENU, **change}, day=DAY))
    assert isinstance(found, BrokenWorkflow), found
    place = "context_variables.json: definitions.menu.source"
    lines = [
        problem.replace(f"{place}.", "").replace(f"{place}: ", "") for problem in found.problems
    ]
    assert any(line.startswith(expected) for line in lines), found.problems
