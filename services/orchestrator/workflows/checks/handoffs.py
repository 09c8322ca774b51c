"""Handoff rules: whose they are, whom they name, and whether their conditions mean anything."""

from collections.abc import Iterable

from contracts.ids import AgentName
from services.orchestrator.workflows.checks.report import Report, Sections
from services.orchestrator.workflows.checks.variables import TOLD
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.diagnosis import nearest, shown
from services.orchestrator.workflows.expressions import (
    Expression,
    ExpressionError,
    Variable,
    parse,
)
from services.orchestrator.workflows.manifest import (
    HandoffManifest,
)
from services.orchestrator.workflows.naming import resolve
from services.orchestrator.workflows.spec import TERMINATE, USER


def check_rule(
    report: Report, sections: Sections, names: list[str], number: int, rule: HandoffManifest
) -> None:
    place: Place = ("handoff_rules", number)
    source, target = resolve(rule.source_agent, names), resolve(rule.target_agent, names)
    known = [*names, USER]
    if source is None or source == TERMINATE:
        report.unknown("handoffs", (*place, "source_agent"), "agent", rule.source_agent, known)
    if target is None:
        known = [*known, TERMINATE]
        report.unknown("handoffs", (*place, "target_agent"), "agent", rule.target_agent, known)
    if rule.handoff_type == "condition" and not rule.condition:
        report.add("handoffs", (*place, "condition"), "a rule of type condition needs one")
    match rule.kind:
        case "after_work" if rule.condition:
            what = "only a rule of handoff_type condition has one"
            report.add("handoffs", (*place, "condition"), what, found=shown(rule.condition))
        case "llm" if source == USER:
            what = "has no effect: no model judges for the person, use an expression"
            report.add("handoffs", place, what, severity="warning")
        case "llm" if target == TERMINATE:
            what = "a model hands over to an agent or to user, by its own tool"
            report.add("handoffs", place, what)
        case "expression" if rule.condition:
            _check_expression(report, sections, place, rule.condition)
            if rule.condition_scope == "pre" and source == USER:
                what = "has no effect: a rule of user holds once the person has spoken"
                report.add("handoffs", (*place, "condition_scope"), what, severity="warning")
        case _:
            pass
    if rule.condition_scope is not None and rule.kind != "expression":
        what = "has no effect: only expressions have a scope"
        report.add("handoffs", (*place, "condition_scope"), what, severity="warning")
    meant = {"TerminateTarget": TERMINATE, "RevertToUserTarget": USER}.get(
        rule.transition_target or ""
    )
    if meant is not None and meant != target:
        what = f"contradicts target_agent, which decides: {rule.target_agent}"
        report.add("handoffs", (*place, "transition_target"), what, severity="warning")


def _check_expression(report: Report, sections: Sections, place: Place, text: str) -> None:
    place = (*place, "condition")
    try:
        expression = parse(text)
    except ExpressionError as broken:
        report.add("handoffs", place, f"is no expression: {broken}", found=shown(text))
        return
    known = [variable.name for variable in sections.variables.definitions]
    for name in sorted(variables_of(expression)):
        if name not in (*known, *TOLD):
            what = f"{name} is no variable of context_variables: None until a tool sets it"
            hint = nearest(name, known)
            report.add("handoffs", place, what, hint=hint, severity="warning")


def variables_of(expression: Expression) -> set[str]:
    return {path[0] for path in _paths(expression.root)}


def _paths(node: object) -> Iterable[tuple[str, ...]]:
    if isinstance(node, Variable):
        yield node.path
    elif isinstance(node, tuple):
        for one in node:
            yield from _paths(one)
    else:
        for name in getattr(node, "__slots__", ()):
            yield from _paths(getattr(node, name))


def check_doubles(report: Report, sections: Sections, names: list[str]) -> None:
    seen: set[AgentName | None] = set()
    for number, rule in reversed(list(enumerate(sections.handoffs.handoff_rules))):
        if rule.kind != "after_work":
            continue
        source = resolve(rule.source_agent, names)
        if source in seen:
            what = f"has no effect: a later rule says what follows {rule.source_agent}"
            report.add("handoffs", ("handoff_rules", number), what, severity="warning")
        seen.add(source)
