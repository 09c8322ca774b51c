"""Decide which context variables to look up in other databases, and what the answers set them to."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from contracts.events.turn import RUNTIME, SELECTOR, VariablesChanged
from contracts.ids import ChatKey, UserId
from contracts.lookups import DataFound, DataRequested
from services.orchestrator.domain.state import ChatState
from services.orchestrator.workflows.data_references import (
    UnknownPlaceholderError,
    fill_placeholders,
    placeholders,
)
from services.orchestrator.workflows.spec import USER, DataReference, Workflow


def unresolved(workflow: Workflow, state: ChatState) -> tuple[DataReference, ...]:
    """The references that must be looked up before the first turn and have not been.

    A reference whose query uses another reference's value is looked up after that one. References
    that depend on each other in a cycle are looked up together.
    """
    pending = [
        one
        for one in workflow.references
        if one.refresh != "on_demand" and one.name not in state.resolved_variables
    ]
    names = {one.name for one in pending}
    ready = [one for one in pending if not names & _variables_in_query(one)]
    return tuple(ready or pending)


def due(workflow: Workflow, state: ChatState) -> tuple[DataReference, ...]:
    """The references to look up before the open turn runs: unresolved ones, else `per_phase` ones."""
    turn = state.open_turn
    if turn is None or state.ended or turn.agent in (USER, SELECTOR):
        return ()
    if first := unresolved(workflow, state):
        return first
    if turn.steps:
        return ()
    return tuple(one for one in workflow.references if one.refresh == "per_phase")


def lookup_requests(
    references: Iterable[DataReference], state: ChatState, key: ChatKey
) -> list[DataRequested]:
    """The lookup requests of these references, except those whose query needs an unknown value."""
    requests = (
        lookup_request(one, state.variables, key, state.user, f"{state.turn_number}")
        for one in references
    )
    return [one for one in requests if one is not None]


def lookup_request(
    reference: DataReference,
    variables: Mapping[str, Any],
    key: ChatKey,
    user: UserId,
    occasion: str,
) -> DataRequested | None:
    """The lookup request of one reference, None if its query needs a value that is not known.

    `occasion` makes the request id: the same reference gets another id for another occasion.
    """
    runtime = {"app_id": key.app, "chat_id": key.chat, "user_id": user}
    try:
        query = fill_placeholders(reference.query, {"runtime": runtime, "var": variables})
    except UnknownPlaceholderError:
        return None
    return DataRequested(
        request_id=_request_id(reference, occasion),
        app_id=key.app,
        chat_id=key.chat,
        database=reference.database,
        collection=reference.collection,
        query=query,
        fields=list(reference.fields),
    )


def resolved(
    references: Iterable[DataReference], answers: Sequence[DataFound], state: ChatState
) -> VariablesChanged:
    """The change of variables that the answers make: the value found, else the default."""
    by_request = {answer.request_id: answer for answer in answers}
    changed = {
        one.name: resolved_value(one, by_request.get(_request_id(one, f"{state.turn_number}")))
        for one in references
    }
    first = not any(one.name in state.resolved_variables for one in references)
    return VariablesChanged(turn=0 if first else state.turn_number, agent=RUNTIME, changed=changed)


def resolved_value(reference: DataReference, answer: DataFound | None) -> Any:
    """The value that was found, the reference's default if there is none."""
    if answer is None or not answer.found or answer.value is None:
        return reference.default
    return answer.value


def _variables_in_query(reference: DataReference) -> set[str]:
    return {path.partition(".")[0] for kind, path in placeholders(reference.query) if kind == "var"}


def _request_id(reference: DataReference, occasion: str) -> str:
    return sha256(f"{occasion}:{reference.name}".encode()).hexdigest()[:24]
