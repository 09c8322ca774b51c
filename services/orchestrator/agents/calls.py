"""The runtime log of model calls: one line each, with everything but what was said."""

import logging

from contracts.events.turn import UsageRecorded
from contracts.ids import ChatKey

log = logging.getLogger(__name__)


def note_call(key: ChatKey, digest: str, spent: UsageRecorded) -> None:
    """Say on the log what the events say of a call; `digest` is the one of its request."""
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
