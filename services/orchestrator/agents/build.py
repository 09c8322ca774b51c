"""Build a workflow's agents once: AG2 agents with their tools, ready for any number of turns."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ag2 import Agent as Ag2Agent
from ag2.response import ResponseProto, ResponseSchema

from contracts.events.turn import SELECTOR
from contracts.ids import AgentName
from services.orchestrator.agents.hooks import Hooks, build_hooks
from services.orchestrator.agents.limits import Bounds
from services.orchestrator.agents.models import Models, NoModelError
from services.orchestrator.agents.servers import ServerTools
from services.orchestrator.agents.tools import (
    Function,
    build_function,
    build_handoff,
    build_tool,
    on_human_input,
)
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.patterns import candidates
from services.orchestrator.workflows.functions import ToolLoadError
from services.orchestrator.workflows.loading import NOTHING, Loaded, ManifestError
from services.orchestrator.workflows.spec import Agent, McpServer, ModelChoice, Tool, Workflow


class Agents(Mapping[AgentName, Ag2Agent]):
    """AG2's agents, each made when it first plays: of 200 workflows, few play on any one day."""

    def __init__(self, makers: Mapping[AgentName, Callable[[], Ag2Agent]]) -> None:
        self._makers = makers
        self._made: dict[AgentName, Ag2Agent] = {}

    def __getitem__(self, name: AgentName) -> Ag2Agent:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[AgentName]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass(frozen=True, slots=True)
class Cast:
    """Everyone who plays in a workflow: AG2's agents, and what the runtime calls around them."""

    agents: Mapping[AgentName, Ag2Agent]
    functions: Mapping[Tool, Function] = field(default_factory=dict)
    hooks: Mapping[AgentName, Hooks] = field(default_factory=dict)


def build_cast(loaded: Loaded, models: Models, environment: Mapping[str, str] = NOTHING) -> Cast:
    """Raises ManifestError with every tool that does not load and every model without a key."""
    problems: list[str] = []
    bench = Workbench()  # this workflow's own: what blocks it holds up no other
    functions = _functions(loaded, bench, problems)
    hooks = _hooks(loaded, bench, problems)
    servers = _Servers(environment)
    agents: dict[AgentName, Callable[[], Ag2Agent]] = {}
    for name, agent in loaded.workflow.agents.items():
        try:
            agents[name] = _maker(loaded, agent, functions, servers, models)
        except ToolLoadError as broken:
            problems.append(f"tools.json: {broken}")
        except NoModelError as broken:
            problems.append(f"agents.json: {name}: {broken}")
    if problems:
        raise ManifestError(*dict.fromkeys(problems))
    if loaded.workflow.pattern == "AutoPattern":
        agents[SELECTOR] = partial(_selector, loaded, models)
    return Cast(Agents(agents), functions, hooks)


def _functions(loaded: Loaded, bench: Workbench, problems: list[str]) -> Mapping[Tool, Function]:
    built: dict[Tool, Function] = {}
    for tool in called_in(loaded.workflow):
        try:
            built[tool] = build_function(tool, loaded.code, bench)
        except ToolLoadError as broken:
            problems.append(f"tools.json: {broken}")
    return built


def called_in(workflow: Workflow) -> Iterable[Tool]:
    """Every tool that models or the runtime may call, each once."""
    agents = workflow.agents.values()
    called = [tool for one in agents for tool in (*one.tools, *one.before, *one.after)]
    return dict.fromkeys([*called, *workflow.before_chat, *workflow.after_chat])


def _hooks(loaded: Loaded, bench: Workbench, problems: list[str]) -> Mapping[AgentName, Hooks]:
    built: dict[AgentName, Hooks] = {}
    for name, agent in loaded.workflow.agents.items():
        try:
            built[name] = build_hooks(agent.hooks, loaded.code, bench)
        except ToolLoadError as broken:
            problems.append(f"hooks.json: {broken}")
    return built


def _maker(
    loaded: Loaded,
    agent: Agent,
    functions: Mapping[Tool, Function],
    servers: "_Servers",
    models: Models,
) -> Callable[[], Ag2Agent]:
    """How an agent is made, once all that may be wrong with it has been looked at.

    One in `auto_tool_mode` calls no tool itself: the runtime does, with its output.
    """
    offered = () if agent.auto_tool_mode else agent.tools
    tools = [build_tool(functions[tool]) for tool in offered if tool in functions]
    tools += [build_handoff(handoff) for handoff in agent.handoffs]
    bound = agent.output if agent.output_required else None
    return partial(
        Ag2Agent,
        str(agent.name),
        config=models.config_of(loaded.demo.script(agent.name), agent.model),
        tools=[*tools, *servers.of(agent, [tool.name for tool in tools])],
        hitl_hook=on_human_input,
        response_schema=None if bound is None else _schema(bound.schema_name, bound.schema),
    )


class _Servers:
    """A workflow's MCP servers: the limits of each are for all agents that call its tools."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._limited: dict[McpServer, Bounds] = {}

    def of(self, agent: Agent, taken: Sequence[str]) -> list[ServerTools]:
        built: list[ServerTools] = []
        for server in agent.servers:
            bounds = self._limited.setdefault(server, Bounds(server.limits))
            built.append(ServerTools(server, self._environment, bounds, taken, tuple(built)))
        return built


def _schema(name: str, schema: Mapping[str, Any]) -> ResponseProto[str]:
    return ResponseSchema.from_schema(dict(schema), name=name)


def _selector(loaded: Loaded, models: Models) -> Ag2Agent:
    """Who chooses the next speaker; where the provider can, it can name nobody else."""
    names = {"type": "string", "enum": list(candidates(loaded.workflow))}
    answer = {
        "type": "object",
        "properties": {"next": names},
        "required": ["next"],
        "additionalProperties": False,
    }
    return Ag2Agent(
        str(SELECTOR),
        config=models.config_of(loaded.demo.script(SELECTOR), ModelChoice()),
        response_schema=_schema("next_speaker", answer),
    )
