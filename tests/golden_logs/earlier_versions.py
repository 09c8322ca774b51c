"""Puts the earlier versions of events back into a log, which is chained anew."""

from collections.abc import Callable, Sequence
from typing import Any

from contracts import codec, event_log
from contracts.codec import Fact
from contracts.envelope import Envelope
from contracts.events.turn import ConversationProcessed
from services.orchestrator.domain.agent_conversation import (
    conversation_for,
    processed_conversation,
    to_ag2,
)
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState

Body = dict[str, Any]


def with_earlier_versions(facts: Sequence[Fact], seed: str | None) -> list[bytes]:
    """The lines of a log with version 1 of every event that has one; `seed` is the hidden message."""
    lines: list[bytes] = []
    previous, state = None, ChatState()
    for fact in facts:
        envelope = _earlier(fact, state, seed).model_copy(update={"previous": previous})
        line = codec.encode(envelope)
        lines.append(line)
        previous = event_log.digest(line)
        state = evolve(state, fact)
    return lines


def _earlier(fact: Fact, state: ChatState, seed: str | None) -> Envelope:
    envelope = fact.envelope
    change = _EARLIER.get(envelope.type)
    if change is None:
        return envelope
    return envelope.model_copy(update={"version": 1, "body": change(fact, state, seed)})


def _usage(fact: Fact, _: ChatState, __: str | None) -> Body:
    """Version 1 had three counts side by side."""
    body = dict(fact.envelope.body)
    tokens = body.pop("tokens")
    counts = {f"{name}_tokens": tokens[name] for name in ("prompt", "completion", "total")}
    return {**body, **counts}


def _processed(fact: Fact, state: ChatState, seed: str | None) -> Body:
    """Version 1 had all messages."""
    event = fact.event
    assert isinstance(event, ConversationProcessed)
    before = conversation_for(state, event.agent, seed)
    body = {k: v for k, v in fact.envelope.body.items() if k not in ("changes", "base")}
    return {**body, "messages": to_ag2(processed_conversation(before, event))}


_EARLIER: dict[str, Callable[[Fact, ChatState, str | None], Body]] = {
    "turn.usage_recorded": _usage,
    "turn.conversation_processed": _processed,
}
