"""Read the workflows' folders: each is a workflow, or a list of what is wrong with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from os.path import normpath
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.ids import AgentName, WorkflowName
from contracts.subjects import InvalidIdError, token
from services.orchestrator.workflows.checking import (
    Sections,
    check,
    file_of,
    resolve,
    resolve_visual,
)
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.diagnosis import (
    Problem,
    errors,
    from_validation,
    nearest,
    warnings,
)
from services.orchestrator.workflows.expressions import parse
from services.orchestrator.workflows.functions import ToolCode, tool_code
from services.orchestrator.workflows.manifest import (
    AgentManifest,
    AgentsManifest,
    AgentTextTrigger,
    CalledManifest,
    FileSource,
    HandoffManifest,
    HandoffsManifest,
    HooksManifest,
    LifecycleToolManifest,
    McpManifest,
    OutputsManifest,
    PageManifest,
    StateSource,
    ToolManifest,
    ToolsManifest,
    UiResponseTrigger,
    VariablesManifest,
    WorkflowManifest,
)
from services.orchestrator.workflows.outputs import outputs_of
from services.orchestrator.workflows.reading import (
    SUFFIXES,
    Source,
    UnreadableError,
    files_of,
    read,
)
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
from services.orchestrator.workflows.values import NoValueError, value_of
from services.orchestrator.workflows.versions import MAX_BYTES, Parcel, code_of, too_large

NOTHING: Mapping[str, str] = MappingProxyType({})
_HEADS = ("workflow", "orchestrator")
MODELS: Mapping[str, type[BaseModel]] = {
    "workflow": WorkflowManifest,
    "agents": AgentsManifest,
    "tools": ToolsManifest,
    "handoffs": HandoffsManifest,
    "context_variables": VariablesManifest,
    "structured_outputs": OutputsManifest,
    "ui_config": PageManifest,
    "hooks": HooksManifest,
    "demo": DemoScripts,
}
"""The model of each section, by the stem of its file."""
_STEMS = ("orchestrator", *MODELS)
_NEEDED = ("workflow", "agents")
_ROOTS = {"agents": "agents", "tools": "tools", "hooks": "hooks", "handoffs": "handoff_rules"}

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded:
    folder: str
    workflow: Workflow
    demo: DemoScripts
    diagnosis: tuple[Problem, ...] = ()
    """Warnings: what is accepted without having the effect that its author may expect."""
    manifests: Parcel = field(default_factory=Parcel)
    """Every file that was read to know all this."""
    code: ToolCode = field(default_factory=lambda: tool_code(Path(), Parcel()))


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder that is no workflow: one line per error, `file: where: what`."""

    name: WorkflowName
    problems: tuple[str, ...]
    diagnosis: tuple[Problem, ...] = ()
    """The same, and the warnings, with all that an author may want to know."""
    folder: str = ""


class ManifestError(Exception):
    """What is wrong with a workflow's folder, every problem found at that point."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load_all(root: Path, environment: Mapping[str, str] = NOTHING) -> list[Loaded | Broken]:
    """Every folder below `root` that is meant as a workflow, by name. A bad one spoils no other."""
    if not root.is_dir():
        return []
    found = [tried(folder, environment) for folder in sorted(root.iterdir())]
    return list(_apart(one for one in found if one is not None))


def tried(folder: Path, environment: Mapping[str, str]) -> Loaded | Broken | None:
    """None where the folder is not meant as a workflow."""
    try:
        return load(folder, environment) if is_meant(folder) else None
    except OSError as trouble:  # a folder that may not be read
        what = trouble.strerror or type(trouble).__name__
        return broken(folder.name, [Problem(folder.name, "", what)])


def is_meant(folder: Path) -> bool:
    """Whether a folder has a workflow's first section, or agents that lack one."""
    if folder.name.startswith("."):
        return False
    return bool(files_of(folder, _HEADS) or files_of(folder, ("agents",)))


