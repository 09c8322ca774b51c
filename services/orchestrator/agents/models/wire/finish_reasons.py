"""Finish reasons of all providers, in OpenAI's words."""

from collections.abc import Mapping

STOP = "stop"
TOOL_CALLS = "tool_calls"
LENGTH = "length"
CONTENT_FILTER = "content_filter"
PAUSED = "pause_turn"
"""Anthropic wants to go on in another response."""

ANSWERED = frozenset({STOP, TOOL_CALLS, LENGTH})
"""The model ended its answer, or was cut at its limit. After other words the answer is not whole."""

_SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(
        ("end_turn", "stop_sequence", "eos", "eos_token", "complete", "completed"), STOP
    ),
    **dict.fromkeys(("end", "done", "finish", "finished", "normal", "success"), STOP),
    **dict.fromkeys(("tool_call", "tool_use", "function_call", "function_calls"), TOOL_CALLS),
    **dict.fromkeys(("max_tokens", "max_length", "max_output_tokens", "model_length"), LENGTH),
    **dict.fromkeys(("model_context_window_exceeded", "max_completion_tokens"), LENGTH),
    **dict.fromkeys(("safety", "recitation", "blocklist", "prohibited_content"), CONTENT_FILTER),
    **dict.fromkeys(("spii", "image_safety", "sensitive", "refusal"), CONTENT_FILTER),
    **dict.fromkeys(("image_prohibited_content", "image_recitation", "jailbreak"), CONTENT_FILTER),
    **dict.fromkeys(("escalation", "model_armor", "pup_limited_disabled"), CONTENT_FILTER),
    **dict.fromkeys(("content_filtered", "guardrail_intervened", "safety_block"), CONTENT_FILTER),
}


def standard_reason(reason: str) -> str:
    """OpenAI's word for a finish reason; an unknown one as it is, in lower case."""
    word = reason.strip().lower()
    return _SYNONYMS.get(word, word)
