"""What one section says about another: every name must be known, every rule must make sense."""

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from contracts.codec import describe
from contracts.events.turn import SELECTOR
from contracts.ids import AgentName
from contracts.reserved import is_reserved
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.diagnosis import Problem, Severity, nearest, shown
from services.orchestrator.workflows.expressions import (
    Expression,
    ExpressionError,
    Variable,
    parse,
)
from services.orchestrator.workflows.manifest import (
    IDLE,
    RUNTIME_VALUES,
    AgentsManifest,
    AgentTextTrigger,
    CalledManifest,
    DatabaseSource,
    DistantSource,
    FileSource,
    HandoffManifest,
    HandoffsManifest,
    HooksManifest,
    McpManifest,
    OutputField,
    OutputsManifest,
    PageManifest,
    ReferenceSource,
    StateSource,
    ToolManifest,
    ToolsManifest,
    VariablesManifest,
    WorkflowManifest,
    plain,
)
from services.orchestrator.workflows.outputs import KNOWN_TYPES, types_of
from services.orchestrator.workflows.reading import Source
from services.orchestrator.workflows.references import is_field, placeholders
from services.orchestrator.workflows.spec import TERMINATE, USER, transfer_name

TOLD = ("workflow_name", "app_id", "chat_id", "user_id")
"""What every chat's variables hold."""

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USERS = {"user", "human", "userproxy", "usertarget", "reverttouser", "reverttousertarget"}
_ENDS = {"terminate", "terminatetarget", "termination", "end"}


@dataclass(frozen=True, slots=True)
class Sections:
    """Everything an author wrote; `sources` says in which file."""

    head: WorkflowManifest
    agents: AgentsManifest
    tools: ToolsManifest
    handoffs: HandoffsManifest
    variables: VariablesManifest
    outputs: OutputsManifest
    page: PageManifest
    hooks: HooksManifest
    demo: DemoScripts
    sources: Mapping[str, Source]


@dataclass(slots=True)
class Report:
    """Problems, collected in the words of the files."""

    sources: Mapping[str, Source]
    problems: list[Problem] = field(default_factory=list)

    def add(
        self,
        section: str,
        place: Place,
        what: str,
        *,
        found: str = "",
        accepted: Iterable[str] = (),
        hint: str = "",
        severity: Severity = "error",
    ) -> None:
        source = self.sources.get(section) or Source(f"{section}.json", None)
        self.problems.append(
            Problem(source.file, source.where(place), what, found, tuple(accepted), hint, severity)
        )

    def unknown(self, section: str, place: Place, kind: str, name: str, known: list[str]) -> None:
        likely = nearest(name, known)
        self.add(section, place, f"there is no {kind} {name}", accepted=known, hint=likely)


def resolve(name: str, agents: Iterable[str]) -> AgentName | None:
    """An agent by its name, else the person or the end in any spelling."""
    if name in agents:
        return AgentName(name)
    word = plain(name)
    return USER if word in _USERS else TERMINATE if word in _ENDS else None


def resolve_visual(name: str, agents: Iterable[str]) -> AgentName | None:
    """An agent whose name may be written as people say it: Interview Agent is InterviewAgent."""

    def said(text: str) -> str:
        return text.casefold().replace("agent", "").replace(" ", "").strip()

    exact = [one for one in agents if one == name]
    alike = exact or [one for one in agents if said(one) == said(name)]
    return AgentName(alike[0]) if alike else None


def check(sections: Sections, folder: Path) -> list[Problem]:
    report = Report(sections.sources)
    names = [agent.name for agent in sections.agents.agents]
    _check_agents(report, names)
    _check_head(report, sections, names)
    _check_tools(report, sections, names, folder)
    for place, rule in enumerate(sections.handoffs.handoff_rules):
        _check_rule(report, sections, names, place, rule)
    _check_doubles(report, sections, names)
    _check_variables(report, sections, names, folder)
    _check_triggers(report, sections, names)
    _check_outputs(report, sections, names)
    _check_idle(report, sections)
    for agent in sections.demo.agents:
        if agent not in (*names, SELECTOR):
            report.unknown("demo", ("agents",), "agent", agent, names)
    _check_hooks(report, sections, names, folder)
    return report.problems


def _check_agents(report: Report, names: list[str]) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1 or name.casefold() in (USER, TERMINATE, SELECTOR):
            report.add("agents", ("agents",), f"the name {name} is taken")


