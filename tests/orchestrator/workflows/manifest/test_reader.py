"""Equivalent ways to write a manifest, in JSON and in YAML."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import AgentName
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.json_schemas import stale_files
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from services.orchestrator.workflows.manifest.reader import parse as read_text
from services.orchestrator.workflows.manifest.section_reader import SECTION_MODELS
from services.orchestrator.workflows.spec import TERMINATE, USER, Handoff, Rule, Workflow

WORKFLOW = {"workflow_name": "Bakery", "orchestration_pattern": "default"}
AGENTS = {"agents": [{"name": "Counter"}, {"name": "Oven"}]}
COUNTER, OVEN = AgentName("Counter"), AgentName("Oven")


def workflow(
    folder: Path, environment: Mapping[str, str] | None = None, **sections: Any
) -> Workflow:
    """The workflow of these sections, written as JSON."""
    for stem, content in {"workflow": WORKFLOW, "agents": AGENTS, **sections}.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    found = load(folder, environment or {})
    assert isinstance(found, LoadedWorkflow), found
    return found.workflow


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_is_the_same_in_json_and_in_yaml(value: Any) -> None:
    as_yaml = yaml.safe_dump(value, allow_unicode=True)
    assert read_text(json.dumps(value), "JSON", "a.json") == value
    assert read_text(as_yaml, "YAML", "a.yaml") == value


def test_a_workflow_is_the_same_in_json_and_in_yaml(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[4] / "workflows" / "Generator"
    twin = tmp_path / "Generator"
    twin.mkdir()
    (twin / "tools").mkdir()
    for tool in shipped.glob("tools/*.py"):
        (twin / "tools" / tool.name).write_text(tool.read_text())
    for section in shipped.glob("*.json"):
        stem = "orchestrator" if section.stem == "workflow" else section.stem
        text = yaml.safe_dump(json.loads(section.read_text()), allow_unicode=True)
        (twin / f"{stem}.yaml").write_text(text, encoding="utf-8-sig")
    one, other = load(shipped), load(twin)
    assert isinstance(one, LoadedWorkflow)
    assert isinstance(other, LoadedWorkflow)
    assert one.demo == other.demo
    assert [a.prompt for a in one.workflow.agents.values()] == [
        a.prompt for a in other.workflow.agents.values()
    ]
    assert one.workflow.variables == other.workflow.variables
    assert [a.handoffs for a in one.workflow.agents.values()] == [
        a.handoffs for a in other.workflow.agents.values()
    ]


WRITTEN_TWICE: dict[str, tuple[str, Any, Any]] = {
    "agents as a map": ("agents", {"agents": {"A": {}, "B": {}}}, [{"name": "A"}, {"name": "B"}]),
    "agents wrapped": ("agents", {"agents": {"agents": [{"name": "A"}]}}, [{"name": "A"}]),
    "an agent called agents": (
        "agents",
        {"agents": {"agents": {"system_message": "x"}}},
        [{"name": "agents", "system_message": "x"}],
    ),
}


@pytest.mark.parametrize(
    ("section", "one", "other"), WRITTEN_TWICE.values(), ids=WRITTEN_TWICE.keys()
)
def test_lists_maps_and_wrappers_are_equivalent(
    tmp_path: Path, section: str, one: Any, other: Any
) -> None:
    first, second = tmp_path / "one", tmp_path / "other"
    first.mkdir()
    second.mkdir()
    assert workflow(first, **{section: one}) == workflow(second, **{section: {section: other}})


def test_every_section_may_be_wrapped_in_its_name(tmp_path: Path) -> None:
    found = workflow(
        tmp_path,
        workflow={"orchestrator": WORKFLOW},
        handoffs={"handoffs": {"handoff_rules": [rule()]}},
        context_variables={"context_variables": {"definitions": {"a": static(1)}}},
        structured_outputs={"structured_outputs": {"models": {}, "registry": {}}},
        ui_config={"ui_config": {"visual_agents": ["Counter"]}},
        hooks={"hooks": {"hooks": []}},
        tools={"tools": {"tools": []}},
    )
    assert found.agents[COUNTER].after_work == OVEN
    assert found.variables == {"a": 1}
    assert found.visual_agents == (COUNTER,)


def rule(**fields: Any) -> dict[str, Any]:
    return {"source_agent": "Counter", "target_agent": "Oven", **fields}


def static(value: Any) -> dict[str, Any]:
    return {"source": {"type": "static", "value": value}}


PATTERNS = {
    "DefaultPattern": ["default", "Default", "DefaultPattern", "default_pattern"],
    "AutoPattern": ["auto", "AutoPattern", "AUTO"],
    "RoundRobinPattern": ["round_robin", "roundrobin", "round-robin", "RoundRobinPattern"],
    "RandomPattern": ["random", "RandomPattern", "random_pattern"],
}


@pytest.mark.parametrize(
    ("pattern", "spelling"), [(name, s) for name, all_ in PATTERNS.items() for s in all_]
)
def test_a_pattern_may_be_spelled_in_many_ways(tmp_path: Path, pattern: str, spelling: str) -> None:
    head = {**WORKFLOW, "orchestration_pattern": spelling}
    assert workflow(tmp_path, workflow=head).pattern == pattern


TARGETS = {
    TERMINATE: ["terminate", "TERMINATE", "Terminate", "TerminateTarget", "terminate_target"],
    USER: ["user", "User", "RevertToUserTarget", "revert_to_user", "RevertToUser"],
}


@pytest.mark.parametrize(
    ("target", "spelling"), [(target, s) for target, all_ in TARGETS.items() for s in all_]
)
def test_terminate_and_user_may_be_spelled_in_many_ways(
    tmp_path: Path, target: AgentName, spelling: str
) -> None:
    rules = {"handoff_rules": [rule(target_agent=spelling)]}
    assert workflow(tmp_path, handoffs=rules).agents[COUNTER].after_work == target


def test_a_condition_is_text_or_an_expression_before_or_after_a_turn(tmp_path: Path) -> None:
    sold = "${sold} == True"
    rules = [
        rule(handoff_type="condition", condition="They want bread."),
        rule(handoff_type="condition", condition=sold),
        rule(handoff_type="condition", condition=sold, condition_scope="before_reply"),
        rule(handoff_type="condition", condition="1 < 2", condition_type="context", scope="pre"),
        rule(
            handoff_type="condition",
            condition="${a}?",
            condition_type="StringLLMCondition",
            target_agent="user",
        ),
        rule(source_agent="user", handoff_type="condition", condition=sold),
    ]
    found = workflow(tmp_path, handoffs={"handoff_rules": rules})
    counter = found.agents[COUNTER]
    assert counter.handoffs == (Handoff(OVEN, "They want bread."), Handoff(USER, "${a}?"))
    assert counter.after_work_if == (Rule(OVEN, parse(sold)),)
    assert counter.before_reply == (Rule(OVEN, parse(sold)), Rule(OVEN, parse("1 < 2")))
    assert found.after_user_if == (Rule(OVEN, parse(sold)),)


def test_a_prompt_is_a_message_or_sections(tmp_path: Path) -> None:
    listed = [{"id": "role", "heading": "[ROLE]", "content": "Sell."}]
    custom = [{"id": "x", "heading": "[MORE]", "content": "Smile."}]
    agents = {
        "A": {"system_message": "Sell bread."},
        "B": {"prompt_sections": listed, "prompt_sections_custom": custom},
        "C": {"prompt_sections": {"role": {"content": "Sell."}, "output_format": "Bread."}},
        "D": {},
    }
    found = workflow(tmp_path, agents={"agents": agents}).agents
    assert [agent.prompt for agent in found.values()] == [
        "Sell bread.",
        "[ROLE]\nSell.\n\n[MORE]\nSmile.",
        "[ROLE]\nSell.\n\n[OUTPUT FORMAT]\nBread.",
        "You are a helpful assistant.",
    ]


def test_key_names_of_earlier_releases_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "till.py").write_text("def sell() -> None: ...\n")
    tool = {"caller": "Counter", "type": "agent_tool", "file": "till.py", "function": "sell"}
    found = workflow(tmp_path, tools={"tools": [tool]})
    assert [one.name for one in found.agents[COUNTER].tools] == ["sell"]


def test_a_visual_agent_may_be_written_loosely(tmp_path: Path) -> None:
    agents: dict[str, Any] = {"agents": {"CounterAgent": {}, "Oven": {}}}
    page = {"visual_agents": ["Counter Agent", "oven", "user"]}
    found = workflow(tmp_path, agents=agents, ui_config=page)
    assert found.visual_agents == ("CounterAgent", "Oven")


def test_variables_come_from_the_file_the_environment_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "menu.yaml").write_text("bread: [rye, white]\n")
    (tmp_path / "note.txt").write_text("Closed on Monday.")
    definitions = {
        "fixed": {"source": {"type": "static", "default": 1}},
        "draft": {"source": {"type": "state", "default": []}},
        "old": {"source": {"type": "derived", "default": False}},
        "open": {"type": "boolean", "source": {"type": "config", "env_var": "OPEN"}},
        "seats": {"type": "integer", "source": {"type": "environment", "env_var": "SEATS"}},
        "absent": {"source": {"type": "config", "env_var": "ABSENT", "default": "none"}},
        "menu": {"source": {"type": "file", "path": "menu.yaml", "format": "yaml"}},
        "note": {"source": {"type": "file", "path": "note.txt"}},
        "gone": {"source": {"type": "file", "path": "gone.txt", "default": "?"}},
        "sum": {"source": {"type": "computed", "computation": "a + b", "default": 0}},
    }
    agents = [{"agent_name": "Oven", "variables": ["menu"]}]
    written = {"definitions": definitions, "agents": agents}
    environment = {"OPEN": "true", "SEATS": "12"}
    found = workflow(tmp_path, environment, context_variables=written)
    assert found.variables == {
        "fixed": 1,
        "draft": [],
        "old": False,
        "open": True,
        "seats": 12,
        "absent": "none",
        "menu": {"bread": ["rye", "white"]},
        "note": "Closed on Monday.",
        "gone": "?",
        "sum": 0,
    }
    assert found.agents[OVEN].variables == ("menu",)


def test_a_key_that_is_null_counts_as_absent(tmp_path: Path) -> None:
    head = {**WORKFLOW, "max_turns": None, "description": None}
    agents = {"Counter": None, "Oven": {"prompt_sections": None, "system_message": None}}
    rules = [rule(condition=None, condition_type=None, handoff_type=None, description=None)]
    found = workflow(
        tmp_path, workflow=head, agents={"agents": agents}, handoffs={"handoff_rules": rules}
    )
    assert (found.max_turns, found.agents[COUNTER].after_work) == (50, OVEN)


def test_a_file_may_name_its_schema_for_editors(tmp_path: Path) -> None:
    assert workflow(tmp_path, agents={"$schema": "agents.json", **AGENTS}).initial_agent == COUNTER


def test_the_schemas_for_editors_are_those_of_the_models() -> None:
    assert stale_files() == []
    assert set(SECTION_MODELS) >= {"workflow", "agents", "tools", "handoffs", "context_variables"}
