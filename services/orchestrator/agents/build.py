"""Build a workflow's agents once: AG2 agents with their tools, ready for any number of turns."""

from collections.abc import Mapping, Sequence

from ag2 import Agent as Ag2Agent
from ag2.response import ResponseSchema
from ag2.tools.types import FunctionTool
from ag2.tools.types import Tool as Ag2Tool

from contracts.events.turn import SELECTOR
from contracts.ids import AgentName
from services.orchestrator.agents.limits import Bounds
from services.orchestrator.agents.models import Models, NoModelError
from services.orchestrator.agents.servers import ServerTools
from services.orchestrator.agents.tools import build_handoff, build_tool, on_human_input
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.patterns import candidates
from services.orchestrator.workflows.functions import ToolLoadError
from services.orchestrator.workflows.loading import NOTHING, Loaded, ManifestError
from services.orchestrator.workflows.spec import Agent, DataReference, McpServer, ModelChoice, Tool


def build_agents(
    loaded: Loaded, models: Models, environment: Mapping[str, str] = NOTHING
) -> Mapping[AgentName, Ag2Agent]:
    """Raises ManifestError with every tool that does not load and every model without a key."""
    problems: list[str] = []
    agents: dict[AgentName, Ag2Agent] = {}
    tools = _Tools(environment, loaded.workflow.references)
    for name, agent in loaded.workflow.agents.items():
        try:
            callable_ = tools.of(agent)
        except ToolLoadError as broken:
            problems.append(f"tools.json: {broken}")
            continue
        try:
            config = models.config_of(loaded.demo.script(name), agent.model)
        except NoModelError as broken:
            problems.append(f"agents.json: {name}: {broken}")
            continue
        agents[name] = Ag2Agent(
            str(name),
            config=config,
            tools=callable_,
            hitl_hook=on_human_input,
        )
    if problems:
        raise ManifestError(*dict.fromkeys(problems))
    if loaded.workflow.pattern == "AutoPattern":
        agents[SELECTOR] = _selector(loaded, models)
    return agents


class _Tools:
    """A workflow's tools, each built once: its limits are for all agents that call it."""

    def __init__(self, environment: Mapping[str, str], references: Sequence[DataReference]) -> None:
        self._environment = environment
        self._references = references
        self._bench = Workbench()  # this workflow's own: what blocks it holds up no other
        self._built: dict[Tool, FunctionTool] = {}
        self._limited: dict[McpServer, Bounds] = {}

    def of(self, agent: Agent) -> list[Ag2Tool]:
        """Raises ToolLoadError."""
        functions = [self._function(declared) for declared in agent.tools]
        functions += [build_handoff(handoff) for handoff in agent.handoffs]
        return [*functions, *self._servers(agent, [one.name for one in functions])]

    def _function(self, declared: Tool) -> FunctionTool:
        if declared not in self._built:
            self._built[declared] = build_tool(declared, self._bench, self._references)
        return self._built[declared]

    def _servers(self, agent: Agent, taken: Sequence[str]) -> list[ServerTools]:
        built: list[ServerTools] = []
        for server in agent.servers:
            bounds = self._limited.setdefault(server, Bounds(server.limits))
            built.append(ServerTools(server, self._environment, bounds, taken, tuple(built)))
        return built


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
        response_schema=ResponseSchema.from_schema(answer, name="next_speaker"),
    )