def _check_head(report: Report, sections: Sections, names: list[str]) -> None:
    head, page = sections.head, sections.page
    if head.initial_agent is not None and head.initial_agent not in names:
        report.unknown("workflow", ("initial_agent",), "agent", head.initial_agent, names)
    listed = [("workflow", name) for name in head.visual_agents]
    listed += [("ui_config", name) for name in page.visual_agents]
    for section, name in listed:
        if resolve_visual(name, names) is None and resolve(name, names) != USER:
            what, hint = f"there is no agent {name} to be shown", nearest(name, names)
            place = ("visual_agents",)
            report.add(section, place, what, accepted=names, hint=hint, severity="warning")


# -- tools --------------------------------------------------------------------------------------


def file_of(folder: Path, file: str) -> Path | None:
    """A tool's file inside the folder or its `tools/`."""
    for base in (folder, folder / "tools"):
        try:
            path = (base / file).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, a circle of links
            continue
    return None


def _check_tools(report: Report, sections: Sections, names: list[str], folder: Path) -> None:
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


def _check_hooks(report: Report, sections: Sections, names: list[str], folder: Path) -> None:
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


# -- handoffs -----------------------------------------------------------------------------------


def _check_rule(
    report: Report, sections: Sections, names: list[str], number: int, rule: HandoffManifest
) -> None:
    place: Place = ("handoff_rules", number)
    source, target = resolve(rule.source_agent, names), resolve(rule.target_agent, names)
    known = [*names, USER]
    if source is None or source == TERMINATE:
        report.unknown("handoffs", (*place, "source_agent"), "agent", rule.source_agent, known)
    if target is None:
        known = [*known, TERMINATE]
        report.unknown("handoffs", (*place, "target_agent"), "agent", rule.target_agent, known)
    if rule.handoff_type == "condition" and not rule.condition:
        report.add("handoffs", (*place, "condition"), "a rule of type condition needs one")
    match rule.kind:
        case "after_work" if rule.condition:
            what = "only a rule of handoff_type condition has one"
            report.add("handoffs", (*place, "condition"), what, found=shown(rule.condition))
        case "llm" if source == USER:
            what = "has no effect: no model judges for the person, use an expression"
            report.add("handoffs", place, what, severity="warning")
        case "llm" if target == TERMINATE:
            what = "a model hands over to an agent or to user, by its own tool"
            report.add("handoffs", place, what)
        case "expression" if rule.condition:
            _check_expression(report, sections, place, rule.condition)
            if rule.condition_scope == "pre" and source == USER:
                what = "has no effect: a rule of user holds once the person has spoken"
                report.add("handoffs", (*place, "condition_scope"), what, severity="warning")
        case _:
            pass
    if rule.condition_scope is not None and rule.kind != "expression":
        what = "has no effect: only expressions have a scope"
        report.add("handoffs", (*place, "condition_scope"), what, severity="warning")
    meant = {"TerminateTarget": TERMINATE, "RevertToUserTarget": USER}.get(
        rule.transition_target or ""
    )
    if meant is not None and meant != target:
        what = f"contradicts target_agent, which decides: {rule.target_agent}"
        report.add("handoffs", (*place, "transition_target"), what, severity="warning")


def _check_expression(report: Report, sections: Sections, place: Place, text: str) -> None:
    place = (*place, "condition")
    try:
        expression = parse(text)
    except ExpressionError as broken:
        report.add("handoffs", place, f"is no expression: {broken}", found=shown(text))
        return
    known = [variable.name for variable in sections.variables.definitions]
    for name in sorted(variables_of(expression)):
        if name not in (*known, *TOLD):
            what = f"{name} is no variable of context_variables: None until a tool sets it"
            hint = nearest(name, known)
            report.add("handoffs", place, what, hint=hint, severity="warning")


def variables_of(expression: Expression) -> set[str]:
    return {path[0] for path in _paths(expression.root)}


def _paths(node: object) -> Iterable[tuple[str, ...]]:
    if isinstance(node, Variable):
        yield node.path
    elif isinstance(node, tuple):
        for one in node:
            yield from _paths(one)
    else:
        for name in getattr(node, "__slots__", ()):
            yield from _paths(getattr(node, name))


