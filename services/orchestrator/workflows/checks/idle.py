"""Keys whose syntax is accepted and that have no effect."""

from collections.abc import Iterable

from pydantic import BaseModel

from services.orchestrator.workflows.checks.report import Report, Sections
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.manifest import (
    IDLE,
)


def check_idle(report: Report, sections: Sections) -> None:
    written: dict[str, BaseModel] = {
        "workflow": sections.head,
        "agents": sections.agents,
        "tools": sections.tools,
        "context_variables": sections.variables,
        "structured_outputs": sections.outputs,
        "ui_config": sections.page,
        "hooks": sections.hooks,
    }
    for section, model in written.items():
        for place in _idle(model, ()):
            what = "is accepted, but not executed by this release"
            report.add(section, place, what, severity="warning")


def _idle(value: object, place: Place) -> Iterable[Place]:
    """Keys that are marked as idle and set to something."""
    match value:
        case BaseModel():
            for name in sorted(value.model_fields_set):
                extra = type(value).model_fields[name].json_schema_extra
                inner = getattr(value, name)
                if isinstance(extra, dict) and extra.get(IDLE):
                    yield from [(*place, name)] if _says_something(inner) else []
                else:
                    yield from _idle(inner, (*place, name))
        case list():
            for number, one in enumerate(value):
                yield from _idle(one, (*place, number))
        case _:
            return


def _says_something(value: object) -> bool:
    if isinstance(value, BaseModel):
        return any(_says_something(getattr(value, name)) for name in value.model_fields_set)
    return bool(value)
