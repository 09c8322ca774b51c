"""What one section says about another: every name must be known, every rule must make sense."""

from pathlib import Path

from contracts.events.turn import SELECTOR
from services.orchestrator.workflows.checks.handoffs import check_doubles, check_rule
from services.orchestrator.workflows.checks.idle import check_idle
from services.orchestrator.workflows.checks.outputs import check_outputs
from services.orchestrator.workflows.checks.report import Report, Sections
from services.orchestrator.workflows.checks.tools import check_hooks, check_tools
from services.orchestrator.workflows.checks.variables import check_triggers, check_variables
from services.orchestrator.workflows.diagnosis import Problem, nearest
from services.orchestrator.workflows.naming import resolve, resolve_visual
from services.orchestrator.workflows.spec import TERMINATE, USER


def check(sections: Sections, folder: Path) -> list[Problem]:
    report = Report(sections.sources)
    names = [agent.name for agent in sections.agents.agents]
    check_agents(report, names)
    check_head(report, sections, names)
    check_tools(report, sections, names, folder)
    for place, rule in enumerate(sections.handoffs.handoff_rules):
        check_rule(report, sections, names, place, rule)
    check_doubles(report, sections, names)
    check_variables(report, sections, names, folder)
    check_triggers(report, sections, names)
    check_outputs(report, sections, names)
    check_idle(report, sections)
    for agent in sections.demo.agents:
        if agent not in (*names, SELECTOR):
            report.unknown("demo", ("agents",), "agent", agent, names)
    check_hooks(report, sections, names, folder)
    return report.problems


def check_agents(report: Report, names: list[str]) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1 or name.casefold() in (USER, TERMINATE, SELECTOR):
            report.add("agents", ("agents",), f"the name {name} is taken")


def check_head(report: Report, sections: Sections, names: list[str]) -> None:
    head, page = sections.head, sections.page
    if head.initial_agent is not None and head.initial_agent not in names:
        report.unknown("workflow", ("initial_agent",), "agent", head.initial_agent, names)
    listed = [("workflow", name) for name in head.visual_agents]
    listed += [("ui_config", name) for name in page.visual_agents]
    for section, name in listed:
        if resolve_visual(name, names) is None and resolve(name, names) != USER:
            what, hint = f"there is no agent {name} to be shown", nearest(name, names)
            place = ("visual_agents",)
            report.add(section, place, what, accepted=names, hint=hint, severity="warning")
