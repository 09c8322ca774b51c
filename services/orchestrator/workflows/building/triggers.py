"""Build the triggers that set context variables from replies and from answers to UI tools."""

from collections.abc import Iterable
from typing import Any

from contracts.ids import AgentName
from services.orchestrator.workflows.manifest.models.variables import (
    AgentTextTrigger,
    StateSource,
    UiResponseTrigger,
    VariablesManifest,
)
from services.orchestrator.workflows.spec import AnswerTrigger, TextTrigger, Trigger


def build_triggers(variables: VariablesManifest) -> tuple[Trigger, ...]:
    """The triggers of all variables, in the order of the manifest."""
    return tuple(
        _trigger(variable.name, trigger, value)
        for variable in variables.definitions
        if isinstance(source := variable.source, StateSource)
        for trigger, value in [
            *((trigger, None) for trigger in source.triggers),
            *((transition.trigger, transition.to) for transition in source.transitions),
        ]
    )


def hidden_replies(triggers: Iterable[Trigger], agent: str) -> frozenset[str]:
    """The texts that are hidden from the UI if they are the whole reply of the agent.

    Also for `contains`: a reply that is equal to the text is hidden, a longer one is shown.
    """
    return frozenset(
        text.strip()
        for one in triggers
        if isinstance(one, TextTrigger) and one.ui_hidden and one.agent == agent
        for text in (one.equals, one.contains)
        if text
    )


def _trigger(variable: str, declared: AgentTextTrigger | UiResponseTrigger, value: Any) -> Trigger:
    if isinstance(declared, UiResponseTrigger):
        return AnswerTrigger(variable, declared.tool, declared.response_key, value)
    match = declared.matching
    return TextTrigger(
        variable=variable,
        agent=AgentName(declared.agent),
        value=True if value is None else value,
        equals=match.equals,
        contains=match.contains,
        regex=match.regex,
        ui_hidden=declared.ui_hidden,
    )