def _check_doubles(report: Report, sections: Sections, names: list[str]) -> None:
    seen: set[AgentName | None] = set()
    for number, rule in reversed(list(enumerate(sections.handoffs.handoff_rules))):
        if rule.kind != "after_work":
            continue
        source = resolve(rule.source_agent, names)
        if source in seen:
            what = f"has no effect: a later rule says what follows {rule.source_agent}"
            report.add("handoffs", ("handoff_rules", number), what, severity="warning")
        seen.add(source)


# -- variables and outputs ----------------------------------------------------------------------


def _check_variables(report: Report, sections: Sections, names: list[str], folder: Path) -> None:
    defined = [variable.name for variable in sections.variables.definitions]
    for number, variable in enumerate(sections.variables.definitions):
        place: Place = ("definitions", number, "source")
        if defined.index(variable.name) != number:
            report.add("context_variables", place[:2], f"the name {variable.name} is taken")
        if isinstance(variable.source, DistantSource):
            what = f"{variable.source.type} is not read by this release: the default is the value"
            report.add("context_variables", place, what, severity="warning")
        if isinstance(variable.source, ReferenceSource | DatabaseSource):
            _check_reference(report, place, variable.source, defined)
        if isinstance(variable.source, FileSource) and not variable.source.required:
            _check_optional_file(report, place, folder / variable.source.path)
    for number, told in enumerate(sections.variables.agents):
        place = ("agents", number, "variables")
        if told.agent not in names:
            report.unknown("context_variables", place[:2], "agent", told.agent, names)
        for name in told.variables:
            if name in (*defined, *TOLD):
                continue
            if is_reserved(name):
                what = f"{name} is not told to agents by this release"
                report.add("context_variables", place, what, severity="warning")
            else:
                report.unknown("context_variables", place, "variable", name, defined)


def _check_reference(
    report: Report, place: Place, source: ReferenceSource | DatabaseSource, defined: list[str]
) -> None:
    section = "context_variables"
    for field_ in source.query:
        if not is_field(field_):
            what = f"{field_} is no field: values are compared, there are no operators"
            report.add(section, (*place, "query_template"), what)
    for kind, path in placeholders(source.query):
        name = path.partition(".")[0]
        if kind == "runtime" and name not in RUNTIME_VALUES:
            report.unknown(section, place, "value of the runtime", name, list(RUNTIME_VALUES))
        elif kind == "var" and name not in (*defined, *TOLD):
            report.unknown(section, place, "variable", name, defined)
        elif kind not in ("runtime", "var"):
            what = f"{{{{{kind}}}}} is none of the accepted values"
            report.add(section, place, what, accepted=["{{runtime.…}}", "{{var.…}}"])


def _check_optional_file(report: Report, place: Place, path: Path) -> None:
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # told when it is read
        if not path.is_file():
            what = "there is no such file: the default is the value"
            report.add("context_variables", (*place, "path"), what, severity="warning")


def _check_outputs(report: Report, sections: Sections, names: list[str]) -> None:
    models = [model.name for model in sections.outputs.models]
    for number, model in enumerate(sections.outputs.models):
        if models.index(model.name) != number:
            report.add("structured_outputs", ("models", number), f"the name {model.name} is taken")
        for name, declared in model.fields.items():
            _check_field(report, ("models", number, "fields", name), declared, models)
    for number, entry in enumerate(sections.outputs.registry):
        place: Place = ("registry", number)
        if entry.agent not in names:
            report.unknown("structured_outputs", place, "agent", entry.agent, names)
        wanted_model = entry.agent_definition
        if wanted_model is not None and wanted_model not in models:
            report.unknown("structured_outputs", place, "model", wanted_model, models)
    _check_outputs_of_agents(report, sections)


def _check_field(report: Report, place: Place, declared: OutputField, models: list[str]) -> None:
    section = "structured_outputs"
    known = [*sorted(KNOWN_TYPES), *models]
    try:
        named = list(types_of(declared))
    except ValidationError as broken:
        report.add(section, place, f"an item or a variant is no type: {describe(broken)}")
        return
    for wanted in named:
        if wanted not in known:
            report.unknown(section, (*place, "type"), "type", wanted, known)
    if declared.type == "literal" and not declared.values:
        report.add(section, (*place, "values"), "a literal needs the values that it may have")
    if declared.type == "union" and not declared.variants:
        report.add(section, (*place, "variants"), "a union needs the types that it may have")


