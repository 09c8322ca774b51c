"""What a chat has done to the world, as `mozaiks effects` lists it."""

import json
from collections.abc import Iterator, Sequence

from contracts.codec import Fact
from contracts.effects import CallEffect, effects_of, record_of


def chat_effects(facts: Sequence[Fact]) -> list[CallEffect]:
    """The effects of a chat, from all its events."""
    if not facts:
        return []
    records = (record_of(fact.envelope, fact.event) for fact in facts)
    envelope = facts[0].envelope
    found = (record for record in records if record is not None)
    return effects_of(found, envelope.chat_id, envelope.workflow_name)


def as_lines(effects: Sequence[CallEffect]) -> Iterator[str]:
    """An effect as a few lines of text, its history in the order of its events."""
    for effect in effects:
        time = effect.dispatched_at.isoformat(timespec="seconds")
        yield f"{time}  {effect.tool} ({effect.effect}): {effect.outcome}"
        yield f"  arguments  {effect.arguments}"
        yield f"  key        {effect.idempotency_key}"
        if effect.approval is not None:
            yield f"  approved   by {effect.approval.answered_by or 'an earlier approval'}"
        for attempt in effect.attempts[1:]:
            yield f"  attempt    {attempt.number}: {attempt.reason}"
        for doubt in effect.doubts:
            answer = (
                "not answered" if doubt.answer is None else f"{doubt.answered_by}: {doubt.answer}"
            )
            yield f"  in doubt   attempt {doubt.attempt}: {answer}"
        if effect.resolved_by is not None:
            yield f"  resolved   by {effect.resolved_by}"
        if effect.receipt is not None:
            yield f"  receipt    {json.dumps(effect.receipt, ensure_ascii=False)}"
        if effect.error is not None:
            yield f"  error      {effect.error}"
