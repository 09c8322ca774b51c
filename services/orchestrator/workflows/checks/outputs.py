"""Structured outputs: the models, and the agents that must answer in them."""

from pydantic import ValidationError

from contracts.codec import describe
from services.orchestrator.workflows.checks.report import Report, Sections
from services.orchestrator.workflows.diagnosis import Path as Place
from services.orchestrator.workflows.manifest import (
    OutputField,
)
from services.orchestrator.workflows.outputs import KNOWN_TYPES, types_of


def check_outputs(report: Report, sections: Sections, names: list[str]) -> None:
    models = [model.name for model in sections.outputs.models]
    for number, model in enumerate(sections.outputs.models):
        if models.index(model.name) != number:
            report.add("structured_outputs", ("models", number), f"the name {model.name} is taken")
        for name, declared in model.fields.items():
            _check_field(report, ("models", number, "fields", name), declared, models)
    for number, entry in enumerate(sections.outputs.registry):
        place: Place = ("registry", number)
        if entry.agent not in names:
            report.unknown("structured_outputs", place, "agent", entry.agent, names)
        wanted_model = entry.agent_definition
        if wanted_model is not None and wanted_model not in models:
            report.unknown("structured_outputs", place, "model", wanted_model, models)
    _check_outputs_of_agents(report, sections)


def _check_field(report: Report, place: Place, declared: OutputField, models: list[str]) -> None:
    section = "structured_outputs"
    known = [*sorted(KNOWN_TYPES), *models]
    try:
        named = list(types_of(declared))
    except ValidationError as broken:
        report.add(section, place, f"an item or a variant is no type: {describe(broken)}")
        return
    for wanted in named:
        if wanted not in known:
            report.unknown(section, (*place, "type"), "type", wanted, known)
    if declared.type == "literal" and not declared.values:
        report.add(section, (*place, "values"), "a literal needs the values that it may have")
    if declared.type == "union" and not declared.variants:
        report.add(section, (*place, "variants"), "a union needs the types that it may have")


def _check_outputs_of_agents(report: Report, sections: Sections) -> None:
    registered = {
        entry.agent for entry in sections.outputs.registry if entry.agent_definition is not None
    }
    for number, agent in enumerate(sections.agents.agents):
        place: Place = ("agents", number)
        needs = "auto_tool_mode" if agent.auto_tool_mode else "structured_outputs_required"
        if (agent.auto_tool_mode or agent.structured_outputs_required) and (
            agent.name not in registered
        ):
            what = f"needs a model for {agent.name} in structured_outputs.registry"
            report.add("agents", (*place, needs), what)
        invoked = [
            tool
            for tool in sections.tools.tools
            if agent.name in tool.agents and tool.is_auto_invoked
        ]
        if agent.auto_tool_mode and len(invoked) != 1:
            what = f"needs one tool of {agent.name} that is auto-invoked, there are {len(invoked)}"
            report.add("agents", (*place, "auto_tool_mode"), what)
        for nth, tool in enumerate(sections.tools.tools):
            if agent.auto_tool_mode and tool in invoked and tool.requires_approval:
                what = f"{agent.name} is in auto_tool_mode: the runtime calls it, and asks nobody"
                report.add("tools", ("tools", nth, "requires_approval"), what)
            if agent.name in tool.agents and tool.auto_invoke and not agent.auto_tool_mode:
                what = f"auto_invoke has no effect for {agent.name}: it is not in auto_tool_mode"
                report.add("tools", (), what, severity="warning")
