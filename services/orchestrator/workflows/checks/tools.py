"""Check tools, MCP servers and hooks: agents, names, files and combinations of keys."""

import re

from contracts.ids import AgentName
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.manifest.diagnostics import FieldPath, closest_name
from services.orchestrator.workflows.manifest.models.tools import (
    FunctionManifest,
    McpManifest,
    ToolManifest,
)
from services.orchestrator.workflows.manifest.names import resolve_target
from services.orchestrator.workflows.manifest.sections import FolderFiles, Sections
from services.orchestrator.workflows.spec import transfer_name

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_tools(report: Report, sections: Sections, names: list[str]) -> None:
    """Providers reject a request with duplicate tool names or with characters they do not allow."""
    for number, tool in enumerate(sections.tools.tools):
        _check_tool(report, names, sections.files, number, tool)
    for number, called in enumerate(sections.tools.lifecycle_tools):
        _check_function(report, sections.files, ("lifecycle_tools", number), called)
        _check_effect(report, ("lifecycle_tools", number), called)
        if called.trigger in ("before_chat", "after_chat") and called.in_doubt in ("ask", "fail"):
            report.add(
                "tools",
                ("lifecycle_tools", number, "in_doubt"),
                f"a tool that is called {called.trigger.replace('_', ' a ')} cannot "
                f"{called.in_doubt}: no user and no turn waits for it",
                accepted=["tell"],
            )
        if called.agent is not None and called.agent not in names:
            path = ("lifecycle_tools", number, "agent")
            report.unknown("tools", path, "agent", called.agent, names)
    for agent in dict.fromkeys(names):
        offered = [
            tool.name or tool.function
            for tool in sections.tools.tools
            if agent in tool.agents and tool.mcp is None
        ]
        targets = [
            resolve_target(rule.target_agent, names) or AgentName(rule.target_agent)
            for rule in sections.handoffs.handoff_rules
            if rule.source_agent == agent and rule.kind == "llm"
        ]
        offered += [transfer_name(target) for target in dict.fromkeys(targets)]
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
    report: Report, names: list[str], files: FolderFiles, number: int, tool: ToolManifest
) -> None:
    path = ("tools", number)
    for agent in tool.agents:
        if agent not in names:
            report.unknown("tools", (*path, "agent"), "agent", agent, names)
    _check_approval(report, path, tool)
    _check_effect(report, path, tool)
    if tool.mcp is not None:
        _check_server(report, number, tool, tool.mcp)
        _check_server_effects(report, files, path, tool, tool.mcp)
        return
    if missing := [key for key in ("file", "function") if key not in tool.model_fields_set]:
        for key in missing:
            report.add("tools", (*path, key), "is missing")
        return
    _check_function(report, files, path, tool)


def _check_approval(report: Report, path: FieldPath, tool: ToolManifest) -> None:
    approval = tool.approval
    if approval is None:
        return
    where: FieldPath = (*path, "approval")
    if tool.requires_approval is False:
        report.add("tools", where, "contradicts requires_approval: false; remove one of the two")
    for key, to in (("approvers", approval.approvers), ("escalation", approval.escalation)):
        if to is None:
            continue
        if not (to.users or to.roles):
            report.add("tools", (*where, key), "needs users or roles: nobody could answer")
        for field, names in (("users", to.users), ("roles", to.roles)):
            if not all(name.strip() for name in names):
                report.add("tools", (*where, key, field), "must not contain an empty name")
    expires, escalation = approval.expires_after_seconds, approval.escalation
    if escalation is not None and expires is not None and escalation.after_seconds >= expires:
        message = f"has no effect: the question expires after {expires:g} s"
        report.add("tools", (*where, "escalation", "after_seconds"), message, severity="warning")


def _check_effect(report: Report, path: FieldPath, called: FunctionManifest) -> None:
    """A tool whose effect must not happen twice is not called twice."""
    if called.effect == "once" and called.retries:
        report.add(
            "tools",
            (*path, "retries"),
            f"{_once(called)}, so a failed call is not repeated: its effect may have happened",
            found=str(called.retries),
            accepted=["0"],
            hint="effect: idempotent, if a repeated call under the same key has no further effect",
        )


def _once(called: FunctionManifest) -> str:
    return f"{called.name or called.function or 'the server'} has effect: once"


def _check_server_effects(
    report: Report, files: FolderFiles, path: FieldPath, tool: ToolManifest, server: McpManifest
) -> None:
    once = [name for name, effect in server.effects.items() if effect == "once"]
    if tool.retries and once:
        report.add(
            "tools",
            (*path, "retries"),
            f"{', '.join(once)}: effect: once, so a failed call is not repeated",
            found=str(tool.retries),
            accepted=["0"],
            hint="an entry of its own for the server's tools that may be repeated (allowed_tools)",
        )
    for name in server.effects:
        if server.allowed_tools is not None and name not in server.allowed_tools:
            report.unknown(
                "tools", (*path, "mcp", "effects"), "allowed tool", name, server.allowed_tools
            )
    if tool.check is not None:
        _check_file(report, "tools", (*path, "file"), files, tool.file, tool.check)


def _check_function(
    report: Report, files: FolderFiles, path: FieldPath, called: FunctionManifest
) -> None:
    if not _TOOL_NAME.fullmatch(name := called.name or called.function):
        report.add(
            "tools",
            (*path, "name"),
            f"{name} is not a valid tool name: 1 to 64 characters of A-Z a-z 0-9 _ -",
        )
    _check_file(report, "tools", (*path, "file"), files, called.file, called.function)


def _check_file(
    report: Report, section: str, path: FieldPath, files: FolderFiles, file: str, function: str
) -> None:
    if file not in files.python:
        message = f"{function}: there is no file {file} in the folder or its tools/"
        hint = closest_name(file, files.tool_names)
        report.add(section, path, message, hint=hint, about=("file", file))


def check_hooks(report: Report, sections: Sections, names: list[str]) -> None:
    for number, hook in enumerate(sections.hooks.hooks):
        path: FieldPath = ("hooks", number)
        _check_file(
            report, "hooks", (*path, "filename"), sections.files, hook.filename, hook.function
        )
        if hook.hook_agent != "all" and hook.hook_agent not in names:
            report.unknown("hooks", (*path, "hook_agent"), "agent", hook.hook_agent, names)


def _check_server(report: Report, number: int, tool: ToolManifest, server: McpManifest) -> None:
    path: FieldPath = ("tools", number)
    refused = {"function", "name", "auto_invoke", "ui"} | (
        {"file"} if tool.check is None else set()
    )
    for key in sorted(refused & tool.model_fields_set):
        report.add("tools", (*path, key), "is not accepted for an MCP server, which has own tools")
    mcp: FieldPath = (*path, "mcp")
    if (server.command is None) == (server.url is None):
        report.add("tools", mcp, "needs either a command or a url")
        return
    unused = {"url": ("args", "env_from"), "command": ("headers_from",)}
    transport = "url" if server.command is None else "command"
    for key in unused[transport]:
        if getattr(server, key):
            report.add("tools", (*mcp, key), f"has no effect with {transport}", severity="warning")
    for name in sorted(set(server.blocked_tools) & set(server.allowed_tools or ())):
        message = f"{name} is both allowed and blocked"
        report.add("tools", (*mcp, "blocked_tools"), message, severity="warning")
