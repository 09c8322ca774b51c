"""Build what agents and the runtime call: functions, MCP servers, lifecycle tools and hooks."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from services.orchestrator.workflows.effect_policy import DeclaredEffect, function_policy
from services.orchestrator.workflows.manifest.models.hooks import HooksManifest
from services.orchestrator.workflows.manifest.models.tools import (
    ApprovalManifest,
    FunctionManifest,
    LifecycleToolManifest,
    McpManifest,
    RecipientsManifest,
    ToolManifest,
    ToolsManifest,
)
from services.orchestrator.workflows.manifest.sections import FolderFiles
from services.orchestrator.workflows.spec import (
    ApprovalPolicy,
    Hook,
    Limits,
    McpServer,
    QuestionRouting,
    Recipients,
    Tool,
    ToolUi,
)


@dataclass(frozen=True, slots=True)
class WorkflowTools:
    """The tools of a checked manifest, by the agent or the moment that they belong to."""

    home: Path
    declared: ToolsManifest
    files: FolderFiles

    def functions(self, agent: str) -> tuple[Tool, ...]:
        """The Python functions that the model of an agent may call."""
        return tuple(
            _tool(self.files.python, one)
            for one in self.declared.tools
            if one.mcp is None and agent in one.agents
        )

    def mcp_servers(self, agent: str) -> tuple[McpServer, ...]:
        """The MCP servers whose tools the model of an agent may call."""
        return tuple(
            _mcp_server(self.home, self.files.python, one, one.mcp)
            for one in self.declared.tools
            if one.mcp is not None and agent in one.agents
        )

    def around_chat(self, trigger: str) -> tuple[Tool, ...]:
        """What the runtime calls at `before_chat` or `after_chat`."""
        own = [one for one in self.declared.lifecycle_tools if one.trigger == trigger]
        return tuple(_tool(self.files.python, one) for one in own)

    def around_turn(self, agent: str, trigger: str) -> tuple[Tool, ...]:
        """What the runtime calls at `before_agent` or `after_agent` of an agent's turns."""
        own = [
            one
            for one in self.declared.lifecycle_tools
            if one.trigger == trigger and one.agent in (None, agent)
        ]
        return tuple(_tool(self.files.python, one) for one in own)

    def hooks(self, declared: HooksManifest, agent: str) -> tuple[Hook, ...]:
        """The hooks of one agent, those of `all` included."""
        own = [one for one in declared.hooks if one.hook_agent in ("all", agent)]
        return tuple(
            Hook(one.hook_type, self.files.python[one.filename], one.function) for one in own
        )


def _tool(python: Mapping[str, PurePath], declared: ToolManifest | LifecycleToolManifest) -> Tool:
    ui = declared.ui
    return Tool(
        name=declared.name or declared.function,
        description=declared.description,
        file=python[declared.file],
        function=declared.function,
        limits=_limits(declared),
        ui=None if ui is None else ToolUi(ui.component, ui.mode or "inline"),
        auto_invoke=isinstance(declared, ToolManifest) and declared.is_auto_invoked,
        approval=_approval(declared) if isinstance(declared, ToolManifest) else None,
        effects=function_policy(_declared_effect(declared), may_ask=not _is_around_chat(declared)),
        check=declared.check,
    )


def _is_around_chat(declared: ToolManifest | LifecycleToolManifest) -> bool:
    return isinstance(declared, LifecycleToolManifest) and declared.trigger in (
        "before_chat",
        "after_chat",
    )


def _declared_effect(declared: FunctionManifest) -> DeclaredEffect:
    return DeclaredEffect(
        effect=declared.effect,
        in_doubt=declared.in_doubt,
        has_check=declared.check is not None,
        requires_approval=isinstance(declared, ToolManifest) and declared.needs_approval,
        retries=declared.retries,
    )


def _mcp_server(
    home: Path, python: Mapping[str, PurePath], declared: ToolManifest, server: McpManifest
) -> McpServer:
    allowed = server.allowed_tools
    secrets = server.headers_from if server.command is None else server.env_from
    return McpServer(
        name=server.name,
        folder=home,
        command=server.command,
        args=tuple(server.args),
        url=server.url,
        secrets=tuple(secrets.items()),
        allowed_tools=None if allowed is None else tuple(allowed),
        blocked_tools=tuple(server.blocked_tools),
        limits=_limits(declared),
        approval=_approval(declared),
        declared_effect=_declared_effect(declared),
        tool_effects=tuple(server.effects.items()),
        check=None if declared.check is None else (python[declared.file], declared.check),
    )


def _approval(declared: ToolManifest) -> ApprovalPolicy | None:
    if not declared.needs_approval:
        return None
    approval = declared.approval or ApprovalManifest()
    escalation = approval.escalation
    routing = QuestionRouting(
        to=_recipients(approval.approvers) if approval.approvers else None,
        escalate_after=None if escalation is None else escalation.after_seconds,
        escalate_to=Recipients() if escalation is None else _recipients(escalation),
        send_links=approval.send_links,
    )
    return ApprovalPolicy(approval.expires_after_seconds, approval.allow_always, routing)


def _recipients(declared: RecipientsManifest) -> Recipients:
    return Recipients(tuple(declared.users), tuple(declared.roles))


def _limits(declared: FunctionManifest) -> Limits:
    return Limits(declared.timeout_seconds, declared.retries, declared.max_concurrent)
