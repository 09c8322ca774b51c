"""The parts of an answer as they are sent back to the API that gave it, or to another one."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ag2.events import ModelResponse, ToolCallEvent

from contracts.events.parts import NativeAnswer, NativeBlock, NativeCall, NativeText
from services.orchestrator.agents.ag2.native_response import native_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SentText:
    """`own` are the members that the provider gave to this text."""

    text: str
    own: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentCall:
    """A tool call; `id` is the provider's own, none where it gave none or another API made the call."""

    call: ToolCallEvent
    id: str | None = None
    own: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentBlock:
    """Something that goes back as it came."""

    block: Json


SentPart = SentText | SentCall | SentBlock


def sent_parts(response: ModelResponse, api: str) -> list[SentPart]:
    """The parts in the order in which the API gave them; text and calls where it was another one."""
    text, calls = response.content or "", list(response.tool_calls.calls)
    native = native_of(response)
    if native is None or native.api != api or _calls_in(native) != len(calls):
        return [*([SentText(text)] if text else ()), *(SentCall(call) for call in calls)]
    parts = list(_in_order(native, text, calls))
    if text and not any(isinstance(part, SentText) for part in parts):  # a hook's text
        first_call = next((n for n, part in enumerate(parts) if isinstance(part, SentCall)), None)
        parts.insert(len(parts) if first_call is None else first_call, SentText(text))
    return parts


def is_native(response: ModelResponse, api: str) -> bool:
    native = native_of(response)
    return native is not None and native.api == api


def _calls_in(native: NativeAnswer) -> int:
    return sum(isinstance(part, NativeCall) for part in native.parts)


def _in_order(native: NativeAnswer, text: str, calls: list[ToolCallEvent]) -> Iterator[SentPart]:
    texts, remaining = iter(_texts(native, text)), iter(calls)
    for part in native.parts:
        match part:
            case NativeText(own=own):
                yield SentText(next(texts), own)
            case NativeCall(id=call_id, own=own):
                yield SentCall(next(remaining), call_id, own)
            case NativeBlock(block=block):
                yield SentBlock(block)


def _texts(native: NativeAnswer, text: str) -> list[str]:
    """The text in the provider's pieces; in one, the first, where a hook has changed the text."""
    lengths = [part.chars for part in native.parts if isinstance(part, NativeText)]
    if sum(lengths) != len(text):
        return [text, *[""] * (len(lengths) - 1)]
    return [
        text[end - chars : end] for chars, end in zip(lengths, accumulate(lengths), strict=True)
    ]