def load(
    folder: Path, environment: Mapping[str, str] = NOTHING, home: Path | None = None
) -> Loaded | Broken:
    """`home` is where the folder lies, or lay, that this one is a copy of."""
    if folder.is_symlink() and not _stays(folder, folder.parent):
        elsewhere = Problem(folder.name, "", "is a link to a folder outside the workflows' folder")
        return broken(folder.name, [elsewhere])
    return _Reading(folder, home or folder.resolve(), environment).result()


def broken(folder: str, problems: Iterable[Problem]) -> Broken:
    listed = (*errors(problems := list(problems)), *warnings(problems))
    return Broken(shown_name(folder), tuple(one.line for one in errors(listed)), listed, folder)


def shown_name(folder: str) -> WorkflowName:
    """A folder's name, cut where it is too long for the name of a workflow."""
    try:
        token(folder)
    except InvalidIdError:
        return WorkflowName(f"{folder.encode(errors='replace').decode()[:16]}…")
    return WorkflowName(folder)


def _apart(found: Iterable[Loaded | Broken]) -> Iterable[Loaded | Broken]:
    """Two workflows of one name, also where only the case differs, cannot both be called."""
    first: dict[str, Loaded] = {}
    for one in found:
        if isinstance(one, Broken):
            yield one
            continue
        name = str(one.workflow.name)
        taken = first.setdefault(name.casefold(), one)
        if taken is one:
            yield one
        else:
            yield clash(one, taken)


def clash(one: Loaded, taken: Loaded) -> Broken:
    what = f"another folder has a workflow of this name: {taken.folder} ({taken.workflow.name})"
    problem = Problem("workflow.json", "workflow_name", what, found=str(one.workflow.name))
    return broken(one.folder, [problem, *one.diagnosis])


def _stays(path: Path, within: Path) -> bool:
    try:
        return path.resolve().is_relative_to(within.resolve())
    except (OSError, RuntimeError):  # a circle of links
        return False


