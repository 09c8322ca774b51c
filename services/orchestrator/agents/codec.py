"""AG2's events as contract events and back: a closed list of classes, none found by its name.

AG2's own loader imports whatever class a payload names; here a payload is data and stays data.
"""

import base64
import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from ag2.events import (
    BaseEvent,
    BinaryInput,
    BinaryType,
    DataInput,
    FileIdInput,
    Input,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolErrorEvent,
    ToolNotFoundEvent,
    ToolResult,
    ToolResultEvent,
    ToolResultsEvent,
    UrlInput,
)
from ag2.events.types import BinaryResult, Usage
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from contracts.codec import describe
from contracts.events.parts import (
    BinaryPart,
    DataPart,
    FilePart,
    Part,
    TextPart,
    Tokens,
    ToolCall,
    UrlPart,
)
from contracts.events.turn import ModelResponded, ToolReturned, ToolStatus
from contracts.ids import AgentName
from services.orchestrator.projection import Heard, Passage, Returned, Spoke

MAX_RESULT_CHARS = 200_000
"""What a tool may tell the model, and the log, in one result."""

_PATH = re.compile(
    r"(?:(?<=file://)|(?<![\w:/\\.]))(?:[A-Za-z]:)?(?:[/\\][^/\\\s'\":]+)+[/\\]([^/\\\s'\":]+)"
)


class UnsupportedEventError(TypeError):
    """AG2 put something into a turn that this release cannot keep, and so must not act on."""

    def __init__(self, thing: object) -> None:
        super().__init__(f"cannot keep {type(thing).__module__}.{type(thing).__qualname__}")


def jsonable(value: Any) -> Any:
    """The value as JSON has it; what JSON has no form for, as text."""
    plain = to_jsonable_python(value, fallback=str)
    written = json.dumps(plain, ensure_ascii=False)
    clean = _utf8(written)
    return plain if clean == written else json.loads(clean)


def _utf8(text: str) -> str:
    """The text without halves of characters, which no log can hold."""
    return text.encode(errors="replace").decode()


# -- parts ------------------------------------------------------------------------------------


def part_of(piece: Input) -> Part:
    """Raises UnsupportedEventError for a kind of input that AG2 may add one day."""
    metadata = jsonable(piece.metadata)
    match piece:
        case TextInput():
            return TextPart(text=_utf8(piece.content), metadata=metadata)
        case DataInput():
            return DataPart(data=jsonable(piece.data), metadata=metadata)
        case BinaryInput():
            return BinaryPart(
                data=base64.b64encode(piece.data).decode(),
                media_type=str(piece.media_type),
                form=piece.kind.value,
                vendor_metadata=jsonable(piece.vendor_metadata),
                metadata=metadata,
            )
        case UrlInput():
            return UrlPart(url=piece.url, form=piece.kind.value, metadata=metadata)
        case FileIdInput():
            return FilePart(file_id=piece.file_id, filename=piece.filename, metadata=metadata)
        case _:
            raise UnsupportedEventError(piece)


def input_of(part: Part) -> Input:
    match part:
        case TextPart():
            return TextInput(part.text, metadata=part.metadata)
        case DataPart():
            return DataInput(part.data, metadata=part.metadata)
        case BinaryPart():
            return BinaryInput(
                base64.b64decode(part.data),
                media_type=part.media_type,
                kind=BinaryType(part.form),
                vendor_metadata=part.vendor_metadata,
                metadata=part.metadata,
            )
        case UrlPart():
            return UrlInput(part.url, kind=BinaryType(part.form), metadata=part.metadata)
        case FilePart():
            return FileIdInput(part.file_id, filename=part.filename, metadata=part.metadata)


# -- model responses --------------------------------------------------------------------------


def responded_of(
    response: ModelResponse, *, turn: int, call: int, agent: AgentName
) -> ModelResponded:
    return ModelResponded(
        turn=turn,
        call=call,
        agent=agent,
        text=None if response.content is None else _utf8(response.content),
        metadata=jsonable(response.metadata),
        tool_calls=[
            ToolCall(
                id=asked.id,
                name=asked.name,
                arguments=_object_text(asked.arguments),
                vendor_metadata=jsonable(asked.vendor_metadata),
            )
            for asked in response.tool_calls.calls
        ],
        files=[
            BinaryPart(
                data=base64.b64encode(file.data).decode(),
                media_type="application/octet-stream",
                metadata=jsonable(file.metadata),
            )
            for file in response.files
        ],
        tokens=tokens_of(response.usage),
        model=response.model,
        provider=response.provider,
        finish_reason=response.finish_reason,
        response_id=response.response_id,
    )


def tokens_of(usage: Usage) -> Tokens:
    return Tokens(
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
        total=usage.total_tokens,
        cache_read=usage.cache_read_input_tokens,
        cache_creation=usage.cache_creation_input_tokens,
        thinking=usage.thinking_tokens,
    )


def _object_text(arguments: str) -> str:
    """The arguments, or a JSON object that holds them: AG2 cannot send back what does not parse."""
    arguments = _utf8(arguments)
    try:
        parsed = json.loads(arguments or "{}")
    except ValueError:
        parsed = None
    return arguments if isinstance(parsed, dict) else json.dumps({"malformed": arguments})


