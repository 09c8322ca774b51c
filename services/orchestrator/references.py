"""Variables whose values lie elsewhere: which are to be asked for now, and what the answers make of them."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from contracts.events.turn import RUNTIME, SELECTOR, VariablesChanged
from contracts.ids import ChatKey, UserId
from contracts.lookups import DataFound, DataRequested
from services.orchestrator.state import ChatState
from services.orchestrator.workflows.references import NoSuchValueError, filled, placeholders
from services.orchestrator.workflows.spec import USER, DataReference, Workflow


def missing(workflow: Workflow, state: ChatState) -> tuple[DataReference, ...]:
    """What has to be asked for before any agent speaks, and never was.

    One that is found by another's value waits for that one; two that wait for each other do not.
    """
    unsettled = [
        one
        for one in workflow.references
        if one.refresh != "on_demand" and one.name not in state.settled
    ]
    names = {one.name for one in unsettled}
    ready = [one for one in unsettled if not names & _found_by(one)]
    return tuple(ready or unsettled)


def due(workflow: Workflow, state: ChatState) -> tuple[DataReference, ...]:
    """What is to be asked for before the open turn goes on: what is missing, else the new phase's."""
    turn = state.open
    if turn is None or state.ended or turn.agent in (USER, SELECTOR):
        return ()
    if found := missing(workflow, state):
        return found
    if turn.steps:
        return ()
    return tuple(one for one in workflow.references if one.refresh == "per_phase")


def queries(
    references: Iterable[DataReference], state: ChatState, key: ChatKey
) -> list[DataRequested]:
    """The questions, without those that depend on what is not known yet."""
    asked = (
        question(one, state.variables, key, state.user, f"{state.turns}") for one in references
    )
    return [one for one in asked if one is not None]


def question(
    reference: DataReference,
    variables: Mapping[str, Any],
    key: ChatKey,
    user: UserId,
    occasion: str,
) -> DataRequested | None:
    """One question, none where its query depends on what is not known yet."""
    runtime = {"app_id": key.app, "chat_id": key.chat, "user_id": user}
    try:
        query = filled(reference.query, {"runtime": runtime, "var": variables})
    except NoSuchValueError:
        return None
    return DataRequested(
        request_id=_request(reference, occasion),
        app_id=key.app,
        chat_id=key.chat,
        database=reference.database,
        collection=reference.collection,
        query=query,
        fields=list(reference.fields),
    )


def settled(
    references: Iterable[DataReference], answers: Sequence[DataFound], state: ChatState
) -> VariablesChanged:
    """What the answers make of the variables: a value, or the default where there is none."""
    by_request = {answer.request_id: answer for answer in answers}
    changed = {
        one.name: value(one, by_request.get(_request(one, f"{state.turns}"))) for one in references
    }
    first = not any(one.name in state.settled for one in references)
    return VariablesChanged(turn=0 if first else state.turns, agent=RUNTIME, changed=changed)


def value(reference: DataReference, answer: DataFound | None) -> Any:
    if answer is None or not answer.found or answer.value is None:
        return reference.default
    return answer.value


def _found_by(reference: DataReference) -> set[str]:
    return {path.partition(".")[0] for kind, path in placeholders(reference.query) if kind == "var"}


def _request(reference: DataReference, occasion: str) -> str:
    return sha256(f"{occasion}:{reference.name}".encode()).hexdigest()[:24]