@dataclass(slots=True)
class _Reading:
    """One folder, read as far as it goes."""

    folder: Path
    home: Path
    environment: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def result(self) -> Loaded | Broken:
        sections = self._sections()
        values: Mapping[str, Any] = {}
        if sections is not None:
            self.problems += check(sections, self.folder)
            values = self._values(sections.variables)
            self._strangers(sections.variables)
        code = self._code()
        if sections is None or errors(self.problems):
            return broken(self.folder.name, self.problems)
        manifests = self._manifests(sections.variables)
        if manifests.size + code.size > MAX_BYTES:
            return broken(self.folder.name, [*self.problems, too_large(self.folder)])
        version = Version(manifests.digest, code.digest)
        return Loaded(
            folder=self.folder.name,
            workflow=_workflow(self.folder, self.home, sections, values, version),
            demo=sections.demo,
            diagnosis=warnings(self.problems),
            manifests=manifests,
            code=tool_code(self.home, code),
        )

    def _code(self) -> Parcel:
        try:
            return code_of(self.folder)
        except UnreadableError as unreadable:
            self.problems.append(unreadable.problem)
            return Parcel()

    def _manifests(self, variables: VariablesManifest) -> Parcel:
        files = {source.file: source.data for source in self.sources.values()}
        for path in _read_by(variables):
            if (file := self.folder / path).is_file():
                files[normpath(path)] = file.read_bytes()
        return Parcel(self.folder.name, files)

    def _sections(self) -> Sections | None:
        """None where the agents cannot be read: what the others say of them cannot be checked."""
        head = self._section("workflow", WorkflowManifest)
        agents = self._section("agents", AgentsManifest)
        sections = Sections(
            head=head or WorkflowManifest(workflow_name="unread"),
            agents=agents or AgentsManifest(agents=[AgentManifest(name="unread")]),
            tools=self._section("tools", ToolsManifest) or ToolsManifest(),
            handoffs=self._section("handoffs", HandoffsManifest) or HandoffsManifest(),
            variables=self._section("context_variables", VariablesManifest) or VariablesManifest(),
            outputs=self._section("structured_outputs", OutputsManifest) or OutputsManifest(),
            page=self._section("ui_config", PageManifest) or PageManifest(),
            hooks=self._section("hooks", HooksManifest) or HooksManifest(),
            demo=self._section("demo", DemoScripts) or DemoScripts(),
            sources=self.sources,
        )
        return None if agents is None else sections

    def _section(self, name: str, model: type[M]) -> M | None:
        stems = _HEADS if name == "workflow" else (name,)
        files = files_of(self.folder, stems)
        if not files:
            if name not in _NEEDED:
                return None
            accepted = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
            self.problems.append(Problem(accepted[0], "", "is missing", accepted=tuple(accepted)))
            return None
        if len(files) > 1:
            listed = " and ".join(path.name for path in files)
            self.problems.append(Problem(files[0].name, "", f"is there twice: {listed}"))
            return None
        return self._file(name, files[0], model)

    def _file(self, name: str, path: Path, model: type[M]) -> M | None:
        try:
            source = self.sources[name] = _unwrapped(read(path, self.folder), name)
        except UnreadableError as unreadable:
            self.problems.append(unreadable.problem)
            return None
        raw = source.raw
        if isinstance(raw, dict):
            raw = {key: value for key, value in raw.items() if key != "$schema"}  # for editors
        if name == "workflow" and isinstance(raw, dict):
            raw = {"workflow_name": self.folder.name, **raw}
        try:
            return model.model_validate(raw)
        except ValidationError as invalid:
            self.problems += from_validation(invalid, source.file, model, source.where)
            return None

    def _values(self, variables: VariablesManifest) -> Mapping[str, Any]:
        values = {}
        for number, variable in enumerate(variables.definitions):
            try:
                values[variable.name] = value_of(variable, self.folder, self.environment)
            except NoValueError as trouble:
                source = self.sources["context_variables"]
                where = source.where(("definitions", number, "source"))
                self.problems.append(Problem(source.file, where, str(trouble)))
        return values

    def _strangers(self, variables: VariablesManifest) -> None:
        """Files that look like sections and are none: a misspelt one would be missed in silence."""
        read_elsewhere = _read_by(variables)
        for path in sorted(self.folder.iterdir()):
            if path.name == "_pack":
                self._warn(path, "is accepted, but not executed by this release")
            elif path.suffix not in SUFFIXES or path.stem in _STEMS or path.name in read_elsewhere:
                continue
            else:
                what = "is no section of a workflow, and not read"
                self._warn(path, what, nearest(path.stem, _STEMS))

    def _warn(self, path: Path, what: str, hint: str = "") -> None:
        self.problems.append(Problem(path.name, "", what, hint=hint, severity="warning"))


def _read_by(variables: VariablesManifest) -> set[str]:
    """The files that give variables their values."""
    sources = [variable.source for variable in variables.definitions]
    return {source.path for source in sources if isinstance(source, FileSource)}


def _unwrapped(source: Source, name: str) -> Source:
    """A section may be repeated as a wrapper inside its own file."""
    names = _HEADS if name == "workflow" else (name,)
    match source.raw:
        case dict() as raw if len(raw) == 1 and (key := next(iter(raw))) in names:
            inner = raw[key]
        case _:
            return source
    if not isinstance(inner, dict) or (name in _ROOTS and not _is_section(inner, _ROOTS[name])):
        return source
    return replace(source, raw=inner, within=(key,))


def _is_section(inner: dict[str, Any], root: str) -> bool:
    """A map of agents has no agent called agents: unless its values are all entries."""
    held = inner.get(root)
    return isinstance(held, list) or (
        isinstance(held, dict) and all(isinstance(entry, dict) for entry in held.values())
    )


# -- from sections to a workflow ------------------------------------------------------------------


def _workflow(
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