def _check_outputs_of_agents(report: Report, sections: Sections) -> None:
    registered = {
        entry.agent for entry in sections.outputs.registry if entry.agent_definition is not None
    }
    for number, agent in enumerate(sections.agents.agents):
        place: Place = ("agents", number)
        needs = "auto_tool_mode" if agent.auto_tool_mode else "structured_outputs_required"
        if (agent.auto_tool_mode or agent.structured_outputs_required) and (
            agent.name not in registered
        ):
            what = f"needs a model for {agent.name} in structured_outputs.registry"
            report.add("agents", (*place, needs), what)
        invoked = [
            tool
            for tool in sections.tools.tools
            if agent.name in tool.agents and tool.is_auto_invoked
        ]
        if agent.auto_tool_mode and len(invoked) != 1:
            what = f"needs one tool of {agent.name} that is auto-invoked, there are {len(invoked)}"
            report.add("agents", (*place, "auto_tool_mode"), what)
        for number, tool in enumerate(sections.tools.tools):
            if agent.auto_tool_mode and tool in invoked and tool.requires_approval:
                what = f"{agent.name} is in auto_tool_mode: the runtime calls it, and asks nobody"
                report.add("tools", ("tools", number, "requires_approval"), what)
            if agent.name in tool.agents and tool.auto_invoke and not agent.auto_tool_mode:
                what = f"auto_invoke has no effect for {agent.name}: it is not in auto_tool_mode"
                report.add("tools", (), what, severity="warning")


def _check_triggers(report: Report, sections: Sections, names: list[str]) -> None:
    for number, variable in enumerate(sections.variables.definitions):
        if not isinstance(source := variable.source, StateSource):
            continue
        place: Place = ("definitions", number, "source")
        declared = [
            *((("triggers", n), one) for n, one in enumerate(source.triggers)),
            *(
                (("transitions", n, "trigger"), one.trigger)
                for n, one in enumerate(source.transitions)
            ),
        ]
        for inner, trigger in declared:
            if isinstance(trigger, AgentTextTrigger):
                _check_text_trigger(report, (*place, *inner), trigger, names)


def _check_text_trigger(
    report: Report, place: Place, trigger: AgentTextTrigger, names: list[str]
) -> None:
    section, match = "context_variables", trigger.matching
    if trigger.agent not in names:
        report.unknown(section, (*place, "agent"), "agent", trigger.agent, names)
    given = [one for one in (match.equals, match.contains, match.regex) if one is not None]
    if len(given) != 1:
        report.add(section, place, "needs one of equals, contains and regex")
    if match.regex is not None:
        try:
            re.compile(match.regex)
        except re.error as broken:
            what = f"is no regular expression: {broken}"
            report.add(section, (*place, "regex"), what, found=shown(match.regex))
        if trigger.ui_hidden:
            what = "has no effect with a regex: only whole replies are hidden"
            report.add(section, (*place, "ui_hidden"), what, severity="warning")


# -- what has no effect yet ---------------------------------------------------------------------


def _check_idle(report: Report, sections: Sections) -> None:
    written: dict[str, BaseModel] = {
        "workflow": sections.head,
        "agents": sections.agents,
        "tools": sections.tools,
        "context_variables": sections.variables,
        "structured_outputs": sections.outputs,
        "ui_config": sections.page,
        "hooks": sections.hooks,
    }
    for section, model in written.items():
        for place in _idle(model, ()):
            what = "is accepted, but not executed by this release"
            report.add(section, place, what, severity="warning")


def _idle(value: object, place: Place) -> Iterable[Place]:
    """Keys that are marked as idle and set to something."""
    match value:
        case BaseModel():
            for name in sorted(value.model_fields_set):
                extra = type(value).model_fields[name].json_schema_extra
                inner = getattr(value, name)
                if isinstance(extra, dict) and extra.get(IDLE):
                    yield from [(*place, name)] if _says_something(inner) else []
                else:
                    yield from _idle(inner, (*place, name))
        case list():
            for number, one in enumerate(value):
                yield from _idle(one, (*place, number))
        case _:
            return


def _says_something(value: object) -> bool:
    if isinstance(value, BaseModel):
        return any(_says_something(getattr(value, name)) for name in value.model_fields_set)
    return bool(value)
