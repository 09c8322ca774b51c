"""Context variables: where their values come from, who is told them, what sets them."""

import contextlib
import re
from pathlib import Path

from contracts.reserved import is_reserved
from services.orchestrator.workflows.checks.report import Report, Sections
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.diagnosis import shown
from services.orchestrator.workflows.manifest import (
    RUNTIME_VALUES,
    AgentTextTrigger,
    DatabaseSource,
    DistantSource,
    FileSource,
    ReferenceSource,
    StateSource,
)
from services.orchestrator.workflows.references import is_field, placeholders

TOLD = ("workflow_name", "app_id", "chat_id", "user_id")
"""What every chat's variables hold."""


def check_variables(report: Report, sections: Sections, names: list[str], folder: Path) -> None:
    defined = [variable.name for variable in sections.variables.definitions]
    for number, variable in enumerate(sections.variables.definitions):
        place: Place = ("definitions", number, "source")
        if defined.index(variable.name) != number:
            report.add("context_variables", place[:2], f"the name {variable.name} is taken")
        if isinstance(variable.source, DistantSource):
            what = f"{variable.source.type} is not read by this release: the default is the value"
            report.add("context_variables", place, what, severity="warning")
        if isinstance(variable.source, ReferenceSource | DatabaseSource):
            _check_reference(report, place, variable.source, defined)
        if isinstance(variable.source, FileSource) and not variable.source.required:
            _check_optional_file(report, place, folder / variable.source.path)
    for number, told in enumerate(sections.variables.agents):
        place = ("agents", number, "variables")
        if told.agent not in names:
            report.unknown("context_variables", place[:2], "agent", told.agent, names)
        for name in told.variables:
            if name in (*defined, *TOLD):
                continue
            if is_reserved(name):
                what = f"{name} is not told to agents by this release"
                report.add("context_variables", place, what, severity="warning")
            else:
                report.unknown("context_variables", place, "variable", name, defined)


def _check_reference(
    report: Report, place: Place, source: ReferenceSource | DatabaseSource, defined: list[str]
) -> None:
    section = "context_variables"
    for field_ in source.query:
        if not is_field(field_):
            what = f"{field_} is no field: values are compared, there are no operators"
            report.add(section, (*place, "query_template"), what)
    for kind, path in placeholders(source.query):
        name = path.partition(".")[0]
        if kind == "runtime" and name not in RUNTIME_VALUES:
            report.unknown(section, place, "value of the runtime", name, list(RUNTIME_VALUES))
        elif kind == "var" and name not in (*defined, *TOLD):
            report.unknown(section, place, "variable", name, defined)
        elif kind not in ("runtime", "var"):
            what = f"{{{{{kind}}}}} is none of the accepted values"
            report.add(section, place, what, accepted=["{{runtime.…}}", "{{var.…}}"])


def _check_optional_file(report: Report, place: Place, path: Path) -> None:
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # told when it is read
        if not path.is_file():
            what = "there is no such file: the default is the value"
            report.add("context_variables", (*place, "path"), what, severity="warning")


def check_triggers(report: Report, sections: Sections, names: list[str]) -> None:
    for number, variable in enumerate(sections.variables.definitions):
        if not isinstance(source := variable.source, StateSource):
            continue
        place: Place = ("definitions", number, "source")
        declared = [
            *((("triggers", n), one) for n, one in enumerate(source.triggers)),
            *(
                (("transitions", n, "trigger"), one.trigger)
                for n, one in enumerate(source.transitions)
            ),
        ]
        for inner, trigger in declared:
            if isinstance(trigger, AgentTextTrigger):
                _check_text_trigger(report, (*place, *inner), trigger, names)


def _check_text_trigger(
    report: Report, place: Place, trigger: AgentTextTrigger, names: list[str]
) -> None:
    section, match = "context_variables", trigger.matching
    if trigger.agent not in names:
        report.unknown(section, (*place, "agent"), "agent", trigger.agent, names)
    given = [one for one in (match.equals, match.contains, match.regex) if one is not None]
    if len(given) != 1:
        report.add(section, place, "needs one of equals, contains and regex")
    if match.regex is not None:
        try:
            re.compile(match.regex)
        except re.error as broken:
            what = f"is no regular expression: {broken}"
            report.add(section, (*place, "regex"), what, found=shown(match.regex))
        if trigger.ui_hidden:
            what = "has no effect with a regex: only whole replies are hidden"
            report.add(section, (*place, "ui_hidden"), what, severity="warning")