def response_of(said: ModelResponded) -> ModelResponse:
    tokens = said.tokens
    return ModelResponse(
        None if said.text is None else ModelMessage(said.text, metadata=said.metadata),
        tool_calls=calls_of(said),
        files=[
            BinaryResult(base64.b64decode(file.data), metadata=file.metadata) for file in said.files
        ],
        usage=Usage(
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            total_tokens=tokens.total,
            cache_read_input_tokens=tokens.cache_read,
            cache_creation_input_tokens=tokens.cache_creation,
            thinking_tokens=tokens.thinking,
        ),
        model=said.model,
        provider=said.provider,
        finish_reason=said.finish_reason,
        response_id=said.response_id,
    )


def calls_of(said: ModelResponded) -> ToolCallsEvent:
    return ToolCallsEvent(
        [
            ToolCallEvent(
                id=asked.id,
                name=asked.name,
                arguments=asked.arguments,
                vendor_metadata=asked.vendor_metadata,
            )
            for asked in said.tool_calls
        ]
    )


# -- tool results -----------------------------------------------------------------------------


def returned_of(result: ToolResultEvent, *, turn: int, call: int, agent: AgentName) -> ToolReturned:
    status, error = _verdict(result)
    told: list[Part] = (
        _bounded([part_of(piece) for piece in result.result.parts])
        if error is None
        else [TextPart(text=error)]
    )
    return ToolReturned(
        turn=turn,
        call=call,
        agent=agent,
        tool_call_id=result.parent_id,
        name=result.name or "",
        status=status,
        parts=told,
        final=result.result.final,
        metadata=jsonable(result.result.metadata),
        error=error,
    )


def result_of(kept: ToolReturned) -> ToolResultEvent:
    result = ToolResult(
        parts=[input_of(part) for part in kept.parts], final=kept.final, metadata=kept.metadata
    )
    if kept.status == "ok":
        return ToolResultEvent(parent_id=kept.tool_call_id, name=kept.name, result=result)
    kind = ToolErrorEvent if kept.status == "error" else ToolNotFoundEvent
    error = RuntimeError(kept.error)
    return kind(parent_id=kept.tool_call_id, name=kept.name, result=result, error=error)


def _verdict(result: ToolResultEvent) -> tuple[ToolStatus, str | None]:
    match result:
        case ToolNotFoundEvent():
            return "not_found", f"There is no tool named {result.name}."
        case ToolErrorEvent():
            return "error", told_of(result.error)
        case _:
            return "ok", None


def told_of(error: Exception) -> str:
    """What a model may know of a failure: its kind and words, without traceback and folders."""
    words = describe(error) if isinstance(error, ValidationError) else str(error)
    told = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return _cut(_PATH.sub(r"\1", _utf8(told)), 2_000)


def _bounded(parts: Sequence[Part]) -> list[Part]:
    """The parts as far as MAX_RESULT_CHARS go, and a word on what is missing."""
    kept: list[Part] = []
    room = MAX_RESULT_CHARS
    for place, part in enumerate(parts):
        if room <= 0:
            return [*kept, TextPart(text=f"[cut: {len(parts) - place} more parts]")]
        kept.append(_fitting(part, room))
        room -= len(kept[-1].model_dump_json())
    return kept


def _fitting(part: Part, room: int) -> Part:
    match part:
        case TextPart(text=text) if len(text) > room:
            return part.model_copy(update={"text": _cut(text, room)})
        case DataPart(data=data) if len(text := str(data)) > room:
            return TextPart(text=_cut(text, room), metadata=part.metadata)
        case BinaryPart(data=data) if len(data) > room:
            return TextPart(text=f"[{part.media_type}: too large to keep]")
        case _:
            return part


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]} [cut: {len(text)} characters]"


# -- conversations ----------------------------------------------------------------------------


def digest(prompt: Sequence[str], events: Sequence[BaseEvent]) -> str:
    """SHA-256, in hex, of a prompt and a conversation: equal where a model was given the same."""
    told = [list(prompt), *(essence(event) for event in events)]
    return sha256(json.dumps(told, default=str).encode()).hexdigest()


def essence(event: BaseEvent) -> list[Any]:
    """What a model is given of an event: no times, no counts."""
    match event:
        case ModelRequest(parts=parts):
            return ["heard", [_content(part) for part in parts]]
        case ModelResponse():
            calls = [[call.id, call.name, call.arguments] for call in event.tool_calls.calls]
            return ["said", event.content, calls]
        case ToolResultsEvent(results=results):
            returned = [[r.parent_id, [_content(p) for p in r.result.parts]] for r in results]
            return ["returned", returned]
        case _:
            return [type(event).__name__]


def _content(piece: Input) -> Any:
    return piece.content if isinstance(piece, TextInput) else part_of(piece).model_dump()


def events_of(passages: Sequence[Passage]) -> list[BaseEvent]:
    """A conversation as the events that AG2's providers read."""
    return [_event_of(passage) for passage in passages]


def _event_of(passage: Passage) -> BaseEvent:
    match passage:
        case Heard(text):
            return ModelRequest([TextInput(text)])
        case Spoke(response):
            return response_of(response)
        case Returned(results):
            return ToolResultsEvent([result_of(result) for result in results])
