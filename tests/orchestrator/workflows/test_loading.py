"""A folder is a workflow or a list of problems with their file; a broken one affects no other."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from contracts.events.turn import SELECTOR
from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load, load_all
from services.orchestrator.workflows.manifest.reader import MAX_MANIFEST_BYTES
from services.orchestrator.workflows.spec import Handoff
from tests.story import EDITOR, WRITER

SHIPPED = Path(__file__).parents[3] / "workflows"

WORKFLOW: dict[str, Any] = {
    "workflow_name": "Newsroom",
    "orchestration_pattern": "DefaultPattern",
}
AGENTS: dict[str, Any] = {"agents": [{"name": "Writer"}, {"name": "Editor"}]}
TOOL: dict[str, Any] = {"agent": "Writer", "file": "look.py", "function": "look"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a valid workflow."""
    return newsroom(tmp_path / "root" / "Newsroom")


def newsroom(folder: Path) -> Path:
    (folder / "tools").mkdir(parents=True)
    (folder / "tools" / "look.py").write_text("def look() -> str:\n    return 'seen'\n")
    write(folder, "workflow.json", WORKFLOW)
    write(folder, "agents.json", AGENTS)
    write(folder, "tools.json", {"tools": [TOOL]})
    return folder


def write(folder: Path, name: str, content: object) -> None:
    match content:
        case bytes():
            (folder / name).write_bytes(content)
        case str():
            (folder / name).write_text(content)
        case _:
            (folder / name).write_text(json.dumps(content))


def loaded(folder: Path) -> LoadedWorkflow:
    found = load(folder)
    assert isinstance(found, LoadedWorkflow), found
    return found


def problems(folder: Path) -> tuple[str, ...]:
    found = load(folder)
    assert isinstance(found, BrokenWorkflow), found
    return found.problems


def test_the_shipped_workflows_load_without_problems() -> None:
    found = load_all(SHIPPED)
    assert [one.workflow.name for one in found if isinstance(one, LoadedWorkflow)] == [
        "Brainstorm",
        "Clock",
        "Debate",
        "Generator",
        "HelloWorld",
        "Helpdesk",
        "Postcard",
    ]
    assert [one for one in found if isinstance(one, BrokenWorkflow)] == []


def test_every_agent_of_the_shipped_workflows_has_a_demo_script() -> None:
    for one in load_all(SHIPPED):
        assert isinstance(one, LoadedWorkflow)
        assert set(one.demo.agents) - {SELECTOR} == set(one.workflow.agents)


def test_demo_scripts_call_only_tools_of_their_agent() -> None:
    for one in load_all(SHIPPED):
        assert isinstance(one, LoadedWorkflow)
        for agent in one.workflow.agents.values():
            own = {tool.name for tool in agent.tools}
            own |= {f"transfer_to_{handoff.target}" for handoff in agent.handoffs}
            own |= {name for server in agent.mcp_servers for name in server.allowed_tools or ()}
            lines = one.demo.script(agent.name).lines
            assert {call.tool for line in lines for call in line.calls} <= own


def test_two_files_make_a_workflow(folder: Path) -> None:
    (folder / "tools.json").unlink()
    workflow = loaded(folder).workflow
    assert list(workflow.agents) == [WRITER, EDITOR]
    assert workflow.initial_agent == WRITER


def test_a_byte_order_mark_is_accepted(folder: Path) -> None:
    write(folder, "agents.json", b"\xef\xbb\xbf" + json.dumps(AGENTS).encode())
    assert list(loaded(folder).workflow.agents) == [WRITER, EDITOR]


def test_rules_tools_and_variables_reach_the_agents_they_name(folder: Path) -> None:
    rules = [
        {"source_agent": "Writer", "target_agent": "Editor"},
        {
            "source_agent": "Writer",
            "target_agent": "user",
            "handoff_type": "condition",
            "condition": "Something is unclear.",
        },
        {"source_agent": "user", "target_agent": "Writer"},
    ]
    write(folder, "handoffs.json", {"handoff_rules": rules})
    declared = [
        {"name": "tone", "source": {"type": "static", "value": "dry"}},
        {"name": "draft", "source": {"type": "state", "default": None}},
    ]
    agents = {"Writer": {"variables": ["tone"]}}
    write(folder, "context_variables.json", {"definitions": declared, "agents": agents})
    workflow = loaded(folder).workflow
    writer = workflow.agents[WRITER]
    assert writer.after_work == EDITOR
    assert [handoff.condition for handoff in writer.handoffs] == ["Something is unclear."]
    assert isinstance(writer.handoffs[0], Handoff)
    assert [tool.name for tool in writer.tools] == ["look"]
    assert writer.variables == ("tone",)
    assert workflow.agents[EDITOR].tools == ()
    assert workflow.after_user == WRITER
    assert workflow.variables == {"tone": "dry", "draft": None}


