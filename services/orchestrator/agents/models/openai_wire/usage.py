"""Token counts as providers report them: bounded, and the largest of several reports."""

from typing import Any

from ag2.events.types import Usage

from services.orchestrator.agents.models.wire.token_counts import token_count


def usage_of(value: Any) -> Usage | None:
    """The counts in a `usage` object; none where there are none. A senseless count is left out."""
    if not isinstance(value, dict):
        return None
    usage = Usage(
        prompt_tokens=token_count(value.get("prompt_tokens")),
        completion_tokens=token_count(value.get("completion_tokens")),
        total_tokens=token_count(value.get("total_tokens")),
        cache_read_input_tokens=_detail(value, "prompt_tokens_details", "cached_tokens"),
        thinking_tokens=_detail(value, "completion_tokens_details", "reasoning_tokens"),
    )
    return usage if usage != Usage() else None


def larger_usage(usage: Usage, other: Usage) -> Usage:
    """The larger of each count: some providers repeat their counts, and end with zeros."""
    return Usage(
        prompt_tokens=_larger(usage.prompt_tokens, other.prompt_tokens),
        completion_tokens=_larger(usage.completion_tokens, other.completion_tokens),
        total_tokens=_larger(usage.total_tokens, other.total_tokens),
        cache_read_input_tokens=_larger(
            usage.cache_read_input_tokens, other.cache_read_input_tokens
        ),
        thinking_tokens=_larger(usage.thinking_tokens, other.thinking_tokens),
    )


def _detail(value: dict[Any, Any], group: str, name: str) -> int | None:
    details = value.get(group)
    return token_count(details.get(name)) if isinstance(details, dict) else None


def _larger(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other)
