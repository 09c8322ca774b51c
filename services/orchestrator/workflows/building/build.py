"""Build a workflow from its manifest sections, once they have been checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.ids import AgentName, WorkflowName
from services.orchestrator.workflows.building.agents import build_agents
from services.orchestrator.workflows.building.handoffs import HandoffRules
from services.orchestrator.workflows.building.tools import WorkflowTools
from services.orchestrator.workflows.building.triggers import build_triggers
from services.orchestrator.workflows.data_references import build_references
from services.orchestrator.workflows.manifest.names import resolve_visual
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.spec import USER, Version, Workflow


def build_workflow(
    home: Path, sections: Sections, variables: Mapping[str, Any], version: Version
) -> Workflow:
    """The workflow that checked sections describe.

    `home` is the workflow's folder, in which MCP servers run. `variables` are the initial values of
    context variables.
    """
    workflow = sections.workflow
    names = tuple(agent.name for agent in sections.agents.agents)
    rules = HandoffRules(tuple(sections.handoffs.handoff_rules), names)
    tools = WorkflowTools(home, sections.tools, sections.files)
    triggers = build_triggers(sections.variables)
    visual = [*workflow.visual_agents, *sections.ui.visual_agents]
    visual_agents = [agent for name in visual for agent in resolve_visual(name, names)]
    return Workflow(
        name=WorkflowName(workflow.workflow_name),
        agents=build_agents(sections, tools, rules, triggers),
        initial_agent=AgentName(workflow.initial_agent or names[0]),
        description=workflow.description,
        pattern=workflow.orchestration_pattern,
        max_turns=workflow.max_turns,
        human_in_the_loop=workflow.human_in_the_loop,
        startup_mode=workflow.startup_mode,
        while_running=workflow.while_running,
        on_failure=workflow.on_failure,
        initial_message=workflow.initial_message,
        initial_message_to_user=workflow.initial_message_to_user,
        after_user_if=rules.expressions(USER, None),
        after_user=rules.after_work(USER),
        visual_agents=tuple(dict.fromkeys(visual_agents)),
        variables=variables,
        settable={
            one.name: tuple(one.settable_from)
            for one in sections.variables.definitions
            if one.settable_by == "user"
        },
        references=build_references(sections.variables),
        triggers=triggers,
        before_chat=tools.around_chat("before_chat"),
        after_chat=tools.around_chat("after_chat"),
        version=version,
    )
