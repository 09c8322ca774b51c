"""`effect`, `in_doubt` and `check` of tools: every default, and combinations that are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.workflows.effect_policy import (
    DeclaredEffect,
    EffectPolicy,
    McpHints,
    mcp_policy,
)
from services.orchestrator.workflows.loading import (
    BrokenWorkflow,
    LoadedWorkflow,
    ManifestError,
    load,
)
from tests.orchestrator.agent_sets import DEMO_MODELS

CODE = """
def pay(cents: int) -> int:
    return cents

def paid(key: str) -> dict:
    return {"status": "unknown"}

def no_check() -> None:
    pass
"""


def folder(root: Path, *, lifecycle: bool = False, **keys: Any) -> Path:
    place = root / "Shop"
    place.mkdir()
    (place / "workflow.json").write_text('{"workflow_name": "Shop"}')
    (place / "agents.json").write_text('{"agents": [{"name": "Clerk"}]}')
    (place / "shop.py").write_text(CODE)
    tool = {"file": "shop.py", "function": "pay", "agent": "Clerk", **keys}
    if "mcp" in keys:
        tool.pop("function")
        if "check" not in keys:
            tool.pop("file")
    section = {"lifecycle_tools" if lifecycle else "tools": [tool]}
    (place / "tools.json").write_text(json.dumps(section))
    return place


def loaded(root: Path, **keys: Any) -> LoadedWorkflow:
    found = load(folder(root, **keys))
    assert isinstance(found, LoadedWorkflow), found
    return found


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, EffectPolicy("idempotent", "repeat")),
        ({"retries": 2}, EffectPolicy("idempotent", "repeat")),
        ({"effect": "read"}, EffectPolicy("read", "repeat")),
        ({"effect": "once"}, EffectPolicy("once", "ask")),
        ({"effect": "once", "in_doubt": "tell"}, EffectPolicy("once", "tell")),
        ({"in_doubt": "fail"}, EffectPolicy("once", "fail")),
        ({"check": "paid"}, EffectPolicy("once", "ask")),
        ({"check": "paid", "effect": "idempotent"}, EffectPolicy("idempotent", "repeat")),
        ({"requires_approval": True}, EffectPolicy("once", "ask")),
        ({"requires_approval": True, "retries": 1}, EffectPolicy("idempotent", "ask")),
        ({"requires_approval": True, "effect": "read"}, EffectPolicy("read", "ask")),
    ],
    ids=str,
)
def test_what_the_manifest_does_not_say_of_a_function_has_a_default(
    tmp_path: Path, keys: dict[str, Any], expected: EffectPolicy
) -> None:
    (clerk,) = loaded(tmp_path, **keys).workflow.agents.values()
    assert clerk.tools[0].effects == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, EffectPolicy("idempotent", "repeat")),
        ({"effect": "once"}, EffectPolicy("once", "tell")),
        ({"check": "paid"}, EffectPolicy("once", "tell")),
    ],
    ids=str,
)
def test_before_a_chat_nobody_is_asked(
    tmp_path: Path, keys: dict[str, Any], expected: EffectPolicy
) -> None:
    trigger = {"trigger": "before_chat", "agent": None}
    found = loaded(tmp_path, lifecycle=True, **keys, **trigger)
    assert found.workflow.before_chat[0].effects == expected


READS, REPEATS = McpHints(read_only=True), McpHints(idempotent=True)


@pytest.mark.parametrize(
    ("declared", "hints", "expected"),
    [
        (DeclaredEffect(), McpHints(), EffectPolicy("once", "ask")),
        (DeclaredEffect(), READS, EffectPolicy("read", "repeat")),
        (DeclaredEffect(), REPEATS, EffectPolicy("idempotent", "repeat")),
        (DeclaredEffect(retries=1), McpHints(), EffectPolicy("idempotent", "repeat")),
        (DeclaredEffect(effect="once"), READS, EffectPolicy("once", "ask")),
        (DeclaredEffect(effect="once"), REPEATS, EffectPolicy("once", "ask")),
        (DeclaredEffect(effect="read"), McpHints(), EffectPolicy("read", "repeat")),
        (DeclaredEffect(in_doubt="tell"), McpHints(), EffectPolicy("once", "tell")),
        (DeclaredEffect(requires_approval=True), READS, EffectPolicy("read", "ask")),
    ],
    ids=str,
)
def test_hints_of_a_server_count_only_where_the_manifest_says_nothing(
    declared: DeclaredEffect, hints: McpHints, expected: EffectPolicy
) -> None:
    assert mcp_policy(declared, hints) == expected


SERVER = {"name": "shop", "url": "https://shop.example/mcp"}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"effect": "once", "retries": 3},
            "tools.0.retries: pay has effect: once, so a failed call is not repeated",
        ),
        (
            {"mcp": SERVER, "effect": "once", "retries": 1},
            "tools.0.retries: the server has effect: once",
        ),
        (
            {"mcp": {**SERVER, "effects": {"pay": "once"}}, "retries": 1},
            "tools.0.retries: pay: effect: once, so a failed call is not repeated",
        ),
        (
            {"mcp": {**SERVER, "effects": {"pay": "read"}, "allowed_tools": ["look"]}},
            "tools.0.mcp.effects: there is no allowed tool pay",
        ),
        ({"effect": "twice"}, "tools.0.effect"),
        ({"in_doubt": "guess"}, "tools.0.in_doubt"),
        (
            {"mcp": SERVER, "check": "paid", "file": "none.py"},
            "tools.0.file: paid: there is no file",
        ),
        (
            {"lifecycle": True, "trigger": "after_chat", "agent": None, "in_doubt": "ask"},
            "lifecycle_tools.0.in_doubt: a tool that is called after a chat cannot ask",
        ),
    ],
    ids=str,
)
def test_a_contradiction_is_refused_with_its_reason(
    tmp_path: Path, keys: dict[str, Any], expected: str
) -> None:
    found = load(folder(tmp_path, **keys))
    assert isinstance(found, BrokenWorkflow)
    assert expected in str(found.problems)


@pytest.mark.parametrize("check", ["missing", "no_check"])
def test_a_check_that_does_not_exist_or_takes_no_key_is_refused(tmp_path: Path, check: str) -> None:
    with pytest.raises(ManifestError, match=check):
        build_agent_set(loaded(tmp_path, check=check), DEMO_MODELS)
