"""Read the workflows' folders: each is a workflow, or a list of what is wrong with it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from contracts.codec import describe
from contracts.ids import AgentName, WorkflowName
from contracts.subjects import InvalidIdError, token
from services.orchestrator.workflows.demo import DemoScripts
from services.orchestrator.workflows.manifest import (
    AgentsManifest,
    HandoffManifest,
    HandoffsManifest,
    ToolManifest,
    ToolsManifest,
    VariablesManifest,
    WorkflowManifest,
)
from services.orchestrator.workflows.spec import (
    TERMINATE,
    USER,
    Agent,
    Handoff,
    Tool,
    Workflow,
    transfer_name,
)

MAX_MANIFEST_BYTES = 4_000_000
_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded:
    folder: str
    workflow: Workflow
    demo: DemoScripts


@dataclass(frozen=True, slots=True)
class Broken:
    """A folder that is no workflow: one line per problem, `file: where: what`."""

    name: WorkflowName
    problems: tuple[str, ...]


class ManifestError(Exception):
    """What is wrong with a workflow's folder, every problem found at that point."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load_all(root: Path) -> list[Loaded | Broken]:
    """Every folder below `root` that has a workflow.json, by name. A bad one spoils no other."""
    if not root.is_dir():
        return []
    folders = sorted(p for p in root.iterdir() if (p / "workflow.json").is_file())
    return [load(folder) for folder in folders]


def load(folder: Path) -> Loaded | Broken:
    try:
        return _load(folder)
    except ManifestError as broken:
        return Broken(shown_name(folder.name), broken.problems)


def shown_name(folder: str) -> WorkflowName:
    """A folder's name, cut where it is too long for the name of a workflow."""
    try:
        token(folder)
    except InvalidIdError:
        return WorkflowName(f"{folder.encode(errors='replace').decode()[:16]}…")
    return WorkflowName(folder)


def _load(folder: Path) -> Loaded:
    head = _read(folder, "workflow.json", WorkflowManifest)
    agents = _read(folder, "agents.json", AgentsManifest)
    tools = _read(folder, "tools.json", ToolsManifest, ToolsManifest())
    handoffs = _read(folder, "handoffs.json", HandoffsManifest, HandoffsManifest())
    variables = _read(folder, "context_variables.json", VariablesManifest, VariablesManifest())
    demo = _read(folder, "demo.json", DemoScripts, DemoScripts())
    problems = [*_unknown_names(head, agents, tools, handoffs, variables, demo)]
    problems += _tool_name_problems(agents, tools, handoffs)
    problems += [p for tool in tools.tools if isinstance(p := _file_of(folder, tool), str)]
    if problems:
        raise ManifestError(*problems)
    workflow = _workflow(folder, head, agents, tools, handoffs, variables)
    return Loaded(folder.name, workflow, demo)


def _read(folder: Path, name: str, model: type[M], default: M | None = None) -> M:
    path = folder / name
    if not path.exists() and default is not None:
        return default
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ManifestError(f"{name}: is larger than {MAX_MANIFEST_BYTES} bytes")
        return model.model_validate_json(path.read_text(encoding="utf-8-sig"))
    except ValidationError as broken:
        raise ManifestError(*(f"{name}: {p}" for p in describe(broken).split("; "))) from broken
    except UnicodeDecodeError as broken:
        raise ManifestError(f"{name}: is not UTF-8") from broken
    except OSError as broken:
        raise ManifestError(f"{name}: {broken.strerror}") from broken


def _unknown_names(
    head: WorkflowManifest,
    agents: AgentsManifest,
    tools: ToolsManifest,
    handoffs: HandoffsManifest,
    variables: VariablesManifest,
    demo: DemoScripts,
) -> Iterable[str]:
    names = [agent.name for agent in agents.agents]
    known = set(names)
    for name in known:
        if names.count(name) > 1 or name in (USER, TERMINATE):
            yield f"agents.json: agents: the name {name} is taken"
    used: list[tuple[str, str]] = [("workflow.json: visual_agents", a) for a in head.visual_agents]
    if head.initial_agent is not None:
        used.append(("workflow.json: initial_agent", head.initial_agent))
    for i, tool in enumerate(tools.tools):
        used += [(f"tools.json: tools.{i}.agent", name) for name in tool.agents]
    for i, rule in enumerate(handoffs.handoff_rules):
        where = f"handoffs.json: handoff_rules.{i}"
        if rule.source_agent != USER:
            used.append((f"{where}.source_agent", rule.source_agent))
        if rule.target_agent not in (USER, TERMINATE):
            used.append((f"{where}.target_agent", rule.target_agent))
        yield from _rule_problems(where, rule)
    used += [("context_variables.json: agents", name) for name in variables.agents]
    used += [("demo.json: agents", name) for name in demo.agents]
    for where, name in used:
        if name not in known:
            yield f"{where}: there is no agent {name}, only {', '.join(names)}"
    defined = {variable.name for variable in variables.definitions}
    for agent, wanted in variables.agents.items():
        for name in wanted.variables:
            if name not in defined:
                yield f"context_variables.json: agents.{agent}: there is no variable {name}"