def rule(**fields: Any) -> dict[str, Any]:
    return {"handoff_rules": [{"source_agent": "Writer", "target_agent": "Editor", **fields}]}


BAD: dict[str, tuple[str, object, str]] = {
    "malformed JSON": ("agents.json", "{", "agents.json: Invalid JSON"),
    "no JSON at all": ("agents.json", "", "agents.json: Invalid JSON"),
    "JSON of another shape": ("agents.json", "[]", "agents.json: is not an object"),
    "JSON too deep": ("agents.json", "[" * 100_000, "agents.json: Invalid JSON"),
    "not UTF-8": ("agents.json", b'{"agents": "\xff"}', "agents.json: is not UTF-8"),
    "UTF-16": ("agents.json", json.dumps(AGENTS).encode("utf-16"), "agents.json: is not UTF-8"),
    "10 MB": (
        "agents.json",
        " " * 10_000_000,
        f"agents.json: is larger than {MAX_MANIFEST_BYTES} bytes",
    ),
    "an unknown field": (
        "workflow.json",
        {**WORKFLOW, "max_turn": 3},
        "workflow.json: max_turn: there is no such key",
    ),
    "a missing field": (
        "tools.json",
        {"tools": [{"agent": "Writer", "file": "look.py"}]},
        "tools.json: tools.0.function: is missing",
    ),
    "an unknown pattern": (
        "workflow.json",
        {**WORKFLOW, "orchestration_pattern": "Anarchy"},
        "workflow.json: orchestration_pattern: is not one of the accepted values (accepted: Default",
    ),
    "a number out of bounds": (
        "workflow.json",
        {**WORKFLOW, "max_turns": 0},
        "workflow.json: max_turns: ",
    ),
    "a name that fits in no subject": (
        "workflow.json",
        {**WORKFLOW, "workflow_name": "N" * 300},
        "workflow.json: workflow_name: ",
    ),
    "no agents": ("agents.json", {"agents": []}, "agents.json: agents: "),
    "an agent twice": (
        "agents.json",
        {"agents": [{"name": "Writer"}, {"name": "Editor"}, {"name": "Writer"}]},
        "agents.json: agents: the name Writer is used twice or reserved",
    ),
    "an agent named user": (
        "agents.json",
        {"agents": [*AGENTS["agents"], {"name": "user"}]},
        "agents.json: agents: the name user is used twice or reserved",
    ),
    "an unknown initial agent": (
        "workflow.json",
        {**WORKFLOW, "initial_agent": "Nobody"},
        "workflow.json: initial_agent: there is no agent Nobody (accepted: Writer, Editor)",
    ),
    "a tool of an unknown agent": (
        "tools.json",
        {"tools": [{**TOOL, "agent": ["Writer", "Nobody"]}]},
        "tools.json: tools.0.agent: there is no agent Nobody",
    ),
    "a handoff from an unknown agent": (
        "handoffs.json",
        rule(source_agent="Nobody"),
        "handoffs.json: handoff_rules.0.source_agent: there is no agent Nobody",
    ),
    "a handoff to an unknown agent": (
        "handoffs.json",
        rule(target_agent="Nobody"),
        "handoffs.json: handoff_rules.0.target_agent: there is no agent Nobody",
    ),
    "a condition without words": (
        "handoffs.json",
        rule(handoff_type="condition"),
        "handoffs.json: handoff_rules.0.condition: ",
    ),
    "variables of an unknown agent": (
        "context_variables.json",
        {"agents": {"Nobody": {}}},
        "context_variables.json: agents.Nobody: there is no agent Nobody",
    ),
    "an unknown variable": (
        "context_variables.json",
        {"agents": {"Writer": {"variables": ["tone"]}}},
        "context_variables.json: agents.Writer.variables: there is no variable tone",
    ),
    "an unknown source of a variable": (
        "context_variables.json",
        {"definitions": [{"name": "tone", "source": {"type": "oracle"}}]},
        "context_variables.json: definitions.0.source: ",
    ),
    "a demo script of an unknown agent": (
        "demo.json",
        {"agents": {"Nobody": {"lines": [{"say": "Hi"}]}}},
        "demo.json: agents: there is no agent Nobody",
    ),
    "a demo script without lines": (
        "demo.json",
        {"agents": {"Writer": {"lines": []}}},
        "demo.json: agents.Writer: ",
    ),
}


