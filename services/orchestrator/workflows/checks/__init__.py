"""Check the manifest sections against each other: names must be known, rules must be possible."""

from contracts.events.turn import SELECTOR
from services.orchestrator.workflows.checks.handoffs import check_duplicate_rules, check_rule
from services.orchestrator.workflows.checks.ignored_keys import check_not_executed
from services.orchestrator.workflows.checks.outputs import check_outputs
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.checks.tools import check_hooks, check_tools
from services.orchestrator.workflows.checks.variables import check_triggers, check_variables
from services.orchestrator.workflows.manifest.diagnostics import Problem, closest_name
from services.orchestrator.workflows.manifest.losses import EVERYTHING
from services.orchestrator.workflows.manifest.names import resolve_target, resolve_visual
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.spec import TERMINATE, USER


def check(sections: Sections) -> list[Problem]:
    """The errors and warnings of sections that are valid on their own."""
    report = Report(sections.sources, losses=sections.losses)
    names = [agent.name for agent in sections.agents.agents]
    check_agents(report, names)
    check_workflow(report, sections, names)
    check_tools(report, sections, names)
    for number, rule in enumerate(sections.handoffs.handoff_rules):
        check_rule(report, sections, names, number, rule)
    check_duplicate_rules(report, sections, names)
    check_variables(report, sections, names)
    check_triggers(report, sections, names)
    check_outputs(report, sections, names)
    check_not_executed(report, sections)
    for agent in sections.demo.agents:
        if agent not in (*names, SELECTOR):
            report.unknown("demo", ("agents",), "agent", agent, names)
    check_hooks(report, sections, names)
    return report.problems


def check_agents(report: Report, names: list[str]) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1 or name.casefold() in (USER, TERMINATE, SELECTOR):
            report.add("agents", ("agents",), f"the name {name} is used twice or reserved")


def check_workflow(report: Report, sections: Sections, names: list[str]) -> None:
    workflow = sections.workflow
    if workflow.initial_agent is not None and workflow.initial_agent not in names:
        report.unknown("workflow", ("initial_agent",), "agent", workflow.initial_agent, names)
    listed = [("workflow", name) for name in workflow.visual_agents]
    listed += [("ui_config", name) for name in sections.ui.visual_agents]
    for section, name in listed:
        _check_visual_agent(report, section, name, names)
    if listed and not any(resolve_visual(name, names) for _, name in listed):
        message = "names no agent: the messages of all agents are shown"
        about = ("agent", EVERYTHING)
        report.add(
            listed[0][0],
            ("visual_agents",),
            message,
            accepted=names,
            severity="warning",
            about=about,
        )


def _check_visual_agent(report: Report, section: str, name: str, names: list[str]) -> None:
    path = ("visual_agents",)
    matching = resolve_visual(name, names)
    if not matching and resolve_target(name, names) != USER:
        message, hint = f"there is no agent {name} to show", closest_name(name, names)
        about = ("agent", name)
        report.add(
            section, path, message, accepted=names, hint=hint, severity="warning", about=about
        )
    if len(matching) > 1:
        message = f"{name} matches several agents, all are shown: {', '.join(matching)}"
        report.add(section, path, message, accepted=names, severity="warning")
