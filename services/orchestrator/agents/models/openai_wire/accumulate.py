"""Folds the chunks of a streamed answer into what is shown of it and into AG2's ModelResponse."""

from collections.abc import Iterable
from typing import NamedTuple

from ag2.events import ModelMessage, ModelResponse, ToolCallEvent, ToolCallsEvent
from ag2.events.types import Usage

from contracts.events.parts import NativeAnswer, NativeBlock
from services.orchestrator.agents.ag2.native_response import with_native
from services.orchestrator.agents.models.openai_wire.chunks import Chunk
from services.orchestrator.agents.models.openai_wire.content import API, REASONING
from services.orchestrator.agents.models.openai_wire.tool_calls import ToolCallCollector
from services.orchestrator.agents.models.openai_wire.usage import larger_usage
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.finish_reasons import (
    ANSWERED,
    STOP,
    TOOL_CALLS,
    standard_reason,
)
from services.orchestrator.agents.models.wire.text_joiner import TextJoiner
from services.orchestrator.agents.models.wire.tool_names import resolve_name

MAX_REASONING_CHARS = 20_000
"""How much of the reasoning before an answer is kept."""
MAX_RETURNED_CHARS = 200_000
"""The same where the provider gets it back: with the calls that the reasoning led to."""


class Shown(NamedTuple):
    """What can be shown of an answer."""

    text: str = ""
    reasoning: str = ""


class AnswerFold:
    """One answer, folded from its chunks; equal chunks give an equal answer."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._joiner = TextJoiner()
        self._reasoning: list[str] = []
        self._reasoning_joiner = TextJoiner()
        self._reasoning_member = ""
        self._calls = ToolCallCollector()
        self._usage = Usage()
        self._finish: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self._choice: int | None = None
        self._has_content = False

    def add(self, chunk: Chunk) -> Shown:
        """Add a chunk; what can be shown of it."""
        if chunk.usage is not None:
            self._usage = larger_usage(self._usage, chunk.usage)
        self._model = chunk.model or self._model
        self._id = chunk.id or self._id
        if chunk.choice is not None and self._choice is None:
            self._choice = chunk.choice
        if chunk.choice not in (None, self._choice):
            return Shown()  # one answer was asked for
        if chunk.finish is not None and self._finish in (None, *ANSWERED):
            self._finish = standard_reason(chunk.finish)  # what is not whole stays so
        if chunk.whole and self._has_content:
            return Shown()  # repeats what was streamed
        self._has_content = self._has_content or bool(chunk.text or chunk.tool_calls)
        if chunk.tool_calls:
            self._calls.add(chunk.tool_calls)
        reasoning = self._add_reasoning(chunk) if chunk.reasoning else ""
        return self._shown(self._joiner.add(chunk.text) if chunk.text else "", reasoning)

    def _add_reasoning(self, chunk: Chunk) -> str:
        self._reasoning_member = chunk.reasoning_member or self._reasoning_member
        return self._reasoning_joiner.add(chunk.reasoning)

    def finish(self) -> Shown:
        """What can be shown now that no chunk follows."""
        return self._shown(self._joiner.finish(), self._reasoning_joiner.finish())

    def response(self, offered_tools: Iterable[str], *, ended: bool) -> ModelResponse:
        """The answer; without finish reason if it is not known to be whole.

        `ended` if the provider has marked the end of the stream.
        """
        text = "".join(self._texts)
        calls = self._tool_calls(set(offered_tools))
        response = ModelResponse(
            ModelMessage(text) if text else None,
            tool_calls=ToolCallsEvent(calls),
            usage=_with_total(self._usage),
            model=self._model,
            provider="openai",
            finish_reason=self._finish or _implied_finish(text, calls, ended=ended),
            response_id=self._id,
        )
        return with_native(response, self._native(has_calls=bool(calls)))

    def _shown(self, text: str, reasoning: str) -> Shown:
        if text:
            self._texts.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        return Shown(text, reasoning)

    def _native(self, *, has_calls: bool) -> NativeAnswer | None:
        """The reasoning under the name that the provider uses."""
        if not self._reasoning:
            return None
        member = self._reasoning_member or "reasoning"
        goes_back = has_calls and member == REASONING
        limit = MAX_RETURNED_CHARS if goes_back else MAX_REASONING_CHARS
        block = NativeBlock(block={member: "".join(self._reasoning)[:limit]})
        return NativeAnswer(api=API, parts=[block])

    def _tool_calls(self, offered_tools: set[str]) -> list[ToolCallEvent]:
        return [
            ToolCallEvent(
                resolve_name(json_text.joined(call.name), offered_tools),
                id=call.id or f"call_{number}",
                arguments=json_text.joined(call.arguments),
            )
            for number, call in enumerate(self._calls.calls(offered_tools))
        ]


def _implied_finish(text: str, calls: list[ToolCallEvent], *, ended: bool) -> str | None:
    """Some providers mark the end of the stream, but give no reason."""
    if not ended or not (text or calls):
        return None
    return TOOL_CALLS if calls else STOP


def _with_total(usage: Usage) -> Usage:
    if usage.total_tokens is not None or None in (usage.prompt_tokens, usage.completion_tokens):
        return usage
    total = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
    return larger_usage(usage, Usage(total_tokens=total))
