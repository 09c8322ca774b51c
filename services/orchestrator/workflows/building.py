"""From sections that agree with each other to the workflow they describe."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from contracts.ids import AgentName, WorkflowName
from services.orchestrator.workflows.checks.report import Sections
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.manifest import (
    AgentManifest,
    AgentTextTrigger,
    CalledManifest,
    HandoffManifest,
    HooksManifest,
    LifecycleToolManifest,
    McpManifest,
    OutputsManifest,
    StateSource,
    ToolManifest,
    UiResponseTrigger,
    VariablesManifest,
)
from services.orchestrator.workflows.naming import file_of, resolve, resolve_visual
from services.orchestrator.workflows.outputs import outputs_of
from services.orchestrator.workflows.references import references_of
from services.orchestrator.workflows.spec import (
    TERMINATE,
    USER,
    Agent,
    AnswerTrigger,
    Handoff,
    Hook,
    Interface,
    Limits,
    McpServer,
    ModelChoice,
    Output,
    Rule,
    TextTrigger,
    Tool,
    Trigger,
    Version,
    Workflow,
)


def build_workflow(
    folder: Path, home: Path, sections: Sections, values: Mapping[str, Any], version: Version
) -> Workflow:
    head = sections.head
    names = [agent.name for agent in sections.agents.agents]
    rules = _Rules(tuple(sections.handoffs.handoff_rules), tuple(names))
    tools = [
        (declared.agents, _tool(folder, declared))
        for declared in sections.tools.tools
        if declared.mcp is None
    ]
    servers = [
        (declared.agents, _server(home, declared, declared.mcp))
        for declared in sections.tools.tools
        if declared.mcp is not None
    ]
    told = {entry.agent: tuple(entry.variables) for entry in sections.variables.agents}
    called = _Called(folder, tuple(sections.tools.lifecycle_tools))
    outputs = _outputs(sections.outputs)
    triggers = _triggers(sections.variables)
    built = {
        AgentName(agent.name): Agent(
            name=AgentName(agent.name),
            prompt=agent.prompt,
            tools=tuple(tool for agents, tool in tools if agent.name in agents),
            before=called.around(agent.name, "before_agent"),
            after=called.around(agent.name, "after_agent"),
            hooks=_hooks(folder, sections.hooks, agent.name),
            output=outputs.get(agent.name),
            output_required=agent.structured_outputs_required or agent.auto_tool_mode,
            auto_tool_mode=agent.auto_tool_mode,
            hidden=_hidden(triggers, agent.name),
            handoffs=rules.handoffs(agent.name),
            before_reply=rules.expressions(agent.name, "pre"),
            after_work_if=rules.expressions(agent.name, None),
            after_work=rules.after_work(agent.name),
            max_consecutive_auto_reply=agent.max_consecutive_auto_reply,
            variables=told.get(agent.name, ()),
            model=_model(agent),
            servers=tuple(server for agents, server in servers if agent.name in agents),
        )
        for agent in sections.agents.agents
    }
    visual = [*head.visual_agents, *sections.page.visual_agents]
    shown = [one for name in visual if (one := resolve_visual(name, names))]
    return Workflow(
        name=WorkflowName(head.workflow_name),
        agents=built,
        initial_agent=AgentName(head.initial_agent or names[0]),
        description=head.description,
        pattern=head.orchestration_pattern,
        max_turns=head.max_turns,
        human_in_the_loop=head.human_in_the_loop,
        startup_mode=head.startup_mode,
        initial_message=head.initial_message,
        initial_message_to_user=head.initial_message_to_user,
        after_user_if=rules.expressions(USER, None),
        after_user=rules.after_work(USER),
        visual_agents=tuple(dict.fromkeys(shown)),
        variables=values,
        references=references_of(sections.variables),
        triggers=triggers,
        before_chat=called.at("before_chat"),
        after_chat=called.at("after_chat"),
        version=version,
    )


@dataclass(frozen=True, slots=True)
class _Called:
    """What the runtime calls around chats and turns."""

    folder: Path
    declared: tuple[LifecycleToolManifest, ...]

    def at(self, trigger: str) -> tuple[Tool, ...]:
        return tuple(_tool(self.folder, one) for one in self.declared if one.trigger == trigger)

    def around(self, agent: str, trigger: str) -> tuple[Tool, ...]:
        own = [one for one in self.declared if one.agent in (None, agent)]
        return tuple(_tool(self.folder, one) for one in own if one.trigger == trigger)


def _outputs(declared: OutputsManifest) -> Mapping[str, Output]:
    """The model in which each agent answers."""
    models = outputs_of(declared.models)
    return {
        entry.agent: models[entry.agent_definition]
        for entry in declared.registry
        if entry.agent_definition is not None
    }


def _hooks(folder: Path, declared: HooksManifest, agent: str) -> tuple[Hook, ...]:
    own = [one for one in declared.hooks if one.hook_agent in ("all", agent)]
    return tuple(Hook(one.hook_type, _file(folder, one.filename), one.function) for one in own)


def _triggers(variables: VariablesManifest) -> tuple[Trigger, ...]:
    return tuple(
        _trigger(variable.name, trigger, value)
        for variable in variables.definitions
        if isinstance(source := variable.source, StateSource)
        for trigger, value in [
            *((trigger, None) for trigger in source.triggers),
            *((transition.trigger, transition.to) for transition in source.transitions),
        ]
    )


def _trigger(variable: str, declared: AgentTextTrigger | UiResponseTrigger, value: Any) -> Trigger:
    if isinstance(declared, UiResponseTrigger):
        return AnswerTrigger(variable, declared.tool, declared.response_key, value)
    match = declared.matching
    return TextTrigger(
        variable=variable,
        agent=AgentName(declared.agent),
        value=True if value is None else value,
        equals=match.equals,
        contains=match.contains,
        regex=match.regex,
        ui_hidden=declared.ui_hidden,
    )


def _hidden(triggers: Iterable[Trigger], agent: str) -> frozenset[str]:
    """The replies that are for the runtime alone, whole: `contains` hides what equals it, too."""
    return frozenset(
        whole.strip()
        for one in triggers
        if isinstance(one, TextTrigger) and one.ui_hidden and one.agent == agent
        for whole in (one.equals, one.contains)
        if whole
    )


@dataclass(frozen=True, slots=True)
class _Rules:
    """The handoff rules, by whose they are; every name in them is known."""

    rules: tuple[HandoffManifest, ...]
    names: tuple[str, ...]

    def handoffs(self, source: str) -> tuple[Handoff, ...]:
        own = [rule for rule in self._of(source) if rule.kind == "llm"]
        return tuple(Handoff(self._target(rule), rule.condition or "") for rule in own)

    def expressions(self, source: str, scope: str | None) -> tuple[Rule, ...]:
        return tuple(
            Rule(self._target(rule), parse(rule.condition or ""))
            for rule in self._of(source)
            if rule.kind == "expression" and (source == USER or rule.condition_scope == scope)
        )

    def after_work(self, source: str) -> AgentName | None:
        own = [rule for rule in self._of(source) if rule.kind == "after_work"]
        return self._target(own[-1]) if own else None

    def _of(self, source: str) -> list[HandoffManifest]:
        return [rule for rule in self.rules if resolve(rule.source_agent, self.names) == source]

    def _target(self, rule: HandoffManifest) -> AgentName:
        return resolve(rule.target_agent, self.names) or TERMINATE


def _model(agent: AgentManifest) -> ModelChoice:
    own = agent.llm_config
    return ModelChoice(own.model, own.temperature, own.base_url, own.api_key_env, own.provider)


def _tool(folder: Path, declared: ToolManifest | LifecycleToolManifest) -> Tool:
    shown = declared.ui
    return Tool(
        name=declared.name or declared.function,
        description=declared.description,
        file=_file(folder, declared.file),
        function=declared.function,
        limits=_limits(declared),
        interface=None if shown is None else Interface(shown.component, shown.mode or "inline"),
        auto_invoke=isinstance(declared, ToolManifest) and declared.is_auto_invoked,
        requires_approval=isinstance(declared, ToolManifest) and declared.requires_approval,
    )


def _file(folder: Path, name: str) -> PurePath:
    """Where a function's file lies below the folder."""
    file = file_of(folder, name)
    assert file is not None  # noqa: S101  `check` looked
    return PurePath(file.relative_to(folder.resolve()))


def _server(home: Path, declared: ToolManifest, server: McpManifest) -> McpServer:
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
        requires_approval=declared.requires_approval,
    )


def _limits(declared: CalledManifest) -> Limits:
    return Limits(declared.timeout_seconds, declared.retries, declared.max_concurrent)
