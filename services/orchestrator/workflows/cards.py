"""What the public may know of a workflow's tools and outputs: no prompts, no paths."""

from contracts.catalogue import ToolCard
from contracts.ids import AgentName
from services.orchestrator.workflows.spec import Tool, Workflow


def tools(workflow: Workflow) -> list[ToolCard]:
    """Each tool once, with everyone who has it."""
    having: dict[Tool, list[AgentName]] = {}
    for agent in workflow.agents.values():
        for tool in agent.tools:
            having.setdefault(tool, []).append(agent.name)
    return [_card(tool, agents) for tool, agents in having.items()]


def outputs(workflow: Workflow) -> dict[AgentName, str]:
    """Which agents answer in which model."""
    return {
        agent.name: agent.output.name
        for agent in workflow.agents.values()
        if agent.output is not None
    }


def _card(tool: Tool, agents: list[AgentName]) -> ToolCard:
    shown = tool.interface
    return ToolCard(
        name=tool.name,
        description=tool.description,
        agents=agents,
        component=None if shown is None else shown.component or tool.name,
        mode=None if shown is None else shown.display,
        auto_invoke=tool.auto_invoke,
    )
