"""What agents and the runtime may call: functions, MCP servers and hooks."""

import re
from pathlib import Path

from contracts.ids import AgentName
from services.orchestrator.workflows.checks.report import Report, Sections
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.diagnosis import nearest
from services.orchestrator.workflows.manifest import (
    CalledManifest,
    McpManifest,
    ToolManifest,
)
from services.orchestrator.workflows.naming import file_of, resolve
from services.orchestrator.workflows.spec import transfer_name

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_tools(report: Report, sections: Sections, names: list[str], folder: Path) -> None:
    """Providers refuse a request whose tools share a name, or whose names they do not allow."""
    for number, tool in enumerate(sections.tools.tools):
        _check_tool(report, names, folder, number, tool)
    for number, called in enumerate(sections.tools.lifecycle_tools):
        _check_called(report, folder, ("lifecycle_tools", number), called)
        if called.agent is not None and called.agent not in names:
            place = ("lifecycle_tools", number, "agent")
            report.unknown("tools", place, "agent", called.agent, names)
    for agent in dict.fromkeys(names):
        offered = [
            tool.name or tool.function
            for tool in sections.tools.tools
            if agent in tool.agents and tool.mcp is None
        ]
        offered += [
            transfer_name(resolve(rule.target_agent, names) or AgentName(rule.target_agent))
            for rule in sections.handoffs.handoff_rules
            if rule.source_agent == agent and rule.kind == "llm"
        ]
        for name in dict.fromkeys(offered):
            if offered.count(name) > 1:
                report.add("tools", (), f"{agent}: two of its tools are called {name}")
        servers = [
            tool.mcp.name for tool in sections.tools.tools if tool.mcp and agent in tool.agents
        ]
        for name in dict.fromkeys(servers):
            if servers.count(name) > 1:
                report.add("tools", (), f"{agent}: two of its MCP servers are called {name}")


def _check_tool(
    report: Report, names: list[str], folder: Path, number: int, tool: ToolManifest
) -> None:
    place = ("tools", number)
    for agent in tool.agents:
        if agent not in names:
            report.unknown("tools", (*place, "agent"), "agent", agent, names)
    if tool.mcp is not None:
        _check_server(report, number, tool, tool.mcp)
        return
    if missing := [key for key in ("file", "function") if key not in tool.model_fields_set]:
        for key in missing:
            report.add("tools", (*place, key), "is missing")
        return
    _check_called(report, folder, place, tool)


def _check_called(report: Report, folder: Path, place: Place, called: CalledManifest) -> None:
    if not _TOOL_NAME.fullmatch(name := called.name or called.function):
        report.add(
            "tools", (*place, "name"), f"{name}: a tool's name is 1 to 64 of A-Z a-z 0-9 _ -"
        )
    _check_file(report, "tools", (*place, "file"), folder, called.file, called.function)


def _check_file(
    report: Report, section: str, place: Place, folder: Path, file: str, function: str
) -> None:
    if file_of(folder, file) is None:
        what = f"{function}: no file {file} in the folder or its tools/"
        present = sorted(path.name for path in folder.glob("tools/*.py"))
        report.add(section, place, what, hint=nearest(file, present))


def check_hooks(report: Report, sections: Sections, names: list[str], folder: Path) -> None:
    for number, hook in enumerate(sections.hooks.hooks):
        place: Place = ("hooks", number)
        _check_file(report, "hooks", (*place, "filename"), folder, hook.filename, hook.function)
        if hook.hook_agent != "all" and hook.hook_agent not in names:
            report.unknown("hooks", (*place, "hook_agent"), "agent", hook.hook_agent, names)


def _check_server(report: Report, number: int, tool: ToolManifest, server: McpManifest) -> None:
    place: Place = ("tools", number)
    for key in sorted({"file", "function", "name", "auto_invoke", "ui"} & tool.model_fields_set):
        report.add("tools", (*place, key), "an MCP server brings its tools: it has no such key")
    inside: Place = (*place, "mcp")
    if (server.command is None) == (server.url is None):
        report.add("tools", inside, "has either a command or a url")
        return
    others = {"url": ("args", "env_from"), "command": ("headers_from",)}
    way = "url" if server.command is None else "command"
    for key in others[way]:
        if getattr(server, key):
            report.add("tools", (*inside, key), f"has no effect with {way}", severity="warning")
    for name in sorted(set(server.blocked_tools) & set(server.allowed_tools or ())):
        what = f"{name} is allowed and blocked"
        report.add("tools", (*inside, "blocked_tools"), what, severity="warning")
