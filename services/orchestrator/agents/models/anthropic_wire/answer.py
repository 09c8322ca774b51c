"""Folds the events of Anthropic's Messages API into what is shown of an answer and into AG2's response.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ag2.events import ModelResponse
from ag2.events.types import Usage

from services.orchestrator.agents.ag2.json_values import jsonable, utf8
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.answer_parts import AnswerParts, Outcome
from services.orchestrator.agents.models.wire.finish_reasons import PAUSED, STOP, standard_reason
from services.orchestrator.agents.models.wire.provider_error import (
    IncompleteResponseError,
    ProviderBodyError,
    error_of,
)
from services.orchestrator.agents.models.wire.text_joiner import TextJoiner
from services.orchestrator.agents.models.wire.token_counts import LargestCounts

API = "anthropic"
_PROMPT_COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_NOT_SENT_BACK = frozenset({"container_upload"})
"""What the API refuses in a message of the assistant."""

Json = dict[str, Any]


class Shown(NamedTuple):
    """What an event adds to what users are shown."""

    text: str = ""
    reasoning: str = ""


class AnswerFold:
    """One answer, which the API may give in several responses: after a pause it is continued."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._open: dict[int | None, _Block] = {}
        """Those of the current response, by index."""
        self._counts = LargestCounts()
        self._earlier: list[LargestCounts] = []
        self._finish: str | None = None
        self._model: str | None = None
        self._id: str | None = None
        self.ended = False

    @property
    def is_paused(self) -> bool:
        return self._finish == PAUSED

    def continue_answer(self) -> None:
        """Another response follows, which adds to this answer."""
        self._earlier.append(self._counts)
        self._counts, self._open = LargestCounts(), {}
        self._finish, self.ended = None, False

    def add(self, data: bytes, name: str = "") -> Shown | None:
        """What an event of the stream shows; none for one that is no part of an answer.

        Raises ProviderBodyError for an error of the provider, IncompleteResponseError for an event
        that is cut.
        """
        value = _object(data)
        if value is None:
            return None
        kind = value.get("type") or name
        if kind == "error" or value.get("error"):
            raise ProviderBodyError(error_of(value))
        return self._add(kind, value)

    def _add(self, kind: Any, value: Json) -> Shown | None:
        match kind:
            case "message_start":
                self._head(_member(value, "message"))
                return Shown()
            case "content_block_start":
                return self._start(_index(value), _member(value, "content_block"))
            case "content_block_delta":
                return self._delta(_index(value), _member(value, "delta"))
            case "content_block_stop":
                return Shown(self._block(_index(value)).finish())
            case "message_delta":
                self._finish = _word(_member(value, "delta").get("stop_reason")) or self._finish
                self._count(value.get("usage"))
                return Shown()
            case "message_stop":
                self.ended = True
                return Shown()
            case "message":
                return self._whole(value)
            case _:
                return None

    def response(self, provider: str, offered_tools: Iterable[str]) -> ModelResponse:
        """The answer; without finish reason if it is not known to be whole."""
        finish = standard_reason(self._finish) if self._finish else None
        if finish is None and self.ended and self._blocks:
            finish = STOP
        outcome = Outcome(finish, self._usage(), self._model, self._id)
        return self._parts().response(provider, offered_tools, outcome)

    def so_far(self) -> ModelResponse:
        """The answer up to a pause, to be sent back."""
        outcome = Outcome(None, Usage(), None, None)
        return self._parts().response(API, (), outcome)

    def _parts(self) -> AnswerParts:
        parts = AnswerParts(API)
        for block in self._blocks:
            block.add_to(parts)
        return parts

    def _head(self, message: Json) -> None:
        self._model = _word(message.get("model")) or self._model
        self._id = _word(message.get("id")) or self._id
        self._count(message.get("usage"))

    def _start(self, index: int | None, start: Json) -> Shown:
        block = _Block(start)
        self._blocks.append(block)
        self._open[index] = block
        return block.first()

    def _delta(self, index: int | None, delta: Json) -> Shown:
        return self._block(index).add(delta)

    def _block(self, index: int | None) -> "_Block":
        found = self._open.get(index) or (self._blocks[-1] if self._open else None)
        if found is None:  # a piece of a block whose start is missing
            found = _Block({"type": "text", "text": ""})
            self._blocks.append(found)
            self._open[index] = found
        return found

    def _whole(self, message: Json) -> Shown:
        """A message in place of a stream."""
        self._head(message)
        content = message.get("content")
        shown = [
            self._start(index, block)
            for index, block in enumerate(content if isinstance(content, list) else ())
            if isinstance(block, dict)
        ]
        self._finish = _word(message.get("stop_reason")) or self._finish
        self.ended = True
        return Shown("".join(one.text for one in shown), "".join(one.reasoning for one in shown))

    def _count(self, usage: Any) -> None:
        self._counts.add(usage)
        if isinstance(usage, dict):
            self._counts.add(usage.get("output_tokens_details"))

    def _usage(self) -> Usage:
        """The prompt's count includes what was read from the cache and written to it."""
        responses = [*self._earlier, self._counts]
        prompt = _sum(counts.total(*_PROMPT_COUNTS) for counts in responses)
        completion = _sum(counts.get("output_tokens") for counts in responses)
        known = [count for count in (prompt, completion) if count is not None]
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=sum(known) if known else None,
            cache_read_input_tokens=_sum(one.get("cache_read_input_tokens") for one in responses),
            cache_creation_input_tokens=_sum(
                one.get("cache_creation_input_tokens") for one in responses
            ),
            thinking_tokens=_sum(one.get("thinking_tokens") for one in responses),
        )


