"""The public part of a workflow's card about tools and structured outputs: no prompts, no paths."""

from contracts.catalogue import ToolCard
from contracts.ids import AgentName
from services.orchestrator.workflows.spec import Tool, Workflow


def tool_cards(workflow: Workflow) -> list[ToolCard]:
    """A card for each tool, with all agents that may call it."""
    agents_by_tool: dict[Tool, list[AgentName]] = {}
    for agent in workflow.agents.values():
        for tool in agent.tools:
            agents_by_tool.setdefault(tool, []).append(agent.name)
    return [_card(tool, agents) for tool, agents in agents_by_tool.items()]


def output_models(workflow: Workflow) -> dict[AgentName, str]:
    """The name of the output model by agent, for agents that have one."""
    return {
        agent.name: agent.output.name
        for agent in workflow.agents.values()
        if agent.output is not None
    }


def _card(tool: Tool, agents: list[AgentName]) -> ToolCard:
    ui = tool.ui
    return ToolCard(
        name=tool.name,
        description=tool.description,
        agents=agents,
        component=None if ui is None else ui.component or tool.name,
        mode=None if ui is None else ui.display,
        auto_invoke=tool.auto_invoke,
    )
