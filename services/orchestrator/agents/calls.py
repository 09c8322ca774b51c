"""What is recorded of a model call: its usage as an event, and one line of the log that says as much."""

import logging

from contracts.events.turn import ModelResponded, UsageRecorded
from contracts.ids import ChatKey

log = logging.getLogger(__name__)


def usage_of(
    said: ModelResponded, *, duration: float, cost: float | None, cached: bool
) -> UsageRecorded:
    return UsageRecorded(
        turn=said.turn,
        call=said.call,
        agent=said.agent,
        model=said.model,
        provider=said.provider,
        tokens=said.tokens,
        duration=duration,
        cost=cost,
        cached=cached,
    )


def note_call(key: ChatKey, digest: str, spent: UsageRecorded) -> None:
    """Say on the log what the events say of a call, without a word of it; `digest` is its request's."""
    log.info(
        "a model answered",
        extra={
            "app": key.app,
            "chat": key.chat,
            "turn": spent.turn,
            "call": spent.call,
            "agent": spent.agent,
            "provider": spent.provider,
            "model": spent.model,
            "prompt_tokens": spent.tokens.prompt,
            "completion_tokens": spent.tokens.completion,
            "duration": round(spent.duration, 3),
            "cost": spent.cost,
            "cached": spent.cached,
            "digest": digest,
        },
    )
