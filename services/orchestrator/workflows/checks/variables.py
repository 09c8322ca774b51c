"""Check context variables: their sources, the agents that have them, and their triggers."""

from contracts.reserved_variables import is_reserved
from contracts.settable_variables import PAGE_PREFIX
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.data_references import is_field_name, placeholders
from services.orchestrator.workflows.manifest.diagnostics import FieldPath, quoted
from services.orchestrator.workflows.manifest.models.variables import (
    RUNTIME_VALUES,
    AgentTextTrigger,
    DatabaseSource,
    FileSource,
    ReferenceSource,
    StateSource,
    UnsupportedSource,
    VariableManifest,
)
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.patterns import (
    MATCH_SECONDS,
    InvalidPatternError,
    check_syntax,
    may_be_slow,
)

RUNTIME_VARIABLES = ("workflow_name", "app_id", "chat_id", "user_id")
"""The variables that the runtime sets in every chat."""


def check_variables(report: Report, sections: Sections, names: list[str]) -> None:
    defined = [variable.name for variable in sections.variables.definitions]
    for number, variable in enumerate(sections.variables.definitions):
        path: FieldPath = ("definitions", number, "source")
        if defined.index(variable.name) != number:
            report.add("context_variables", path[:2], f"the name {variable.name} is used twice")
        _check_settable(report, ("definitions", number), variable)
        if isinstance(variable.source, UnsupportedSource):
            message = f"{variable.source.type} is not read by this release: the default is used"
            report.add("context_variables", path, message, severity="warning")
        if isinstance(variable.source, ReferenceSource | DatabaseSource):
            _check_reference(report, path, variable.source, defined)
        if (
            isinstance(variable.source, FileSource)
            and not variable.source.required
            and variable.source.path in sections.files.missing
        ):
            message = "there is no such file: the default is used"
            report.add("context_variables", (*path, "path"), message, severity="warning")
    for number, entry in enumerate(sections.variables.agents):
        path = ("agents", number, "variables")
        if entry.agent not in names:
            report.unknown("context_variables", path[:2], "agent", entry.agent, names)
        for name in entry.variables:
            if name in (*defined, *RUNTIME_VARIABLES):
                continue
            if is_reserved(name):
                message = f"{name} is not passed to agents by this release"
                report.add("context_variables", path, message, severity="warning")
            else:
                report.unknown("context_variables", path, "variable", name, defined)


def _check_settable(report: Report, path: FieldPath, variable: VariableManifest) -> None:
    section = "context_variables"
    if variable.settable_by is None and variable.settable_from:
        message = "needs settable_by: without it no user sets the variable"
        report.add(section, (*path, "settable_from"), message, accepted=["user"])
    if variable.settable_by is None and variable.name.startswith(PAGE_PREFIX):
        message = (
            f"{variable.name} is set by pages, as every name with {PAGE_PREFIX}: choose another"
        )
        report.add(section, path, message, severity="warning")
    if variable.settable_by is not None and is_reserved(variable.name):
        message = f"{variable.name} is the runtime's: no user sets it"
        report.add(section, (*path, "settable_by"), message)


def _check_reference(
    report: Report, path: FieldPath, source: ReferenceSource | DatabaseSource, defined: list[str]
) -> None:
    section = "context_variables"
    for field_ in source.query:
        if not is_field_name(field_):
            message = f"{field_} is not a field name: operators are not supported"
            report.add(section, (*path, "query_template"), message)
    for kind, dotted in placeholders(source.query):
        name = dotted.partition(".")[0]
        if kind == "runtime" and name not in RUNTIME_VALUES:
            report.unknown(section, path, "value of the runtime", name, list(RUNTIME_VALUES))
        elif kind == "var" and name not in (*defined, *RUNTIME_VARIABLES):
            report.unknown(section, path, "variable", name, defined)
        elif kind not in ("runtime", "var"):
            message = f"{{{{{kind}}}}} is not one of the accepted values"
            report.add(section, path, message, accepted=["{{runtime.…}}", "{{var.…}}"])


def check_triggers(report: Report, sections: Sections, names: list[str]) -> None:
    for number, variable in enumerate(sections.variables.definitions):
        if not isinstance(source := variable.source, StateSource):
            continue
        path: FieldPath = ("definitions", number, "source")
        declared = [
            *((("triggers", n), one) for n, one in enumerate(source.triggers)),
            *(
                (("transitions", n, "trigger"), one.trigger)
                for n, one in enumerate(source.transitions)
            ),
        ]
        for location, trigger in declared:
            if isinstance(trigger, AgentTextTrigger):
                _check_text_trigger(report, (*path, *location), trigger, names)


def _check_text_trigger(
    report: Report, path: FieldPath, trigger: AgentTextTrigger, names: list[str]
) -> None:
    section, match = "context_variables", trigger.matching
    if trigger.agent not in names:
        report.unknown(section, (*path, "agent"), "agent", trigger.agent, names)
    given = [one for one in (match.equals, match.contains, match.regex) if one is not None]
    if len(given) != 1:
        report.add(section, path, "needs exactly one of equals, contains and regex")
    if match.regex is not None:
        _check_regex(report, (*path, "regex"), match.regex)
        if trigger.ui_hidden:
            message = "has no effect with a regex: only whole replies are hidden"
            report.add(section, (*path, "ui_hidden"), message, severity="warning")


def _check_regex(report: Report, path: FieldPath, pattern: str) -> None:
    try:
        check_syntax(pattern)
    except InvalidPatternError as invalid:
        message = f"is not a valid regular expression: {invalid}"
        report.add("context_variables", path, message, found=quoted(pattern))
        return
    if may_be_slow(pattern):
        message = (
            "takes very long on some texts, as nested repetitions do: a search that takes longer "
            f"than {MATCH_SECONDS:g} s finds nothing"
        )
        report.add("context_variables", path, message, severity="warning", found=quoted(pattern))
