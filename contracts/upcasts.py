"""Upcasts of event bodies: one pure step per released (type, version); steps are only added."""

from collections.abc import Callable
from typing import Any

Body = dict[str, Any]


def _usage_tokens_gathered(body: Body) -> Body:
    """usage v1 -> v2: three counts side by side become one `tokens` object."""
    counts = {
        "prompt": body.get("prompt_tokens"),
        "completion": body.get("completion_tokens"),
        "total": body.get("total_tokens"),
    }
    flat = {"prompt_tokens", "completion_tokens", "total_tokens"}
    return {**{k: v for k, v in body.items() if k not in flat}, "tokens": counts}


def _messages_as_changes(body: Body) -> Body:
    """conversation_processed v1 -> v2: all messages become new ones, of which none was before."""
    changes = [{"kind": "new", "messages": body.get("messages", [])}]
    return {**{k: v for k, v in body.items() if k != "messages"}, "changes": changes}


STEPS: dict[tuple[str, int], Callable[[Body], Body]] = {
    ("turn.conversation_processed", 1): _messages_as_changes,
    ("turn.usage_recorded", 1): _usage_tokens_gathered,
}


def upcast(type_: str, version: int, body: Body, *, current: int) -> Body:
    """Upcast a body from its stored version to the current one. Raises KeyError where a step is missing."""
    for reached in range(version, current):
        body = STEPS[type_, reached](body)
    return body
