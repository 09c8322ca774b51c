"""Warn of keys that are accepted but have no effect."""

from collections.abc import Iterable

from pydantic import BaseModel

from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.manifest.diagnostics import FieldPath
from services.orchestrator.workflows.manifest.models.base import NOT_EXECUTED
from services.orchestrator.workflows.manifest.sections import Sections


def check_not_executed(report: Report, sections: Sections) -> None:
    models: dict[str, BaseModel] = {
        "workflow": sections.workflow,
        "agents": sections.agents,
        "tools": sections.tools,
        "context_variables": sections.variables,
        "structured_outputs": sections.outputs,
        "ui_config": sections.ui,
        "hooks": sections.hooks,
    }
    for section, model in models.items():
        for path in _not_executed_keys(model, ()):
            message = "is accepted, but not executed by this release"
            report.add(section, path, message, severity="warning")


def _not_executed_keys(value: object, path: FieldPath) -> Iterable[FieldPath]:
    """The paths of keys that are marked as not executed and have a value."""
    match value:
        case BaseModel():
            for name in sorted(value.model_fields_set):
                extra = type(value).model_fields[name].json_schema_extra
                inner = getattr(value, name)
                if isinstance(extra, dict) and extra.get(NOT_EXECUTED):
                    yield from [(*path, name)] if _is_set(inner) else []
                else:
                    yield from _not_executed_keys(inner, (*path, name))
        case list():
            for number, one in enumerate(value):
                yield from _not_executed_keys(one, (*path, number))
        case _:
            return


def _is_set(value: object) -> bool:
    if isinstance(value, BaseModel):
        return any(_is_set(getattr(value, name)) for name in value.model_fields_set)
    return bool(value)
