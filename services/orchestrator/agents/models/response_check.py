"""Checks a model's response: whether it is a whole answer, an empty one, or cut at its limit."""

import unicodedata
from dataclasses import replace

from ag2.events import ModelMessage, ModelResponse

from services.orchestrator.agents.models.errors import (
    ANSWER_CUT,
    CONTENT_FILTERED,
    INTERRUPTED,
    MODEL_EMPTY,
    ModelFailure,
)
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.finish_reasons import (
    ANSWERED,
    CONTENT_FILTER,
    LENGTH,
    PAUSED,
)
from services.orchestrator.workflows.reply_text import without_reasoning

CUT_MARK = "\n\n[This answer was cut at the model's limit.]"
"""Ends a text that was cut, so that neither users nor other agents take it for a whole one."""


_INVISIBLE = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})


def classify_response(response: ModelResponse, *, structured: bool = False) -> ModelFailure | None:
    """What is wrong with a response that came without an exception; none for a good one.

    Of a cut answer, a text is of use, unless it was to be `structured`; tool calls are if they have
    all of their arguments.
    """
    if response.finish_reason == CONTENT_FILTER:
        return CONTENT_FILTERED
    if response.finish_reason == PAUSED:  # it was continued several times already
        return replace(INTERRUPTED, retryable=False)
    if response.finish_reason not in ANSWERED:
        # Without a reason the stream ended early; with an unknown one something stopped the model.
        return INTERRUPTED
    calls = response.tool_calls.calls
    has_text = _is_visible(without_reasoning(response.content or ""))
    if response.finish_reason == LENGTH:
        return None if _is_of_use(response, structured=structured) else ANSWER_CUT
    return None if has_text or calls or response.files else MODEL_EMPTY


def is_cut_text(response: ModelResponse) -> bool:
    """Whether an accepted response is a text that was cut at its limit."""
    return response.finish_reason == LENGTH and not response.tool_calls.calls


def with_cut_mark(response: ModelResponse) -> ModelMessage:
    """The text of a cut response, with the mark that says so."""
    return ModelMessage(f"{response.content or ''}{CUT_MARK}", metadata=response.metadata)


def _is_of_use(cut: ModelResponse, *, structured: bool) -> bool:
    if calls := cut.tool_calls.calls:
        return all(_is_object(call.arguments) for call in calls)
    text = without_reasoning(cut.content or "")
    return _is_object(text) if structured else _is_visible(text)


def _is_visible(text: str) -> bool:
    """Whether there is more than spaces, controls and characters without width."""
    return any(unicodedata.category(one) not in _INVISIBLE for one in text)


def _is_object(text: str) -> bool:
    """Whether a JSON object is complete: models in JSON mode may add spaces up to their limit."""
    try:
        return isinstance(json_text.decode(text.encode(errors="replace")), dict)
    except ValueError:
        return False
