"""Check structured outputs: the models, and the agents whose replies must match them."""

from pydantic import ValidationError

from contracts.codec import describe
from services.orchestrator.workflows.checks.report import Report
from services.orchestrator.workflows.manifest.diagnostics import FieldPath
from services.orchestrator.workflows.manifest.models.outputs import OutputField
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.output_models import KNOWN_TYPES, type_names


def check_outputs(report: Report, sections: Sections, names: list[str]) -> None:
    models = [model.name for model in sections.outputs.models]
    for number, model in enumerate(sections.outputs.models):
        if models.index(model.name) != number:
            report.add(
                "structured_outputs", ("models", number), f"the name {model.name} is used twice"
            )
        for name, declared in model.fields.items():
            _check_field(report, ("models", number, "fields", name), declared, models)
    for number, entry in enumerate(sections.outputs.registry):
        path: FieldPath = ("registry", number)
        if entry.agent not in names:
            report.unknown("structured_outputs", path, "agent", entry.agent, names)
        wanted_model = entry.agent_definition
        if wanted_model is not None and wanted_model not in models:
            report.unknown("structured_outputs", path, "model", wanted_model, models)
    _check_outputs_of_agents(report, sections)


def _check_field(report: Report, path: FieldPath, declared: OutputField, models: list[str]) -> None:
    section = "structured_outputs"
    known = [*sorted(KNOWN_TYPES), *models]
    try:
        type_names_used = list(type_names(declared))
    except ValidationError as invalid:
        report.add(section, path, f"an item or a variant is not a type: {describe(invalid)}")
        return
    for name in type_names_used:
        if name not in known:
            report.unknown(section, (*path, "type"), "type", name, known)
    if declared.type == "literal" and not declared.values:
        report.add(section, (*path, "values"), "a literal needs its allowed values")
    if declared.type == "union" and not declared.variants:
        report.add(section, (*path, "variants"), "a union needs its allowed types")


def _check_outputs_of_agents(report: Report, sections: Sections) -> None:
    registered = {
        entry.agent for entry in sections.outputs.registry if entry.agent_definition is not None
    }
    for number, agent in enumerate(sections.agents.agents):
        path: FieldPath = ("agents", number)
        needs = "auto_tool_mode" if agent.auto_tool_mode else "structured_outputs_required"
        if (agent.auto_tool_mode or agent.structured_outputs_required) and (
            agent.name not in registered
        ):
            message = f"needs a model for {agent.name} in structured_outputs.registry"
            about = ("registration", agent.name)
            report.add("agents", (*path, needs), message, about=about)
        invoked = [
            tool
            for tool in sections.tools.tools
            if agent.name in tool.agents and tool.is_auto_invoked
        ]
        if agent.auto_tool_mode and len(invoked) != 1:
            message = f"needs exactly one auto-invoked tool of {agent.name}, found {len(invoked)}"
            report.add(
                "agents",
                (*path, "auto_tool_mode"),
                message,
                severity="warning" if sections.lenient else "error",
                about=("tool", agent.name),
            )
        for nth, tool in enumerate(sections.tools.tools):
            if agent.auto_tool_mode and tool in invoked and tool.requires_approval:
                message = f"not possible: {agent.name} is in auto_tool_mode, where the runtime calls the tool"
                report.add("tools", ("tools", nth, "requires_approval"), message)
            if agent.name in tool.agents and tool.auto_invoke and not agent.auto_tool_mode:
                message = f"auto_invoke has no effect for {agent.name}: it is not in auto_tool_mode"
                report.add("tools", (), message, severity="warning")
