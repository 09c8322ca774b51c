"""Check handoff rules: their agents, their conditions, and combinations without effect."""

from collections.abc import Iterable

from contracts.ids import AgentName
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.checks.variables import RUNTIME_VARIABLES
from services.orchestrator.workflows.expressions import (
    Expression,
    ExpressionError,
    Variable,
    parse,
)
from services.orchestrator.workflows.manifest.diagnostics import FieldPath, closest_name, quoted
from services.orchestrator.workflows.manifest.models.handoffs import HandoffManifest
from services.orchestrator.workflows.manifest.names import resolve_target
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.spec import TERMINATE, USER


def check_rule(
    report: Report, sections: Sections, names: list[str], number: int, rule: HandoffManifest
) -> None:
    path: FieldPath = ("handoff_rules", number)
    source, target = (
        resolve_target(rule.source_agent, names),
        resolve_target(rule.target_agent, names),
    )
    known = [*names, USER]
    if source is None or source == TERMINATE:
        report.unknown("handoffs", (*path, "source_agent"), "agent", rule.source_agent, known)
    if target is None:
        known = [*known, TERMINATE]
        report.unknown("handoffs", (*path, "target_agent"), "agent", rule.target_agent, known)
    if rule.handoff_type == "condition" and not rule.condition:
        report.add("handoffs", (*path, "condition"), "a rule of handoff_type condition needs one")
    match rule.kind:
        case "after_work" if rule.condition:
            message = "only a rule of handoff_type condition has one"
            report.add("handoffs", (*path, "condition"), message, found=quoted(rule.condition))
        case "llm" if source == USER:
            message = "has no effect: the user has no model to decide, use an expression"
            report.add("handoffs", path, message, severity="warning")
        case "expression" if rule.condition:
            _check_expression(report, sections, path, rule.condition)
            if rule.condition_scope == "pre" and source == USER:
                message = "has no effect: a rule of user applies after the user's message"
                report.add("handoffs", (*path, "condition_scope"), message, severity="warning")
        case _:
            pass
    if rule.condition_scope is not None and rule.kind != "expression":
        message = "has no effect: only expressions have a scope"
        report.add("handoffs", (*path, "condition_scope"), message, severity="warning")
    implied = {"TerminateTarget": TERMINATE, "RevertToUserTarget": USER}.get(
        rule.transition_target or ""
    )
    if implied is not None and implied != target:
        message = f"has no effect: target_agent decides, and is {rule.target_agent}"
        report.add("handoffs", (*path, "transition_target"), message, severity="warning")


def _check_expression(report: Report, sections: Sections, rule: FieldPath, text: str) -> None:
    path = (*rule, "condition")
    try:
        expression = parse(text)
    except ExpressionError as invalid:
        report.add("handoffs", path, f"is not a valid expression: {invalid}", found=quoted(text))
        return
    known = [variable.name for variable in sections.variables.definitions]
    for name in sorted(variables_of(expression)):
        if name not in (*known, *RUNTIME_VARIABLES):
            message = f"{name} is not defined in context_variables: it is None until a tool sets it"
            hint = closest_name(name, known)
            report.add(
                "handoffs", path, message, hint=hint, severity="warning", about=("variable", name)
            )


def variables_of(expression: Expression) -> set[str]:
    """The names of the variables in an expression."""
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


def check_duplicate_rules(report: Report, sections: Sections, names: list[str]) -> None:
    seen: set[AgentName | None] = set()
    for number, rule in reversed(list(enumerate(sections.handoffs.handoff_rules))):
        if rule.kind != "after_work":
            continue
        source = resolve_target(rule.source_agent, names)
        if source in seen:
            message = f"has no effect: a later rule decides what follows {rule.source_agent}"
            report.add("handoffs", ("handoff_rules", number), message, severity="warning")
        seen.add(source)
