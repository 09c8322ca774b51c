"""How a replay ended, as JSON and as lines for people."""

from collections.abc import Iterator, Sequence
from typing import Any

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.turn import ModelRequested
from contracts.ids import AgentName
from services.orchestrator.agents.execution.agent_set import AgentSet
from services.orchestrator.agents.execution.offered import Offer, offered_by
from services.orchestrator.agents.replay.comparison import FieldDifference, texts
from services.orchestrator.agents.replay.differences import differences, shown
from services.orchestrator.agents.replay.log_replay import Replayed
from services.orchestrator.agents.replay.recorded_chat import Divergence

_NAMES = ("turn", "call", "agent")


def as_json(replayed: Replayed, facts: Sequence[Fact]) -> dict[str, Any]:
    """The outcome as a JSON object; `divergence` is null where nothing differs."""
    envelope = facts[0].envelope
    found = replayed.divergence
    return {
        "app_id": envelope.app_id,
        "chat_id": envelope.chat_id,
        "workflow_name": envelope.workflow_name,
        "events": len(facts),
        "replayed": replayed.events,
        "not_compared": replayed.taken,
        "divergence": None if found is None else _divergence(found),
    }


def _divergence(found: Divergence) -> dict[str, Any]:
    event = found.recorded.event
    return {
        "seq": found.recorded.envelope.seq,
        "type": event.type,
        **_place(event),
        "why": found.why,
        "recorded": _body(event),
        "now": None if found.found is None else _body(found.found),
        "fields": [
            {
                "path": one.path,
                "part": one.part,
                "recorded": one.recorded,
                "now": one.found,
                "diff": list(one.diff),
            }
            for one in found.fields
        ],
    }


def _body(event: Event) -> dict[str, Any]:
    return {"type": event.type, **event.model_dump(mode="json")}


def _place(event: Event) -> dict[str, Any]:
    """The turn, the model call and the agent of an event that has them."""
    return {name: value for name in _NAMES if (value := getattr(event, name, None)) is not None}


def as_lines(replayed: Replayed, facts: Sequence[Fact]) -> Iterator[str]:
    envelope, found = facts[0].envelope, replayed.divergence
    chat = f"chat {envelope.chat_id} of {envelope.workflow_name}"
    if found is None:
        compared = replayed.events - replayed.taken
        yield f"{chat}: nothing differs in {replayed.events} events ({compared} compared)"
        return
    event = found.recorded.event
    place = ", ".join(f"{name} {value}" for name, value in _place(event).items())
    yield f"{chat} diverges at event {found.recorded.envelope.seq}, {event.type}" + (
        f" ({place})" if place else ""
    )
    yield f"  {found.why}"
    if found.found is None:
        yield f"  recorded  {shown(_body(event))}"
    elif found.found.type != event.type:
        yield f"  recorded  {shown(_body(event))}"
        yield f"  now       {shown(_body(found.found))}"
    else:
        yield from texts(found.fields)


def with_offer(replayed: Replayed, recorded: AgentSet | None, now: AgentSet) -> Replayed:
    """With the differing fields of tools and of the form of the answer, if their digest differs.

    `recorded` is the version that the chat ran; None where it is not available.
    """
    found = replayed.divergence
    if found is None or recorded is None or not isinstance(found.found, ModelRequested):
        return replayed
    if not any(one.path == "offered" for one in found.fields):
        return replayed
    named = tuple(offer_differences(recorded, now, found.found.agent))
    fields = tuple(one for one in found.fields if one.path != "offered")
    changed = Divergence(found.recorded, found.found, (*fields, *named) or found.fields, found.why)
    return Replayed(replayed.events, replayed.taken, replayed.state, changed)


def offer_differences(
    recorded: AgentSet, now: AgentSet, agent: AgentName
) -> Iterator[FieldDifference]:
    """The fields in which the tools of an agent and the schema of its answer differ."""
    before, after = _offer(recorded, agent), _offer(now, agent)
    for path, one, other in differences(_by_name(before), _by_name(after)):
        yield FieldDifference(path, one, other, "a tool or the form of the answer")


def _offer(agents: AgentSet, name: AgentName) -> Offer:
    agent = agents.agents.get(name)
    return Offer() if agent is None else offered_by(agent)


def _by_name(offer: Offer) -> dict[str, Any]:
    return {
        "tools": {one["name"]: dict(one) for one in offer.tools},
        "response_schema": None if offer.response_schema is None else dict(offer.response_schema),
    }
