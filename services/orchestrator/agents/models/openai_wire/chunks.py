"""Parses chunks of OpenAI's chat completions, and whole completions, whatever shape they come in.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ag2.events.types import Usage

from services.orchestrator.agents.ag2.json_values import utf8
from services.orchestrator.agents.models.openai_wire.usage import usage_of
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.provider_error import (
    IncompleteResponseError,
    ProviderBodyError,
    error_of,
)

END = b"[DONE]"
_REASONING = ("reasoning_content", "reasoning")
"""The names that DeepSeek and that OpenRouter use."""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call; `position` is its place among the pieces of its chunk.

    `index` and `id` say to which call it belongs, where the provider gives them.
    """

    position: int
    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one chunk adds to an answer; `whole` if it is all of it, not a part.

    `reasoning_member` is the name under which the provider sends its reasoning.
    """

    text: str = ""
    reasoning: str = ""
    reasoning_member: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish: str | None = None
    usage: Usage | None = None
    model: str | None = None
    id: str | None = None
    choice: int | None = None
    whole: bool = False


def parse_chunk(data: bytes, event: str = "") -> Chunk | None:
    """The chunk in an event of the stream; none for pings and the like.

    Raises ProviderBodyError for an error of the provider, IncompleteResponseError for a chunk that
    is cut.
    """
    stripped = data.strip()
    if not stripped.startswith((b"{", b"[")):
        return None
    try:
        value = json_text.decode(stripped)
    except ValueError:
        if stripped.startswith(b"["):
            return None
        raise IncompleteResponseError("a chunk is not JSON") from None
    if isinstance(value, dict):
        if value.get("error") or event == "error" or value.get("object") == "error":
            raise ProviderBodyError(error_of(value))
        return _chunk(value)
    if isinstance(value, list) and value and isinstance(value[0], dict) and value[0].get("error"):
        raise ProviderBodyError(error_of(value))
    return None


def _chunk(value: dict[str, Any]) -> Chunk:
    choice = _first_choice(value.get("choices"))
    delta, whole = choice.get("delta"), False
    if not isinstance(delta, dict):
        delta = choice.get("message")
        whole = isinstance(delta, dict)
    if not isinstance(delta, dict):
        delta = {}
    reasoning, member = _reasoning(delta)
    return Chunk(
        text=_content(delta.get("content")) + _string(delta.get("refusal")),
        reasoning=reasoning,
        reasoning_member=member,
        tool_calls=tuple(_tool_calls(delta)),
        finish=_string(choice.get("finish_reason")) or None,
        usage=usage_of(value.get("usage")),
        model=_word(value.get("model")),
        id=_word(value.get("id")),
        choice=_index(choice.get("index")),
        whole=whole,
    )


def _first_choice(choices: Any) -> dict[str, Any]:
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict):
                return choice
    return choices if isinstance(choices, dict) else {}


def _content(content: Any) -> str:
    """The text of a message's content: text, or a list of parts of which some are text."""
    if isinstance(content, list):
        return "".join(_part_text(part) for part in content)
    return _part_text(content) if isinstance(content, dict) else _string(content)


def _part_text(part: Any) -> str:
    if not isinstance(part, dict):
        return _string(part)
    if _is_thinking(part):
        return ""
    return _string(part.get("text")) + _string(part.get("refusal"))


def _reasoning(delta: dict[str, Any]) -> tuple[str, str]:
    """The reasoning, and the name of its member; no name for that among the parts of the content."""
    for member in _REASONING:
        if member in delta and (text := _string(delta[member])):
            return text, member
    content = delta.get("content")
    return (_thinking(content), "") if isinstance(content, list) else ("", "")


def _thinking(content: list[Any]) -> str:
    """The reasoning among the parts of a message's content, as Mistral sends it."""
    thinking = (part for part in content if isinstance(part, dict) and _is_thinking(part))
    return "".join(
        _content(part.get("thinking") or part.get("reasoning") or part.get("text"))
        for part in thinking
    )


def _is_thinking(part: dict[str, Any]) -> bool:
    return part.get("type") in ("thinking", "reasoning")


def _tool_calls(delta: dict[str, Any]) -> Iterator[ToolCallDelta]:
    calls = delta.get("tool_calls")
    if isinstance(calls, dict):
        calls = [calls]
    entries: Iterable[Any] = calls if isinstance(calls, list) else ()
    for position, entry in enumerate(entries):
        if isinstance(entry, dict):
            function = entry.get("function")
            yield _tool_call(position, entry, function if isinstance(function, dict) else entry)
    legacy = delta.get("function_call")
    if isinstance(legacy, dict):
        yield _tool_call(0, {}, legacy)


def _tool_call(position: int, entry: dict[str, Any], function: dict[str, Any]) -> ToolCallDelta:
    return ToolCallDelta(
        position,
        _index(entry.get("index")),
        _word(entry.get("id")),
        _string(function.get("name")) or None,
        json_text.arguments_text(function.get("arguments")),
    )


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str | None:
    """An id or a name as text; some providers count in numbers."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return utf8(value) if isinstance(value, str) and value else None


def _index(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
