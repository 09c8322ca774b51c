"""What the predecessor's loader ignored, skipped or meant is a warning in its own workflows only."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from services.orchestrator.workflows.manifest.diagnostics import errors
from services.orchestrator.workflows.manifest.predecessor.recognition import (
    Strictness,
    strictness_of,
)
from services.orchestrator.workflows.manifest.sections import Source
from services.orchestrator.workflows.spec import DataReference, Handoff, TextTrigger
from tests.orchestrator.predecessor.folders import LOADABLE, REFUSED, ROOT

GENERATOR = ROOT / "2025_10" / "Generator"
AGENT_GENERATOR = ROOT / "2025_12" / "AgentGenerator"


def loaded(folder: Path) -> LoadedWorkflow:
    found = load(folder)
    assert isinstance(found, LoadedWorkflow), found
    return found


def places(folder: Path) -> set[str]:
    """Where there are warnings."""
    return {f"{one.file}: {one.path}" for one in loaded(folder).diagnostics}


@pytest.mark.parametrize("folder", LOADABLE, ids=lambda folder: folder.name)
def test_a_workflow_of_the_predecessor_loads_with_warnings(folder: Path) -> None:
    assert "lenient" in loaded(folder).diagnostics[0].message


def test_unknown_keys_are_ignored_and_named() -> None:
    assert {
        "orchestrator.json: NOTE",
        "agents.json: agents.FrontDeskAgent.NOTE",
        "tools.json: tools.0.required",
        "context_variables.json: definitions.rooms.required",
    } <= places(ROOT / "2025_09" / "Intake")


def test_words_of_the_predecessor_are_read_as_they_were_meant() -> None:
    generator, later = loaded(GENERATOR).workflow, loaded(AGENT_GENERATOR).workflow
    (concept,) = generator.references
    assert concept == DataReference(
        "concept",
        "autogen_ai_agents",
        "Concepts",
        {"app_id": "{{runtime.app_id}}"},
        ("ConceptOverview",),
    )
    planner = next(one for one in generator.agents.values() if one.output)
    assert planner.output is not None
    kind = planner.output.schema["properties"]["steps"]["items"]["properties"]["kind"]
    assert kind["enum"] == ["ask", "act"]
    (profile,) = later.references
    assert profile.query == {"app_id": "{{runtime.app_id}}", "user": "{{ runtime.user_id }}"}
    (ready,) = later.triggers
    assert isinstance(ready, TextTrigger)
    assert (ready.variable, ready.value, ready.contains) == ("ready", True, "READY")


def test_what_names_absent_agents_and_files_is_skipped_and_named() -> None:
    assert {
        "tools.json: tools.1.agent.1",
        "tools.json: tools.2",
        "context_variables.json: context_variables.agents.ArchitectAgent",
        "context_variables.json: context_variables.definitions.interview_complete.source.triggers.1",
        "structured_outputs.json: structured_outputs.registry.ArchitectAgent",
    } <= places(GENERATOR)
    assert {
        "tools.json: tools.1",
        "tools.json: tools.3",
        "hooks.json: hooks.1",
        "hooks.json: hooks.2",
        "handoffs.json: handoff_rules.6",
    } <= places(AGENT_GENERATOR)


def test_two_conditions_for_one_agent_are_one_handoff_and_a_model_may_end_the_chat() -> None:
    reviewer = next(
        one for one in loaded(GENERATOR).workflow.agents.values() if len(one.handoffs) > 1
    )
    assert [(one.target, one.condition) for one in reviewer.handoffs] == [
        ("PlannerAgent", "The plan has to change.\nor: The user asks for another plan."),
        ("terminate", "The user is unhappy and stops."),
    ]
    assert all(isinstance(one, Handoff) for one in reviewer.handoffs)


def test_the_subscription_advisor_is_refused_for_what_it_is() -> None:
    found = load(REFUSED)
    assert isinstance(found, BrokenWorkflow)
    assert [(one.file, one.path, one.message) for one in errors(found.diagnostics)] == [
        (
            "orchestrator.yaml",
            "orchestration_pattern",
            "is not one of the accepted values",
        ),
        ("handoffs.yaml", "", "has none of the keys of this section"),
        ("context_variables.yaml", "context_variables", "has none of the keys of this section"),
    ]


# -- only there ------------------------------------------------------------------------------------


def first_section(file: str = "orchestrator.yaml", **keys: Any) -> dict[str, Source]:
    return {"workflow": Source(file, {"workflow_name": "Bakery", **keys})}


def with_section(name: str, raw: Any) -> dict[str, Source]:
    return {**first_section(), name: Source(f"{name}.yaml", raw)}


OLD = {
    "the first name of the first section": first_section("orchestrator.json"),
    "a key that only its guides mention": first_section(runtime_extensions=[]),
    "an explicit null": first_section(initial_message=None),
    "a rule with the kind of its target": with_section(
        "handoffs", {"handoff_rules": [{"transition_target": "AgentTarget"}]}
    ),
    "a source of its own": with_section(
        "context_variables", {"definitions": {"a": {"source": {"type": "environment"}}}}
    ),
}
NEW = {
    "nothing of it": first_section(),
    "a null that is a value": with_section(
        "context_variables",
        {"definitions": {"metadata": {"source": {"type": "static", "value": {"a": None}}}}},
    ),
    "names that the author chose": with_section(
        "structured_outputs", {"models": {"A": {"fields": {"metadata": {"type": "external"}}}}}
    ),
    "our first section": first_section("workflow.json", initial_message=None),
    "a demo": {**first_section("orchestrator.json"), "demo": Source("demo.json", {})},
    "a key of ours": {
        **first_section("orchestrator.json"),
        "agents": Source("agents.json", {"agents": {"A": {"llm_config": {}}}}),
    },
    "an approval": {
        **first_section(initial_message=None),
        "tools": Source("tools.yaml", {"tools": [{"requires_approval": True}]}),
    },
    "no object": {"workflow": Source("orchestrator.yaml", [])},
}


@pytest.mark.parametrize("sources", OLD.values(), ids=OLD.keys())
def test_a_mark_of_the_predecessor_makes_reading_lenient(sources: dict[str, Source]) -> None:
    assert strictness_of(sources, ()) == "lenient"


@pytest.mark.parametrize("sources", NEW.values(), ids=NEW.keys())
def test_what_is_new_is_read_strictly(sources: dict[str, Source]) -> None:
    assert strictness_of(sources, ()) == "strict"


def test_a_name_that_the_author_chose_is_no_key_of_ours() -> None:
    fields = {"retries": {"type": "int"}, "mcp": {"type": "str"}, "approval": {"type": "bool"}}
    sources = {
        **first_section("orchestrator.json"),
        "structured_outputs": Source(
            "structured_outputs.json", {"models": {"A": {"fields": fields}}}
        ),
        "context_variables": Source("context_variables.json", {"definitions": {"mcp": {}}}),
    }
    assert strictness_of(sources, ()) == "lenient"


@pytest.mark.parametrize("key", ["effect", "in_doubt", "approval", "max_concurrent"])
def test_every_key_of_a_tool_that_was_added_since_is_a_key_of_ours(key: str) -> None:
    tools = with_section("tools", {"lifecycle_tools": [{}], "tools": [{"ui": None}, {key: 1}]})
    assert strictness_of(tools, ("core",)) == "strict"


def test_code_that_imports_its_packages_is_a_mark() -> None:
    assert strictness_of(first_section(), ("logs", "json")) == "lenient"
    assert strictness_of(first_section("workflow.json"), ("logs",)) == "strict"


@pytest.mark.parametrize("stated", ["lenient", "strict"])
def test_a_workflow_may_state_how_it_is_read(stated: Strictness) -> None:
    for sources in (*OLD.values(), *NEW.values()):
        assert strictness_of(sources, PACKAGES_OF_ALL, stated) == stated


PACKAGES_OF_ALL = ("core", "logs")


def bakery(folder: Path, file: str, **workflow: Any) -> Path:
    """A workflow with an unknown key."""
    folder.mkdir()
    (folder / file).write_text(json.dumps({"workflow_name": "Bakery", **workflow}))
    (folder / "agents.json").write_text('{"agents": {"Oven": {"NOTE": "hot"}}}')
    return folder


@pytest.mark.parametrize("file", ["workflow.json", "orchestrator.yaml"])
def test_a_new_key_in_a_new_manifest_is_an_error(tmp_path: Path, file: str) -> None:
    found = load(bakery(tmp_path / "Bakery", file))
    assert isinstance(found, BrokenWorkflow)
    (problem,) = found.problems
    assert problem.startswith("agents.json: agents.Oven.NOTE: there is no such key")


def test_strictness_is_stated_in_the_first_section(tmp_path: Path) -> None:
    assert places(bakery(tmp_path / "A", "workflow.json", strictness="lenient")) == {
        "agents.json: agents.Oven.NOTE",
        "workflow.json: ",
    }
    strict = load(bakery(tmp_path / "B", "orchestrator.json", strictness="strict"))
    assert isinstance(strict, BrokenWorkflow)


def test_the_same_words_in_a_strict_workflow_are_errors(tmp_path: Path) -> None:
    folder = tmp_path / "Generator"
    shutil.copytree(GENERATOR, folder)
    (folder / "orchestrator.json").rename(folder / "workflow.json")
    found = load(folder)
    assert isinstance(found, BrokenWorkflow)
    assert {(one.file, one.path) for one in errors(found.diagnostics)} >= {
        ("structured_outputs.json", "structured_outputs.models.Step.fields.kind.allowed_values"),
        ("structured_outputs.json", "structured_outputs.models.Step.fields.notes.required"),
        ("ui_config.json", "layout"),
        ("tools.json", "tools.1.agent"),
        ("tools.json", "tools.2.file"),
    }


# -- further oddities, one by one ------------------------------------------------------------------


def variable(**fields: Any) -> dict[str, Any]:
    return {"definitions": {"a": fields}}


def trigger(**match: Any) -> dict[str, Any]:
    one = {"type": "agent_text", "agent": "Oven", **match}
    return variable(source={"type": "state", "triggers": [one]})


TILL = {"agent": "Oven", "file": "till.py", "function": "sell"}
ODDITIES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown source": (
        {"context_variables": variable(source={"type": "oracle", "default": 1})},
        "context_variables.json: definitions.a.source",
    ),
    "a source without a type": (
        {"context_variables": variable(source={"default": 1})},
        "context_variables.json: definitions.a.source",
    ),
    "a variable without a source": (
        {"context_variables": variable(type="string")},
        "context_variables.json: definitions.a",
    ),
    "a database without its name": (
        {"context_variables": variable(source={"type": "database", "collection": "C"})},
        "context_variables.json: definitions.a.source",
    ),
    "an unknown trigger": (
        {"context_variables": variable(source={"type": "derived", "triggers": [{"type": "x"}]})},
        "context_variables.json: definitions.a.source",
    ),
    "a trigger that matches nothing": (
        {"context_variables": trigger()},
        "context_variables.json: definitions.a.source.triggers.0",
    ),
    "a trigger with a pattern that is none": (
        {"context_variables": trigger(regex="(")},
        "context_variables.json: definitions.a.source.triggers.0",
    ),
    "a section of a prompt that is none": (
        {"agents": {"agents": {"Oven": {"prompt_sections": {"role": "You bake.", "mood": "x"}}}}},
        "agents.json: agents.Oven.prompt_sections.mood",
    ),
    "no replies at all": (
        {"agents": {"agents": [{"name": "Oven", "max_consecutive_auto_reply": 0}]}},
        "agents.json: agents.0.max_consecutive_auto_reply",
    ),
    "an unknown first agent": (
        {"orchestrator": {"initial_agent": "user"}},
        "orchestrator.json: initial_agent",
    ),
    "an unknown display": (
        {"tools": {"tools": [{**TILL, "ui": {"component": "Till", "mode": "modal"}}]}},
        "tools.json: tools.0.ui.mode",
    ),
    "an unknown type of tool": (
        {"tools": {"tools": [{**TILL, "tool_type": "Magic_Tool"}]}},
        "tools.json: tools.0.tool_type",
    ),
    "a tool twice": ({"tools": {"tools": [TILL, TILL]}}, "tools.json: tools.1"),
    "an unknown hook": (
        {
            "hooks": {
                "hooks": [{"hook_type": "on_error", "filename": "till.py", "function": "sell"}]
            }
        },
        "hooks.json: hooks.0.hook_type",
    ),
    "an unknown type of condition": (
        {
            "handoffs": {
                "handoff_rules": [
                    {
                        "source_agent": "Oven",
                        "target_agent": "terminate",
                        "handoff_type": "condition",
                        "condition_type": "vibes",
                        "condition": "It is late.",
                    }
                ]
            }
        },
        "handoffs.json: handoff_rules.0.condition_type",
    ),
}


@pytest.mark.parametrize(("sections", "place"), ODDITIES.values(), ids=ODDITIES.keys())
def test_an_oddity_is_a_warning_at_its_place(
    tmp_path: Path, sections: dict[str, Any], place: str
) -> None:
    folder = tmp_path / "Bakery"
    folder.mkdir()
    whole = {"agents": {"agents": {"Oven": {}}}, **sections}
    first = {"workflow_name": "Bakery", "orchestration_pattern": "RoundRobinPattern"}
    whole["orchestrator"] = {**first, **sections.get("orchestrator", {})}
    for stem, content in whole.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    (folder / "till.py").write_text("def sell() -> None: ...\n")
    assert places(folder) == {"orchestrator.json: ", place}
