"""Build the agents of a workflow: prompt, model, tools, hooks, structured output and rules."""

from collections.abc import Mapping

from contracts.ids import AgentName
from services.orchestrator.workflows.building.handoffs import HandoffRules
from services.orchestrator.workflows.building.tools import WorkflowTools
from services.orchestrator.workflows.building.triggers import hidden_replies
from services.orchestrator.workflows.manifest.models.agents import AgentManifest
from services.orchestrator.workflows.manifest.models.outputs import OutputsManifest
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.output_models import build_outputs
from services.orchestrator.workflows.spec import Agent, ModelChoice, Output, Trigger


def build_agents(
    sections: Sections,
    tools: WorkflowTools,
    rules: HandoffRules,
    triggers: tuple[Trigger, ...],
) -> dict[AgentName, Agent]:
    """The agents by name, in the order of the manifest."""
    variables = {entry.agent: tuple(entry.variables) for entry in sections.variables.agents}
    outputs = _outputs_by_agent(sections.outputs)
    return {
        AgentName(agent.name): Agent(
            name=AgentName(agent.name),
            prompt=agent.prompt,
            tools=tools.functions(agent.name),
            before_tools=tools.around_turn(agent.name, "before_agent"),
            after_tools=tools.around_turn(agent.name, "after_agent"),
            hooks=tools.hooks(sections.hooks, agent.name),
            output=outputs.get(agent.name),
            output_required=agent.structured_outputs_required or agent.auto_tool_mode,
            auto_tool_mode=agent.auto_tool_mode,
            hidden=hidden_replies(triggers, agent.name),
            handoffs=rules.handoffs(agent.name),
            before_reply=rules.expressions(agent.name, "pre"),
            after_work_if=rules.expressions(agent.name, None),
            after_work=rules.after_work(agent.name),
            max_consecutive_auto_reply=agent.max_consecutive_auto_reply,
            variables=variables.get(agent.name, ()),
            model=_model_choice(agent),
            mcp_servers=tools.mcp_servers(agent.name),
        )
        for agent in sections.agents.agents
    }


def _outputs_by_agent(declared: OutputsManifest) -> Mapping[str, Output]:
    models = build_outputs(declared.models)
    return {
        entry.agent: models[entry.agent_definition]
        for entry in declared.registry
        if entry.agent_definition is not None
    }


def _model_choice(agent: AgentManifest) -> ModelChoice:
    config = agent.llm_config
    return ModelChoice(
        model=config.model,
        temperature=config.temperature,
        base_url=config.base_url,
        api_key_env=config.api_key_env,
        provider=config.provider,
        max_tokens=config.max_tokens,
        thinking=config.thinking,
    )
