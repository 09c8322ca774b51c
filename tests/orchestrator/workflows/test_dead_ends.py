"""`validate` warns of agents that never speak, users that are never asked, and circles without end."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.workflows.loading import LoadedWorkflow, load

DEFAULT: dict[str, Any] = {"orchestration_pattern": "default"}


def warnings(
    folder: Path,
    *rules: tuple[str, str] | tuple[str, str, str],
    agents: tuple[str, ...] = ("Counter", "Oven"),
    demo: dict[str, Any] | None = None,
    tools: str = "",
    **workflow: Any,
) -> list[str]:
    """The warnings for a workflow with these handoffs: source, target and condition."""
    handoffs = [_rule(*rule) for rule in rules]
    sections = {
        "workflow": {"workflow_name": "Bakery", **DEFAULT, **workflow},
        "agents": {"agents": {name: {} for name in agents}},
        "handoffs": {"handoff_rules": handoffs},
        "demo": {"agents": demo or {}},
    }
    for stem, content in sections.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    (folder / "till.py").write_text(tools)
    loaded = load(folder)
    assert isinstance(loaded, LoadedWorkflow), loaded
    return [problem.line for problem in loaded.diagnostics]


def _rule(source: str, target: str, condition: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {"source_agent": source, "target_agent": target}
    if not condition:
        return {**rule, "handoff_type": "after_work"}
    return {**rule, "handoff_type": "condition", "condition": condition, "condition_type": "llm"}


def test_an_agent_that_nobody_hands_over_to_is_named(tmp_path: Path) -> None:
    (warning,) = warnings(tmp_path, ("Counter", "terminate"))
    assert warning.startswith("agents.json: agents.Oven: Oven never speaks")


@pytest.mark.parametrize("pattern", ["round_robin", "random", "auto"])
def test_a_pattern_selects_every_agent(tmp_path: Path, pattern: str) -> None:
    assert warnings(tmp_path, orchestration_pattern=pattern) == []


def test_an_agent_that_is_reached_by_the_models_choice_or_the_user_speaks(tmp_path: Path) -> None:
    assert warnings(tmp_path, ("Counter", "Oven", "to bake"), ("Oven", "terminate")) == []
    by_user = (("Counter", "user"), ("user", "Oven"), ("Oven", "terminate"))
    assert warnings(tmp_path, *by_user, human_in_the_loop=True) == []


ONE_LINE: tuple[tuple[str, str], ...] = (("Counter", "Oven"), ("Oven", "terminate"))


def test_a_user_who_is_never_asked_is_reported(tmp_path: Path) -> None:
    (warning,) = warnings(tmp_path, *ONE_LINE, human_in_the_loop=True)
    assert warning.startswith(
        "workflow.json: human_in_the_loop: has no effect: no agent hands over"
    )


def test_a_user_is_asked_by_code_or_by_a_limit_of_replies(tmp_path: Path) -> None:
    code = "async def sell(runtime):\n    return await runtime.ask('Rye?')\n"
    assert warnings(tmp_path, *ONE_LINE, human_in_the_loop=True, tools=code) == []
    assert warnings(tmp_path, *ONE_LINE, ("Oven", "user", "to ask"), human_in_the_loop=True) == []


def test_a_circle_that_only_max_turns_ends_is_reported(tmp_path: Path) -> None:
    (warning,) = warnings(tmp_path, ("Counter", "Oven"), ("Oven", "Counter"), max_turns=7)
    assert warning.startswith("handoffs.json: Counter and those after it hand over in a circle")
    assert "7 turns" in warning


@pytest.mark.parametrize("way_out", ["user", "terminate"])
def test_a_circle_with_a_way_out_is_none(tmp_path: Path, way_out: str) -> None:
    circle = (("Counter", "Oven"), ("Oven", "Counter"))
    rule = _rule("Oven", way_out)
    expression = {**rule, "handoff_type": "condition", "condition": "${n} > 3"}
    folder = tmp_path
    warnings(folder, *circle)
    handoffs = [*(_rule(*one) for one in circle), {**expression, "condition_type": "expression"}]
    (folder / "handoffs.json").write_text(json.dumps({"handoff_rules": handoffs}))
    loaded = load(folder)
    assert not [one for one in loaded.diagnostics if "circle" in one.message]


def test_a_demo_reply_that_calls_an_unknown_tool_is_reported(tmp_path: Path) -> None:
    calls = [{"tool": "transfer_to_Oven"}, {"tool": "transfer_to_Ovn"}]
    demo = {"Counter": {"lines": [{"calls": calls}]}}
    rules = (("Counter", "Oven", "to bake"), ("Oven", "terminate"))
    found = warnings(tmp_path, *rules, demo=demo)
    (warning,) = found
    assert warning.startswith("demo.json: agents.Counter: there is no tool transfer_to_Ovn")