def _tool_name_problems(
    agents: AgentsManifest, tools: ToolsManifest, handoffs: HandoffsManifest
) -> Iterable[str]:
    """Providers refuse a request whose tools share a name, or whose names they do not allow."""
    for tool in tools.tools:
        if not _TOOL_NAME.fullmatch(name := tool.name or tool.function):
            yield f"tools.json: {name}: a tool's name is 1 to 64 of A-Z a-z 0-9 _ -"
    for agent in (agent.name for agent in agents.agents):
        names = [tool.name or tool.function for tool in tools.tools if agent in tool.agents]
        names += [
            transfer_name(AgentName(rule.target_agent))
            for rule in handoffs.handoff_rules
            if rule.source_agent == agent and rule.handoff_type == "condition"
        ]
        for name in dict.fromkeys(names):
            if names.count(name) > 1:
                yield f"tools.json: {agent}: two of its tools are called {name}"


def _rule_problems(where: str, rule: HandoffManifest) -> Iterable[str]:
    if rule.handoff_type == "condition":
        if not rule.condition:
            yield f"{where}.condition: a rule of type condition needs one"
        if rule.target_agent == TERMINATE or rule.source_agent == USER:
            yield f"{where}: a model hands over to an agent or to user, by its own tool"


def _file_of(folder: Path, tool: ToolManifest) -> Path | str:
    """The tool's file inside the folder, or the problem with it."""
    for base in (folder, folder / "tools"):
        try:
            path = (base / tool.file).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        except (OSError, ValueError, RuntimeError):  # too long, a null byte, a circle of links
            continue
    return f"tools.json: {tool.function}: no file {tool.file} in the folder or its tools/"


def _workflow(
    folder: Path,
    head: WorkflowManifest,
    agents: AgentsManifest,
    tools: ToolsManifest,
    handoffs: HandoffsManifest,
    variables: VariablesManifest,
) -> Workflow:
    rules = handoffs.handoff_rules
    after = {
        r.source_agent: AgentName(r.target_agent) for r in rules if r.handoff_type == "after_work"
    }
    told = {name: tuple(wanted.variables) for name, wanted in variables.agents.items()}
    built: Mapping[AgentName, Agent] = {
        AgentName(agent.name): Agent(
            name=AgentName(agent.name),
            prompt=agent.system_message,
            tools=tuple(_tool(folder, t) for t in tools.tools if agent.name in t.agents),
            handoffs=tuple(
                Handoff(AgentName(rule.target_agent), rule.condition or "")
                for rule in rules
                if rule.source_agent == agent.name and rule.handoff_type == "condition"
            ),
            after_work=after.get(agent.name),
            variables=told.get(agent.name, ()),
        )
        for agent in agents.agents
    }
    return Workflow(
        name=WorkflowName(head.workflow_name),
        agents=built,
        initial_agent=AgentName(head.initial_agent or agents.agents[0].name),
        description=head.description,
        pattern=head.orchestration_pattern,
        max_turns=head.max_turns,
        human_in_the_loop=head.human_in_the_loop,
        startup_mode=head.startup_mode,
        initial_message=head.initial_message,
        initial_message_to_user=head.initial_message_to_user,
        after_user=after.get(USER),
        visual_agents=tuple(AgentName(name) for name in head.visual_agents),
        variables={variable.name: variable.value for variable in variables.definitions},
    )


def _tool(folder: Path, declared: ToolManifest) -> Tool:
    file = _file_of(folder, declared)
    assert isinstance(file, Path)  # noqa: S101  problems were raised before
    return Tool(declared.name or declared.function, declared.description, file, declared.function)
