"""MCP servers in `tools.json`: what is accepted, errors with their path, and the resulting servers."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types

from services.orchestrator.workflows.effect_policy import DeclaredEffect
from services.orchestrator.workflows.loading import BrokenWorkflow, LoadedWorkflow, load
from services.orchestrator.workflows.manifest.models.tools import ToolsManifest
from services.orchestrator.workflows.spec import Limits, McpServer

TIME: dict[str, Any] = {"name": "time", "command": "python", "args": ["-m", "mcp_server_time"]}
REMOTE: dict[str, Any] = {"name": "shop", "url": "https://shop.example/mcp"}


def folder(root: Path, *entries: dict[str, Any]) -> Path:
    place = root / "Clock"
    place.mkdir()
    (place / "workflow.json").write_text('{"workflow_name": "Clock"}')
    (place / "agents.json").write_text('{"agents": [{"name": "Clerk"}, {"name": "Guest"}]}')
    (place / "tools.json").write_text(json.dumps({"tools": entries}))
    return place


def entry(server: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"agent": "Clerk", "mcp": server, **more}


def test_a_server_belongs_to_the_agents_that_may_call_it(tmp_path: Path) -> None:
    limits = {"timeout_seconds": 5, "retries": 2, "max_concurrent": 3}
    declared = entry({**TIME, "allowed_tools": ["now"], "env_from": {"TZ": "MY_ZONE"}}, **limits)
    found = load(folder(tmp_path, declared, {"agent": ["Guest"], "mcp": REMOTE}))
    assert isinstance(found, LoadedWorkflow), found
    clerk, guest = found.workflow.agents.values()
    assert clerk.mcp_servers == (
        McpServer(
            name="time",
            folder=(tmp_path / "Clock").resolve(),
            command="python",
            args=("-m", "mcp_server_time"),
            secrets=(("TZ", "MY_ZONE"),),
            allowed_tools=("now",),
            limits=Limits(5, 2, 3),
            declared_effect=DeclaredEffect(retries=2),
        ),
    )
    assert [server.url for server in guest.mcp_servers] == ["https://shop.example/mcp"]
    assert clerk.tools == ()


REFUSED: dict[str, tuple[list[dict[str, Any]], str]] = {
    "neither": ([entry({"name": "x"})], "tools.0.mcp: needs either a command or a url"),
    "both": ([entry({**TIME, **REMOTE})], "tools.0.mcp: needs either a command or a url"),
    "an address that is none": (
        [entry({"name": "x", "url": "ftp://shop"})],
        "tools.0.mcp.url: String should match pattern",
    ),
    "a secret itself": (
        [entry({**REMOTE, "headers_from": {"Authorization": "Bearer hush"}})],
        "tools.0.mcp.headers_from.Authorization: String should match pattern",
    ),
    "an unknown key": (
        [entry({**TIME, "arg": []})],
        "tools.0.mcp.arg: there is no such key",
    ),
    "a name that no tool could begin with": (
        [entry({**TIME, "name": "my clock"})],
        "tools.0.mcp.name: String should match pattern",
    ),
    "a file, too": (
        [entry(TIME, file="look.py")],
        "tools.0.file: is not accepted for an MCP server, which has own tools",
    ),
    "an unknown agent": (
        [{"agent": "Clark", "mcp": TIME}],
        "tools.0.agent: there is no agent Clark (accepted: Clerk, Guest); did you mean Clerk?",
    ),
    "twice the same name": (
        [entry(TIME), entry(TIME)],
        "Clerk: two of its MCP servers are called time",
    ),
    "neither file nor server": ([{"agent": "Clerk"}], "tools.0.file: is missing"),
}


@pytest.mark.parametrize(("entries", "expected"), REFUSED.values(), ids=REFUSED)
def test_an_error_names_its_path(
    tmp_path: Path, entries: list[dict[str, Any]], expected: str
) -> None:
    found = load(folder(tmp_path, *entries))
    assert isinstance(found, BrokenWorkflow)
    assert any(problem.startswith(f"tools.json: {expected}") for problem in found.problems), found


def test_a_key_without_effect_is_a_warning(tmp_path: Path) -> None:
    server = {**REMOTE, "args": ["x"], "allowed_tools": ["buy"], "blocked_tools": ["buy"]}
    found = load(folder(tmp_path, entry(server)))
    assert isinstance(found, LoadedWorkflow), found
    assert [problem.line for problem in found.diagnostics] == [
        "tools.json: tools.0.mcp.args: has no effect with url",
        "tools.json: tools.0.mcp.blocked_tools: buy is both allowed and blocked",
    ]


@pytest.mark.parametrize(
    ("tool", "fits"),
    [
        ({"agent": "Clerk", "mcp": TIME}, True),
        ({"agent": "Clerk", "file": "a.py", "function": "a"}, True),
        ({"agent": "Clerk", "file": "a.py"}, False),
        ({"agent": "Clerk"}, False),
    ],
)
def test_the_json_schema_has_the_same_rule(tool: dict[str, Any], *, fits: bool) -> None:
    editor = Draft202012Validator(ToolsManifest.model_json_schema())
    assert editor.is_valid({"tools": [tool]}) == fits
