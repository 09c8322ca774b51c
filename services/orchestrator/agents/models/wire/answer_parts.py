"""Collects the parts of a streamed answer in their order, for text, tool calls and NativeAnswer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ag2.events import ModelMessage, ModelResponse, ToolCallEvent, ToolCallsEvent
from ag2.events.types import BinaryResult, Usage

from contracts.events.parts import NativeAnswer, NativeBlock, NativeCall, NativePart, NativeText
from services.orchestrator.agents.ag2.json_values import utf8
from services.orchestrator.agents.ag2.native_response import with_native
from services.orchestrator.agents.models.wire.finish_reasons import STOP, TOOL_CALLS
from services.orchestrator.agents.models.wire.tool_names import resolve_name

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a provider says of an answer besides its parts."""

    finish: str | None
    usage: Usage
    model: str | None
    response_id: str | None


class AnswerParts:
    """The parts so far; texts and calls are kept once, where every API finds them."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._parts: list[NativePart] = []
        self._texts: list[str] = []
        self._calls: list[ToolCallEvent] = []
        self._files: list[BinaryResult] = []

    def add_text(self, text: str, own: Json | None = None) -> None:
        """`own` are the members that the provider gave to the text besides the text itself."""
        if not text and not own:
            return
        self._texts.append(text)
        last = self._parts[-1] if self._parts else None
        if isinstance(last, NativeText) and not own and not last.own:
            self._parts[-1] = NativeText(chars=last.chars + len(text))
        else:
            self._parts.append(NativeText(chars=len(text), own=own or {}))

    def add_call(
        self, name: str, arguments: str, call_id: str | None, own: Json | None = None
    ) -> None:
        """`call_id` is the provider's own."""
        number = len(self._calls)
        call = ToolCallEvent(utf8(name), id=call_id or f"call_{number}", arguments=utf8(arguments))
        self._calls.append(call)
        self._parts.append(NativeCall(id=call_id, own=own or {}))

    def add_block(self, block: Json) -> None:
        """Something that must go back as it came."""
        self._parts.append(NativeBlock(block=block))

    def add_file(self, data: bytes, media_type: str) -> None:
        self._files.append(BinaryResult(data, metadata={"media_type": media_type}))

    def response(
        self, provider: str, offered_tools: Iterable[str], outcome: Outcome
    ) -> ModelResponse:
        text = "".join(self._texts)
        offered = set(offered_tools)
        for call in self._calls:
            call.name = resolve_name(call.name, offered)
        response = ModelResponse(
            ModelMessage(text) if text else None,
            tool_calls=ToolCallsEvent(self._calls),
            files=self._files,
            usage=outcome.usage,
            model=outcome.model,
            provider=provider,
            finish_reason=self._finish(outcome.finish),
            response_id=outcome.response_id,
        )
        return with_native(response, self.native())

    def native(self) -> NativeAnswer | None:
        """None where text and calls are all that the provider must get back."""
        return None if self._is_plain() else NativeAnswer(api=self._api, parts=self._parts)

    def _finish(self, finish: str | None) -> str | None:
        """Gemini ends an answer with calls by the same word as one without."""
        return TOOL_CALLS if finish == STOP and self._calls else finish

    def _is_plain(self) -> bool:
        """Whether there is one text at most, before the calls, and nothing of the provider's own."""
        if not self._parts:
            return True
        first, *others = self._parts
        calls_follow = all(isinstance(part, NativeCall) and not part.own for part in others)
        return calls_follow and not isinstance(first, NativeBlock) and not first.own