class _Block:
    """One content block, put together from its pieces."""

    def __init__(self, start: Json) -> None:
        self._start = start
        self._kind = _word(start.get("type"))
        self._joiner = TextJoiner()
        self._texts: list[str] = []
        self._thinking = _text(start.get("thinking"))
        self._signature = _text(start.get("signature"))
        self._input = ""
        self._citations: list[Any] = []

    def first(self) -> Shown:
        """What is shown of the block's start."""
        if self._kind == "text":
            return Shown(self._kept(self._joiner.add(_text(self._start.get("text")))))
        return Shown(reasoning=utf8(self._thinking))

    def add(self, delta: Json) -> Shown:
        match delta.get("type"):
            case "text_delta":
                return Shown(self._kept(self._joiner.add(_text(delta.get("text")))))
            case "thinking_delta":
                self._thinking += (piece := _text(delta.get("thinking")))
                return Shown(reasoning=utf8(piece))
            case "signature_delta":
                self._signature += _text(delta.get("signature"))
            case "input_json_delta":
                self._input += _text(delta.get("partial_json"))
            case "citations_delta":
                self._citations.append(delta.get("citation"))
            case _:
                pass
        return Shown()

    def finish(self) -> str:
        """The text that can be shown now that no piece follows."""
        return self._kept(self._joiner.finish())

    def add_to(self, parts: AnswerParts) -> None:
        match self._kind:
            case "text":
                citations = {"citations": self._citations} if self._citations else {}
                parts.add_text("".join(self._texts), self._own("text", "citations") | citations)
            case "tool_use":
                call_id = _word(self._start.get("id")) or None
                own = self._own("id", "name", "input")
                parts.add_call(_text(self._start.get("name")), self._arguments(), call_id, own)
            case "thinking":
                if self._signature:  # without one the API refuses the block: its end was cut off
                    thinking = {"thinking": self._thinking, "signature": self._signature}
                    parts.add_block(jsonable({"type": "thinking", **thinking}))
            case kind:
                if kind not in _NOT_SENT_BACK:
                    parts.add_block(jsonable(self._start | self._server_input()))

    def _own(self, *known: str) -> Json:
        members = self._start.items()
        own: Json = jsonable(
            {k: v for k, v in members if k not in (*known, "type") and v is not None}
        )
        return own

    def _arguments(self) -> str:
        """As JSON text; some servers give the whole object at the start."""
        if self._input.strip():
            return self._input
        given = self._start.get("input")
        return json_text.encode(given).decode() if isinstance(given, dict) else "{}"

    def _server_input(self) -> Json:
        """The input of a tool of the provider's own, which is streamed as that of ours is."""
        try:
            value = json_text.decode(self._input.encode(errors="replace"))
        except ValueError:
            return {}
        return {"input": value} if isinstance(value, dict) else {}

    def _kept(self, text: str) -> str:
        if text:
            self._texts.append(text)
        return text


def _object(data: bytes) -> Json | None:
    stripped = data.strip()
    if not stripped.startswith(b"{"):
        return None
    try:
        value = json_text.decode(stripped)
    except ValueError:
        raise IncompleteResponseError("an event is not JSON") from None
    return value if isinstance(value, dict) else None


def _member(value: Json, name: str) -> Json:
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def _index(value: Json) -> int | None:
    index = value.get("index")
    return index if isinstance(index, int) else None


def _text(value: Any) -> str:
    """A piece of text, which may end within a character."""
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str:
    return utf8(_text(value))


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
