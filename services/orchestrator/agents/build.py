"""Build a workflow's agents once: AG2 agents with their tools, ready for any number of turns."""

from collections.abc import Mapping

from ag2 import Agent as Ag2Agent
from ag2.response import ResponseSchema

from contracts.events.turn import SELECTOR
from contracts.ids import AgentName
from services.orchestrator.agents.models import Models, NoModelError
from services.orchestrator.agents.tools import build_handoff, build_tool, on_human_input
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.patterns import candidates
from services.orchestrator.workflows.functions import ToolLoadError
from services.orchestrator.workflows.loading import Loaded, ManifestError
from services.orchestrator.workflows.spec import ModelChoice


def build_agents(loaded: Loaded, models: Models) -> Mapping[AgentName, Ag2Agent]:
    """Raises ManifestError with every tool that does not load and every model without a key."""
    problems: list[str] = []
    agents: dict[AgentName, Ag2Agent] = {}
    bench = Workbench()  # each workflow's own: what blocks holds up no other
    for name, agent in loaded.workflow.agents.items():
        try:
            tools = [build_tool(tool, bench) for tool in agent.tools]
        except ToolLoadError as broken:
            problems.append(f"tools.json: {broken}")
            continue
        try:
            config = models.config_of(loaded.demo.script(name), agent.model)
        except NoModelError as broken:
            problems.append(f"agents.json: {name}: {broken}")
            continue
        handoffs = [build_handoff(handoff) for handoff in agent.handoffs]
        agents[name] = Ag2Agent(
            str(name),
            config=config,
            tools=[*tools, *handoffs],
            hitl_hook=on_human_input,
        )
    if problems:
        raise ManifestError(*dict.fromkeys(problems))
    if loaded.workflow.pattern == "AutoPattern":
        agents[SELECTOR] = _selector(loaded, models)
    return agents


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
