"""Every problem is reported once, at its place and with all others; nothing that only follows from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.orchestrator.workflows.loading import load
from services.orchestrator.workflows.manifest.diagnostics import Problem, errors

CONTEXT: dict[str, Any] = {
    "definitions": {
        f"variable_{n}": {"source": {"type": "state", "default": None}} for n in range(50)
    },
    "agents": {"Counter": {"variables": [f"variable_{n}" for n in range(50)]}},
}
RULE = {"source_agent": "Counter", "target_agent": "Oven"}
TOOL = {"agent": "Counter", "file": "till.py", "function": "sell"}
OUTPUTS = {
    "models": {"Order": {"fields": {"count": {"type": "int"}}}},
    "registry": {"Counter": "Order"},
}


def problems_of(folder: Path, **sections: Any) -> list[Problem]:
    folder.mkdir(parents=True, exist_ok=True)
    whole = {
        "workflow": {"workflow_name": "Bakery", "orchestration_pattern": "round_robin"},
        "agents": {"agents": {"Counter": {}, "Oven": {}}},
        **sections,
    }
    for stem, content in whole.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{stem}.json").write_text(text)
    (folder / "till.py").write_text("def sell() -> None: ...\n")
    return list(errors(load(folder).diagnostics))


ONE_MISTAKE: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown key of a section": (
        {"context_variables": {**CONTEXT, "definitons": {}}},
        "context_variables.json: definitons",
    ),
    "a section under another key": (
        {"context_variables": {"definitons": CONTEXT["definitions"], "agents": CONTEXT["agents"]}},
        "context_variables.json: definitons",
    ),
    "an unknown key of an agent": (
        {
            "agents": {"agents": {"Counter": {"NOTE": "old"}, "Oven": {}}},
            "handoffs": {"handoff_rules": [RULE]},
            "context_variables": CONTEXT,
        },
        "agents.json: agents.Counter.NOTE",
    ),
    "an invalid source of a variable": (
        {
            "context_variables": {
                "definitions": {**CONTEXT["definitions"], "variable_7": {"source": {"type": "x"}}},
                "agents": CONTEXT["agents"],
            },
            "handoffs": {
                "handoff_rules": [
                    {**RULE, "handoff_type": "condition", "condition": "${variable_7} == 1"}
                ]
            },
        },
        "context_variables.json: definitions.variable_7.source",
    ),
    "agents that are no JSON": (
        {
            "agents": "{",
            "tools": {"tools": [TOOL]},
            "handoffs": {"handoff_rules": [RULE]},
            "context_variables": CONTEXT,
            "structured_outputs": OUTPUTS,
            "ui_config": {"visual_agents": ["Counter"]},
        },
        "agents.json: ",
    ),
    "an agent without a name in a list": (
        {"agents": {"agents": [{"name": "Counter"}, {}]}, "handoffs": {"handoff_rules": [RULE]}},
        "agents.json: agents.1.name",
    ),
    "a misspelt required key": (
        {"tools": {"tools": [{"agent": "Counter", "file": "till.py", "fucntion": "sell"}]}},
        "tools.json: tools.0.fucntion",
    ),
    "a misspelt condition": (
        {
            "handoffs": {
                "handoff_rules": [{**RULE, "handoff_type": "condition", "conditon": "${a} == 1"}]
            }
        },
        "handoffs.json: handoff_rules.0.conditon",
    ),
    "a misspelt type of a rule": (
        {
            "handoffs": {
                "handoff_rules": [{**RULE, "handoff_type": "conditional", "condition": "x"}]
            }
        },
        "handoffs.json: handoff_rules.0.handoff_type",
    ),
    "an MCP server without its name": (
        {"tools": {"tools": [{"agent": "Counter", "mcp": {"url": "https://a.example"}}]}},
        "tools.json: tools.0.mcp.name",
    ),
    "a value that is none of several types": (
        {"tools": {"tools": [{**TOOL, "agent": 5}]}},
        "tools.json: tools.0.agent",
    ),
    "an object in place of a name": (
        {"tools": {"tools": [{**TOOL, "agent": {}}]}},
        "tools.json: tools.0.agent",
    ),
    "an agent that is none in a list of them": (
        {"tools": {"tools": [{**TOOL, "agent": ["Counter", 5]}]}},
        "tools.json: tools.0.agent.1",
    ),
    "a tool of an agent in tool mode that cannot be read": (
        {
            "agents": {"agents": {"Counter": {"auto_tool_mode": True}, "Oven": {}}},
            "structured_outputs": OUTPUTS,
            "tools": {"tools": [{"agent": "Counter", "auto_invoke": True, "file": "till.py"}]},
        },
        "tools.json: tools.0.function",
    ),
    "a model of an agent that cannot be read": (
        {
            "agents": {"agents": {"Counter": {"structured_outputs_required": True}, "Oven": {}}},
            "structured_outputs": {"models": OUTPUTS["models"], "registri": {"Counter": "Order"}},
        },
        "structured_outputs.json: registri",
    ),
    "a file that is another thing": (
        {"context_variables": {**CONTEXT["definitions"]}},
        "context_variables.json: ",
    ),
    "a section that is a list": (
        {"handoffs": [{"from": "Counter", "to": "Oven"}]},
        "handoffs.json: ",
    ),
}


@pytest.mark.parametrize(("sections", "place"), ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_one_mistake_is_one_problem(tmp_path: Path, sections: dict[str, Any], place: str) -> None:
    found = problems_of(tmp_path / "Bakery", **sections)
    assert [f"{one.file}: {one.path}" for one in found] == [place], found


def test_mistakes_of_all_kinds_are_reported_together_each_at_its_place(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path / "Bakery",
        workflow={"workflow_name": "Bakery", "max_turn": 3, "initial_agent": "Cellar"},
        agents={"agents": {"Counter": {"NOTE": 1, "max_consecutive_auto_reply": 0}, "Oven": {}}},
        tools={
            "tools": [
                {**TOOL, "timeout": 3},
                {"agent": "Cellar", "file": "till.py"},
                {**TOOL, "name": "gift", "agent": "Cellar", "file": "gone.py"},
            ]
        },
        handoffs={"handoff_rules": [RULE, {"source_agent": "Oven"}, {**RULE, "target_agent": "X"}]},
        context_variables={
            "definitions": [{"name": "a"}, {"name": "b", "source": {"type": "state"}}],
            "agents": {"Counter": {"variables": ["a", "b", "c"]}},
        },
    )
    assert sorted(f"{one.file}: {one.path}" for one in found) == [
        "agents.json: agents.Counter.NOTE",
        "agents.json: agents.Counter.max_consecutive_auto_reply",
        "context_variables.json: agents.Counter.variables",
        "context_variables.json: definitions.0.source",
        "handoffs.json: handoff_rules.1.target_agent",
        "handoffs.json: handoff_rules.2.target_agent",
        "tools.json: tools.0.timeout",
        "tools.json: tools.1.agent",
        "tools.json: tools.1.function",
        "tools.json: tools.2.agent",
        "tools.json: tools.2.file",
        "workflow.json: initial_agent",
        "workflow.json: max_turn",
    ]


def test_positions_are_those_of_the_file_after_an_entry_that_could_not_be_read(
    tmp_path: Path,
) -> None:
    rules = [{}, RULE, {**RULE, "source_agent": "Cellar"}]
    found = problems_of(tmp_path / "Bakery", handoffs={"handoffs": {"handoff_rules": rules}})
    assert {one.path for one in found} == {
        "handoffs.handoff_rules.0.source_agent",
        "handoffs.handoff_rules.0.target_agent",
        "handoffs.handoff_rules.2.source_agent",
    }
