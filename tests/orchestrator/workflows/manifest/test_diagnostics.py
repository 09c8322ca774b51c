"""All problems of a manifest are reported at once: path, what is accepted, a suggestion."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load, load_all
from services.orchestrator.workflows.manifest.diagnostics import Problem

WORKFLOW: dict[str, Any] = {"workflow_name": "Bakery", "orchestration_pattern": "round_robin"}
AGENTS: dict[str, Any] = {"agents": {"Counter": {}, "Oven": {}}}


def write(folder: Path, **sections: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, content in {"workflow": WORKFLOW, "agents": AGENTS, **sections}.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def found(folder: Path, **sections: Any) -> tuple[Problem, ...]:
    return load(write(folder, **sections)).diagnostics


def rules(**fields: Any) -> dict[str, Any]:
    return {"handoff_rules": [{"source_agent": "Counter", "target_agent": "Oven", **fields}]}


def variable(**source: Any) -> dict[str, Any]:
    return {"definitions": {"menu": {"source": source}}}


def test_a_misspelt_key_is_reported_with_its_path_and_a_suggestion(tmp_path: Path) -> None:
    agents = {"agents": {"Counter": {"system_mesage": "Sell."}}}
    (problem,) = found(tmp_path, agents=agents)
    assert (problem.file, problem.path) == ("agents.json", "agents.Counter.system_mesage")
    assert problem.hint == "system_message"
    assert "prompt_sections" in problem.accepted


def test_a_misspelt_value_is_reported_with_what_was_found_and_what_is_accepted(
    tmp_path: Path,
) -> None:
    (problem,) = found(tmp_path, workflow={**WORKFLOW, "startup_mode": "AgentDrive"})
    assert problem.found == "'AgentDrive'"
    assert problem.accepted == ("AgentDriven", "UserDriven", "BackendOnly")
    assert problem.hint == "AgentDriven"
    assert "AgentDrive'" not in problem.line


def test_an_unknown_provider_is_reported_with_the_known_ones(tmp_path: Path) -> None:
    agents = {"agents": {"Counter": {"llm_config": {"provider": "mistrall", "model": "m"}}}}
    (problem,) = found(tmp_path, agents=agents)
    assert problem.path == "agents.Counter.llm_config.provider"
    assert {"openai", "mistral", "ollama"} <= set(problem.accepted)
    assert problem.hint == "mistral"


def test_an_unknown_agent_is_reported_with_a_suggestion(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, handoffs=rules(target_agent="Owen"))
    assert problem.hint == "Oven"


def test_problems_of_all_sections_are_reported_at_once(tmp_path: Path) -> None:
    problems = found(
        tmp_path,
        workflow={**WORKFLOW, "max_turns": 0},
        tools={"tools": [{"agent": "Counter"}]},
        handoffs=rules(source_agent="Cellar"),
        hooks={"hooks": [{"hook_type": "x"}]},
    )
    assert {one.file for one in problems} == {
        "workflow.json",
        "tools.json",
        "handoffs.json",
        "hooks.json",
    }


HOOK = {"filename": "a.py", "function": "look"}
CALLED = {"file": "stock.py", "function": "open"}
ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "an expression that is none": (
        {"handoffs": rules(handoff_type="condition", condition="${a} ==")},
        "handoffs.json: handoff_rules.0.condition: is not a valid expression: at ",
    ),
    "a condition without its type": (
        {"handoffs": rules(condition="${a} == 1")},
        "handoffs.json: handoff_rules.0.condition: only a rule of handoff_type condition has one",
    ),
    "an environment variable that is not set": (
        {"context_variables": variable(type="config", env_var="ABSENT", required=True)},
        "context_variables.json: definitions.menu.source: the environment variable ABSENT is not set",
    ),
    "a file above the folder": (
        {"context_variables": variable(type="file", path="../secret")},
        "context_variables.json: definitions.menu.source: ../secret is outside",
    ),
    "a file that is gone": (
        {"context_variables": variable(type="file", path="menu.json", required=True)},
        "context_variables.json: definitions.menu.source: there is no file menu.json",
    ),
    "an unknown type of output": (
        {"structured_outputs": {"models": {"Order": {"fields": {"n": {"type": "itn"}}}}}},
        "structured_outputs.json: models.Order.fields.n.type: there is no type itn",
    ),
    "an output of an unknown model": (
        {"structured_outputs": {"models": {}, "registry": {"Counter": "Order"}}},
        "structured_outputs.json: registry.Counter: there is no model Order",
    ),
    "a hook of an unknown agent": (
        {
            "hooks": {
                "hooks": [
                    {
                        "hook_type": "update_agent_state",
                        "hook_agent": "Cellar",
                        "filename": "a.py",
                        "function": "a",
                    }
                ]
            }
        },
        "hooks.json: hooks.0.hook_agent: there is no agent Cellar",
    ),
    "a hook without its file": (
        {"hooks": {"hooks": [{"hook_type": "update_agent_state", **HOOK}]}},
        "hooks.json: hooks.0.filename: look: there is no file a.py",
    ),
    "a lifecycle tool without its file": (
        {"tools": {"lifecycle_tools": [{"trigger": "Before_Chat", **CALLED}]}},
        "tools.json: lifecycle_tools.0.file: open: there is no file stock.py",
    ),
    "an agent whose model is missing": (
        {"agents": {"agents": {"Counter": {"structured_outputs_required": True}}}},
        "agents.json: agents.Counter.structured_outputs_required: needs a model for Counter",
    ),
    "a tool mode without a tool": (
        {
            "agents": {"agents": {"Counter": {"auto_tool_mode": True}}},
            "structured_outputs": {"models": {"Order": {}}, "registry": {"Counter": "Order"}},
        },
        "agents.json: agents.Counter.auto_tool_mode: needs exactly one auto-invoked tool of Counter",
    ),
    "an approval where the runtime calls": (
        {
            "agents": {"agents": {"Counter": {"auto_tool_mode": True}}},
            "structured_outputs": {"models": {"Order": {}}, "registry": {"Counter": "Order"}},
            "tools": {
                "tools": [
                    {"agent": "Counter", "auto_invoke": True, "requires_approval": True, **CALLED}
                ]
            },
        },
        "tools.json: tools.0.requires_approval: not possible: Counter is in auto_tool_mode",
    ),
    "a literal without values": (
        {"structured_outputs": {"models": {"Order": {"fields": {"n": {"type": "literal"}}}}}},
        "structured_outputs.json: models.Order.fields.n.values: a literal needs its allowed values",
    ),
    "a trigger that matches twice": (
        {
            "context_variables": variable(
                type="state",
                triggers=[
                    {"type": "agent_text", "agent": "Counter", "equals": "a", "contains": "a"}
                ],
            )
        },
        "context_variables.json: definitions.menu.source.triggers.0: needs exactly one of equals",
    ),
    "a trigger of an unknown agent": (
        {
            "context_variables": variable(
                type="state",
                transitions=[
                    {"to": 1, "trigger": {"type": "agent_text", "agent": "Cell", "regex": "("}}
                ],
            )
        },
        "context_variables.json: definitions.menu.source.transitions.0.trigger.regex: is not a valid regular",
    ),
}


@pytest.mark.parametrize(("sections", "expected"), ERRORS.values(), ids=ERRORS.keys())
def test_an_error_is_reported_with_its_path(
    tmp_path: Path, sections: dict[str, Any], expected: str
) -> None:
    broken = load(write(tmp_path / "Bakery", **sections))
    assert isinstance(broken, BrokenWorkflow)
    assert [line for line in broken.problems if line.startswith(expected)], broken.problems


TOOL = {"agent": "Counter", "file": "till.py", "function": "sell"}
SOLD = {"handoff_type": "condition", "condition": "${menu} == 1"}
KNOWN: dict[str, Any] = {"context_variables": variable(type="state")}
WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "a tool that nobody invokes": (
        {"tools": {"tools": [{**TOOL, "auto_invoke": True}]}},
        "tools.json",
    ),
    "a regex that is to be hidden": (
        {
            "context_variables": variable(
                type="state",
                triggers=[
                    {"type": "agent_text", "agent": "Counter", "regex": "OK", "ui_hidden": True}
                ],
            )
        },
        "context_variables.json: definitions.menu.source.triggers.0.ui_hidden",
    ),
    "an agent that paints": (
        {"agents": {"agents": {"Counter": {"image_generation_enabled": True}}}},
        "agents.json: agents.Counter.image_generation_enabled",
    ),
    "a service elsewhere": (
        {"context_variables": variable(type="external", service="menus")},
        "context_variables.json: definitions.menu.source",
    ),
    "a variable that nobody defines": (
        {"handoffs": rules(handoff_type="condition", condition="${sold}")},
        "handoffs.json: handoff_rules.0.condition",
    ),
    "a user who is to wait before replying": (
        {"handoffs": rules(source_agent="user", condition_scope="pre", **SOLD), **KNOWN},
        "handoffs.json: handoff_rules.0.condition_scope",
    ),
    "a model that is to judge for the user": (
        {"handoffs": rules(source_agent="user", handoff_type="condition", condition="Done.")},
        "handoffs.json: handoff_rules.0",
    ),
    "an unknown agent that is to be shown": (
        {"ui_config": {"visual_agents": ["Counter", "Cellar", "user"]}},
        "ui_config.json: visual_agents",
    ),
    "an optional file that is gone": (
        {"context_variables": variable(type="file", path="menu.json")},
        "context_variables.json: definitions.menu.source.path",
    ),
    "a variable of the original runtime": (
        {"context_variables": {"agents": {"Oven": {"variables": ["has_children"]}}}},
        "context_variables.json: agents.Oven.variables",
    ),
    "a file that is no section": ({"agent": {}}, "agent.json"),
}


@pytest.mark.parametrize(("sections", "expected"), WARNINGS.values(), ids=WARNINGS.keys())
def test_what_has_no_effect_is_accepted_with_a_warning(
    tmp_path: Path, sections: dict[str, Any], expected: str
) -> None:
    folder = write(tmp_path / "Bakery", **sections)
    (folder / "till.py").write_text("def sell() -> None: ...\n")
    loaded = load(folder)
    assert isinstance(loaded, LoadedWorkflow), loaded
    (warning,) = loaded.diagnostics
    assert warning.severity == "warning"
    assert warning.line.startswith(f"{expected}: ")


def test_a_visual_agent_that_matches_several_agents_is_reported_with_all_of_them(
    tmp_path: Path,
) -> None:
    agents: dict[str, Any] = {"agents": {"Counter": {}, "counter": {}}}
    folder = write(tmp_path / "Bakery", agents=agents, ui_config={"visual_agents": ["COUNTER"]})
    loaded = load(folder)
    assert isinstance(loaded, LoadedWorkflow)
    assert loaded.workflow.visual_agents == ("Counter", "counter")
    (warning,) = loaded.diagnostics
    assert warning.message == "COUNTER matches several agents, all are shown: Counter, counter"


def test_visual_agents_without_any_agent_are_reported(tmp_path: Path) -> None:
    (warning,) = found(tmp_path / "Bakery", ui_config={"visual_agents": ["user"]})
    assert warning.message == "names no agent: the messages of all agents are shown"


def test_of_two_names_that_differ_in_case_the_first_loads(tmp_path: Path) -> None:
    write(tmp_path / "Bakery")
    write(tmp_path / "bakery2", workflow={**WORKFLOW, "workflow_name": "BAKERY"})
    first, second = load_all(tmp_path)
    assert isinstance(first, LoadedWorkflow)
    assert isinstance(second, BrokenWorkflow)
    assert "another folder has a workflow of this name: Bakery" in second.problems[0]


def test_a_workflow_or_a_section_must_not_be_a_link_to_another_folder(tmp_path: Path) -> None:
    outside, root = write(tmp_path / "outside"), tmp_path / "root"
    inside = write(root / "Inside")
    (root / "Linked").symlink_to(outside)
    (inside / "agents.json").unlink()
    (inside / "agents.json").symlink_to(outside / "agents.json")
    for one in load_all(root):
        assert isinstance(one, BrokenWorkflow)
        assert "is a link to a f" in one.problems[0]


def test_a_section_in_two_files_is_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "agents.yaml").write_text("agents: {Counter: {}}\n")
    broken = load(tmp_path)
    assert isinstance(broken, BrokenWorkflow)
    assert broken.problems == ("agents.json: exists twice: agents.json and agents.yaml",)


BAD_YAML = {
    "a key twice": "agents: {A: {}, A: {}}\n",
    "a bomb of aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "a circle": "agents: &a [*a]\n",
    "too deep": "[" * 100_000,
    "a tag that runs code": "agents: !!python/object/apply:os.getcwd []\n",
    "a key that is no text": "agents: {1: {}}\n",
    "an infinite number": "agents: .inf\n",
    "no YAML": "agents: [\n",
}


@pytest.mark.parametrize("text", BAD_YAML.values(), ids=BAD_YAML.keys())
def test_bad_yaml_is_refused(tmp_path: Path, text: str) -> None:
    (write(tmp_path) / "agents.json").unlink()
    (tmp_path / "agents.yaml").write_text(text)
    broken = load(tmp_path)
    assert isinstance(broken, BrokenWorkflow)
    assert broken.problems[0].startswith("agents.yaml: Invalid YAML: ")


def test_json_that_names_a_key_twice_is_refused(tmp_path: Path) -> None:
    (write(tmp_path) / "agents.json").write_text('{"agents": {"A": {}, "A": {}}}')
    broken = load(tmp_path)
    assert isinstance(broken, BrokenWorkflow)
    assert broken.problems == ("agents.json: Invalid JSON: the key A is given twice",)


# -- variables that users may set ------------------------------------------------------------------


def settable(name: str = "colour", **fields: Any) -> dict[str, Any]:
    source = {"type": "state", "default": None}
    return {"definitions": {name: {"source": source, **fields}}}


@pytest.mark.parametrize(
    ("variables", "path", "severity"),
    [
        (settable(settable_from=["palette"]), "definitions.colour.settable_from", "error"),
        (settable("ui_colour"), "definitions.ui_colour", "warning"),
        (settable("app_id", settable_by="user"), "definitions.app_id.settable_by", "error"),
        (settable(settable_by="agent"), "definitions.colour.settable_by", "error"),
    ],
)
def test_a_contradiction_about_who_sets_a_variable_is_reported(
    tmp_path: Path, variables: dict[str, Any], path: str, severity: str
) -> None:
    (problem,) = found(tmp_path, context_variables=variables)
    assert (problem.path, problem.severity) == (path, severity)


def test_a_settable_variable_is_part_of_the_workflow(tmp_path: Path) -> None:
    variables = settable(settable_by="user", settable_from=["palette"])
    loaded = load(write(tmp_path / "Bakery", context_variables=variables))
    assert isinstance(loaded, LoadedWorkflow)
    assert loaded.workflow.settable == {"colour": ("palette",)}


def test_code_that_trusts_a_variable_that_users_may_set_is_warned_of(tmp_path: Path) -> None:
    folder = write(tmp_path / "Bakery", context_variables=settable(settable_by="user"))
    (folder / "till.py").write_text(
        "def sell(context_variables, runtime):\n"
        "    context_variables['colour'] = 'red'\n"
        "    price = context_variables['price']\n"
        "    return runtime.context_variables.get('colour', '')\n"
    )
    (problem,) = load(folder).diagnostics
    assert (problem.file, problem.path, problem.severity) == ("till.py", "line 4", "warning")
    assert "colour" in problem.message