@pytest.mark.parametrize(("name", "content", "expected"), BAD.values(), ids=BAD.keys())
def test_a_bad_manifest_is_reported_with_file_and_reason_while_others_load(
    folder: Path, name: str, content: object, expected: str
) -> None:
    newsroom(folder.parent / "Other")
    write(folder, name, content)
    broken, other = load_all(folder.parent)
    assert isinstance(broken, BrokenWorkflow)
    assert broken.name == "Newsroom"
    assert any(problem.startswith(expected) for problem in broken.problems), broken.problems
    assert isinstance(other, LoadedWorkflow)


NO_FILES = {
    "missing": "absent.py",
    "a folder": "tools",
    "above the folder": "../Other/tools/look.py",
    "above the tools": "tools/../../Other/tools/look.py",
    "an absolute path": "/etc/hostname",
    "empty": "",
    "a null byte": "look\0.py",
    "a name that no disk takes": "l" * 5_000 + ".py",
    "a link to elsewhere": "link.py",
    "a link to itself": "circle.py",
    "below a link to elsewhere": "linked/look.py",
}


@pytest.mark.parametrize("file", NO_FILES.values(), ids=NO_FILES.keys())
def test_a_tool_file_must_be_in_the_workflows_folder(folder: Path, file: str) -> None:
    other = newsroom(folder.parent / "Other")
    (folder / "link.py").symlink_to(other / "tools" / "look.py")
    (folder / "circle.py").symlink_to(folder / "circle.py")
    (folder / "linked").symlink_to(other / "tools")
    write(folder, "tools.json", {"tools": [{**TOOL, "file": file}]})
    broken, fine = load_all(folder.parent)
    assert isinstance(broken, BrokenWorkflow)
    assert broken.problems[0].startswith("tools.json: tools.0.file: look: there is no file ")
    assert isinstance(fine, LoadedWorkflow)


def test_every_unknown_name_is_reported_at_once(folder: Path) -> None:
    write(folder, "workflow.json", {**WORKFLOW, "initial_agent": "A"})
    write(folder, "tools.json", {"tools": [{**TOOL, "agent": "B"}]})
    write(folder, "handoffs.json", rule(target_agent="C"))
    assert len(problems(folder)) == 3


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "agents.json").unlink()
    assert problems(folder) == (
        "agents.json: is missing (accepted: agents.json, agents.yaml, agents.yml)",
    )


def test_a_file_that_would_never_end_is_named_and_not_read(folder: Path) -> None:
    os.mkfifo(folder / "handoffs.json")
    (folder / "tools").mkdir(exist_ok=True)
    os.mkfifo(folder / "tools" / "endless.py")
    assert problems(folder) == ("handoffs.json: is not a regular file",)


def test_a_section_is_read_whatever_the_case_of_its_name(folder: Path) -> None:
    (folder / "workflow.json").rename(folder / "Workflow.JSON")
    (folder / "tools.json").rename(folder / "TOOLS.Json")
    write(folder, "TOOLS.Json", {"tools": [{**TOOL, "agent": "B"}]})
    (problem,) = problems(folder)
    assert problem.startswith("TOOLS.Json: tools.0.agent: there is no agent B")


def test_a_section_in_two_spellings_exists_twice(folder: Path) -> None:
    (folder / "Agents.JSON").write_text("{}")
    assert problems(folder) == ("Agents.JSON: exists twice: Agents.JSON and agents.json",)


def test_a_folder_instead_of_a_file_is_named(folder: Path) -> None:
    (folder / "handoffs.json").mkdir()
    assert problems(folder) == ("handoffs.json: is not a regular file",)


def test_a_folder_without_workflow_json_is_not_a_workflow(folder: Path) -> None:
    (folder.parent / "notes").mkdir()
    (folder.parent / "readme.txt").write_text("hello")
    assert [
        one.workflow.name for one in load_all(folder.parent) if isinstance(one, LoadedWorkflow)
    ] == ["Newsroom"]


def test_a_link_to_itself_and_a_hidden_folder_are_not_workflows(folder: Path) -> None:
    (folder.parent / "circle").symlink_to(folder.parent / "circle")
    newsroom(folder.parent / ".hidden")
    (found,) = load_all(folder.parent)
    assert isinstance(found, LoadedWorkflow)


def test_a_missing_folder_has_no_workflows(tmp_path: Path) -> None:
    assert load_all(tmp_path / "absent") == []


def test_problems_contain_no_values_of_the_file(folder: Path) -> None:
    write(folder, "workflow.json", {**WORKFLOW, "max_turns": "sk-secret-key"})
    assert "sk-secret" not in " ".join(problems(folder))
