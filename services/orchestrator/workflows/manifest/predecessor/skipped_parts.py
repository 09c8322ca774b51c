"""Find the parts of manifests that the predecessor's loader skipped."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from contracts.reserved_variables import is_reserved
from services.orchestrator.workflows.manifest.diagnostics import FieldPath
from services.orchestrator.workflows.manifest.models.variables import (
    AgentTextTrigger,
    StateSource,
    TextMatch,
)
from services.orchestrator.workflows.manifest.names import resolve_target
from services.orchestrator.workflows.manifest.sections import Sections
from services.orchestrator.workflows.patterns import InvalidPatternError, check_syntax
from services.orchestrator.workflows.spec import TERMINATE


@dataclass(frozen=True, slots=True)
class Skipped:
    """A part of a section that the predecessor's loader skipped, at a location in its model."""

    section: str
    location: FieldPath
    message: str


def skipped(sections: Sections) -> list[Skipped]:
    """What the loader skipped because an agent, a file or a variable that it names does not exist."""
    names = [agent.name for agent in sections.agents.agents]
    return [
        *_skipped_beginning(sections, names),
        *_skipped_tools(sections, names),
        *_skipped_hooks(sections, names),
        *_skipped_rules(sections, names),
        *_skipped_variables(sections, names),
        *_skipped_outputs(sections, names),
    ]


def _skipped_beginning(sections: Sections, names: Collection[str]) -> Iterator[Skipped]:
    first = sections.workflow.initial_agent
    if first is not None and first not in names:
        message = f"{_no_agents([first])}: the first agent begins"
        yield Skipped("workflow", ("initial_agent",), message)


def _skipped_tools(sections: Sections, names: Collection[str]) -> Iterator[Skipped]:
    taken: set[tuple[str, str]] = set()
    for number, tool in enumerate(sections.tools.tools):
        path: FieldPath = ("tools", number)
        name = tool.name or tool.function
        if tool.mcp is None and any((agent, name) in taken for agent in tool.agents):
            yield Skipped("tools", path, f"is skipped: its agent has a tool {name} already")
            continue
        taken |= {(agent, name) for agent in tool.agents}
        absent = [agent for agent in tool.agents if agent not in names]
        if len(absent) == len(tool.agents):
            yield Skipped("tools", path, f"nobody calls it: {_no_agents(absent)}")
        elif tool.mcp is None and tool.file and tool.file not in sections.files.python:
            agents = " and ".join(agent for agent in tool.agents if agent in names)
            message = f"is skipped: there is no file {tool.file}, and {agents} cannot call {name}"
            yield Skipped("tools", path, message)
        elif isinstance(tool.agent, list):
            for place, agent in enumerate(tool.agent):
                if agent not in names:
                    yield Skipped("tools", (*path, "agent", place), _no_agents([agent]))
    for number, called in enumerate(sections.tools.lifecycle_tools):
        path = ("lifecycle_tools", number)
        if called.agent is not None and called.agent not in names:
            yield Skipped("tools", path, f"is never called: {_no_agents([called.agent])}")
        elif called.file not in sections.files.python:
            yield Skipped("tools", path, f"is skipped: there is no file {called.file}")


def _skipped_hooks(sections: Sections, names: Collection[str]) -> Iterator[Skipped]:
    for number, hook in enumerate(sections.hooks.hooks):
        if hook.hook_agent != "all" and hook.hook_agent not in names:
            message = f"is never called: {_no_agents([hook.hook_agent])}"
            yield Skipped("hooks", ("hooks", number), message)
        elif hook.filename not in sections.files.python:
            message = f"is skipped: there is no file {hook.filename}"
            yield Skipped("hooks", ("hooks", number), message)


def _skipped_rules(sections: Sections, names: Collection[str]) -> Iterator[Skipped]:
    for number, rule in enumerate(sections.handoffs.handoff_rules):
        path: FieldPath = ("handoff_rules", number)
        source, target = (
            resolve_target(rule.source_agent, names),
            resolve_target(rule.target_agent, names),
        )
        unknown = [
            name
            for name, found in ((rule.source_agent, source), (rule.target_agent, target))
            if found is None
        ]
        if unknown:
            yield Skipped("handoffs", path, f"is skipped: {_no_agents(unknown)}")
        elif source == TERMINATE:
            yield Skipped("handoffs", path, "is skipped: nothing follows the end")
        elif rule.handoff_type == "condition" and not rule.condition:
            yield Skipped("handoffs", path, "is skipped: it has no condition")
        elif rule.handoff_type == "after_work" and rule.condition:
            message = "is not read: only a rule of handoff_type condition has one"
            yield Skipped("handoffs", (*path, "condition"), message)


def _skipped_variables(sections: Sections, names: Collection[str]) -> Iterator[Skipped]:
    section = "context_variables"
    defined = {one.name for one in sections.variables.definitions}
    for number, entry in enumerate(sections.variables.agents):
        path: FieldPath = ("agents", number)
        if entry.agent not in names:
            yield Skipped(section, path, f"nobody reads it: {_no_agents([entry.agent])}")
            continue
        for place, name in enumerate(entry.variables):
            if name not in defined and not is_reserved(name):
                message = f"there is no variable {name}"
                yield Skipped(section, (*path, "variables", place), message)
    for number, variable in enumerate(sections.variables.definitions):
        if isinstance(source := variable.source, StateSource):
            path = ("definitions", number, "source")
            for location, trigger in _text_triggers(source):
                if trigger.agent not in names:
                    message = f"never holds: {_no_agents([trigger.agent])}"
                    yield Skipped(section, (*path, *location), message)
                elif not _is_possible(trigger.matching):
                    message = (
                        "never holds: it needs exactly one of equals, contains and a valid regex"
                    )
                    yield Skipped(section, (*path, *location), message)


def _text_triggers(source: StateSource) -> Iterable[tuple[FieldPath, AgentTextTrigger]]:
    for number, trigger in enumerate(source.triggers):
        if isinstance(trigger, AgentTextTrigger):
            yield ("triggers", number), trigger
    for number, transition in enumerate(source.transitions):
        if isinstance(transition.trigger, AgentTextTrigger):
            yield ("transitions", number), transition.trigger


def _is_possible(match: TextMatch) -> bool:
    given = [one for one in (match.equals, match.contains, match.regex) if one is not None]
    if match.regex is not None:
        try:
            check_syntax(match.regex)
        except InvalidPatternError:
            return False
    return len(given) == 1


def _skipped_outputs(sections: Sections, names: Collection[str]) -> Iterator[Skipped]:
    registered = {
        one.agent for one in sections.outputs.registry if one.agent_definition is not None
    }
    for number, entry in enumerate(sections.outputs.registry):
        if entry.agent not in names:
            message = f"nobody replies with it: {_no_agents([entry.agent])}"
            yield Skipped("structured_outputs", ("registry", number), message)
    for number, agent in enumerate(sections.agents.agents):
        is_free = agent.name not in registered and not agent.auto_tool_mode
        if agent.structured_outputs_required and is_free:
            path = ("agents", number, "structured_outputs_required")
            message = f"has no effect: structured_outputs.registry has no model for {agent.name}"
            yield Skipped("agents", path, message)


def _no_agents(names: Collection[str]) -> str:
    return f"there is no agent {' or '.join(names)}"
