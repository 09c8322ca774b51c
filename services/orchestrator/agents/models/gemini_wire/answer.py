"""Folds the chunks of Gemini's API into what is shown of an answer and into AG2's response.

https://ai.google.dev/api/generate-content
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ag2.events import ModelResponse
from ag2.events.types import Usage

from services.orchestrator.agents.ag2.json_values import jsonable, utf8
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.answer_parts import AnswerParts, Outcome
from services.orchestrator.agents.models.wire.finish_reasons import CONTENT_FILTER, standard_reason
from services.orchestrator.agents.models.wire.provider_error import (
    IncompleteResponseError,
    ProviderBodyError,
    error_of,
)
from services.orchestrator.agents.models.wire.text_joiner import TextJoiner
from services.orchestrator.agents.models.wire.token_counts import LargestCounts

API = "gemini"
_MEMBERS = {"candidates", "promptFeedback", "usageMetadata", "error"}
"""What has none of these is no chunk, but a ping of a server in between, for example."""
_UNSPECIFIED = ("", "finish_reason_unspecified")

Json = dict[str, Any]


class Shown(NamedTuple):
    """What a chunk adds to what users are shown."""

    text: str = ""
    reasoning: str = ""


class AnswerFold:
    """One answer, folded from its chunks; equal chunks give an equal answer."""

    def __init__(self) -> None:
        self._parts = AnswerParts(API)
        self._joiner = TextJoiner()
        self._counts = LargestCounts()
        self._finish: str | None = None
        self._model: str | None = None
        self._id: str | None = None

    def add(self, data: bytes) -> Shown | None:
        """What an event of the stream shows; none for one that is no part of an answer.

        Raises ProviderBodyError for an error of the provider, IncompleteResponseError for a chunk
        that is cut.
        """
        chunks = _chunks(data)
        if not chunks:
            return None
        shown = [self._chunk(chunk) for chunk in chunks]
        return Shown("".join(one.text for one in shown), "".join(one.reasoning for one in shown))

    def finish(self) -> Shown:
        """The text that can be shown now that no chunk follows."""
        return Shown(self._text(self._joiner.finish()))

    def response(self, provider: str, offered_tools: Iterable[str]) -> ModelResponse:
        """The answer; without finish reason if it is not known to be whole."""
        outcome = Outcome(self._finish, self._usage(), self._model, self._id)
        return self._parts.response(provider, offered_tools, outcome)

    def _chunk(self, chunk: Json) -> Shown:
        if chunk.get("error"):
            raise ProviderBodyError(error_of(chunk))
        self._model = _word(chunk.get("modelVersion")) or self._model
        self._id = _word(chunk.get("responseId")) or self._id
        self._counts.add(chunk.get("usageMetadata"))
        feedback = chunk.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._finish = CONTENT_FILTER
        candidate = _first(chunk.get("candidates"))
        finish = standard_reason(_word(candidate.get("finishReason")))
        if finish not in _UNSPECIFIED:
            self._finish = finish
        shown = [self._part(part) for part in _parts(candidate)]
        return Shown("".join(one.text for one in shown), "".join(one.reasoning for one in shown))

    def _part(self, part: Json) -> Shown:
        text = part.get("text")
        match part:
            case {"thought": True}:
                if part.get("thoughtSignature"):
                    self._block(part)
                return Shown(reasoning=utf8(text) if isinstance(text, str) else "")
            case {"functionCall": dict() as call}:
                shown = self._text(self._joiner.finish())
                self._call(call, _own(part, "functionCall"))
                return Shown(shown)
            case {"inlineData": {"data": str(data), **rest}}:
                self._file(data, _word(rest.get("mimeType")))
                return Shown()
            case {"text": str()}:
                return self._text_part(part)
            case _:
                self._block(part)
                return Shown()

    def _text_part(self, part: Json) -> Shown:
        own = _own(part, "text", "thought")
        if not own:
            return Shown(self._text(self._joiner.add(part["text"])))
        before = self._text(self._joiner.finish())
        text = utf8(part["text"])
        self._parts.add_text(text, own)
        return Shown(before + text)

    def _call(self, call: Json, own: Json) -> None:
        name, call_id = _word(call.get("name")), _word(call.get("id")) or None
        arguments = json_text.arguments_text(call.get("args")) or "{}"
        self._parts.add_call(name, arguments, call_id, own)

    def _file(self, data: str, media_type: str) -> None:
        try:
            self._parts.add_file(
                b64decode(data, validate=True), media_type or "application/octet-stream"
            )
        except (Base64Error, ValueError):
            raise IncompleteResponseError("a file is not base64") from None

    def _block(self, part: Json) -> None:
        self._parts.add_block(jsonable(part))

    def _text(self, text: str) -> str:
        self._parts.add_text(text)
        return text

    def _usage(self) -> Usage:
        """The completion's count includes the thoughts, which are billed alike."""
        counts = self._counts
        prompt = counts.total("promptTokenCount", "toolUsePromptTokenCount")
        completion = counts.total("candidatesTokenCount", "thoughtsTokenCount")
        known = [count for count in (prompt, completion) if count is not None]
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=counts.get("totalTokenCount") or (sum(known) if known else None),
            cache_read_input_tokens=counts.get("cachedContentTokenCount"),
            thinking_tokens=counts.get("thoughtsTokenCount"),
        )


def _chunks(data: bytes) -> list[Json]:
    """The chunk of an event; several if the server sends one JSON array in place of a stream."""
    stripped = data.strip()
    if not stripped.startswith((b"{", b"[")):
        return []
    try:
        value = json_text.decode(stripped)
    except ValueError:
        if stripped.startswith(b"[DONE]"):
            return []
        raise IncompleteResponseError("a chunk is not JSON") from None
    chunks = value if isinstance(value, list) else [value]
    return [chunk for chunk in chunks if isinstance(chunk, dict) and chunk.keys() & _MEMBERS]


def _first(candidates: Any) -> Json:
    """One answer was asked for; others have another index."""
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict) and candidate.get("index") in (None, 0):
            return candidate
    return {}


def _parts(candidate: Json) -> Iterator[Json]:
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict) and part:
            yield part


def _own(part: Json, *known: str) -> Json:
    own: Json = jsonable({k: v for k, v in part.items() if k not in known and v is not None})
    return own


def _word(value: Any) -> str:
    return utf8(value) if isinstance(value, str) else ""
