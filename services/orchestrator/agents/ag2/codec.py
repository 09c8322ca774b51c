"""Converts AG2's events to contract events and back, for a closed list of classes.

AG2's own loader imports the class that a payload names; here a payload never selects code.
"""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NamedTuple

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
from pydantic_core import from_json

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
from contracts.json_preview import preview_of_text, pruned
from contracts.large_values import MAX_BYTES, LargeValue
from services.chassis.secrets import process_redactor
from services.orchestrator.agents.ag2.json_values import (
    jsonable,
    map_texts,
    text_of_object,
    utf8,
)
from services.orchestrator.agents.ag2.native_response import native_of, with_native
from services.orchestrator.domain.agent_conversation import (
    AgentMessage,
    Message,
    ToolResults,
    UserMessage,
)

MAX_RESULT_CHARS = 200_000
"""How much of one tool result a model gets; the whole is stored beside it, up to `MAX_BYTES`."""

_PATH = re.compile(
    r"(?:(?<=file://)|(?<![\w:/\\.]))(?:[A-Za-z]:)?(?:[/\\][^/\\\s'\":]+)+[/\\]([^/\\\s'\":]+)"
)


class UnsupportedEventError(TypeError):
    """AG2 emitted something that this release cannot store, and so must not act on."""

    def __init__(self, thing: object) -> None:
        super().__init__(f"cannot store {type(thing).__module__}.{type(thing).__qualname__}")


# -- parts ------------------------------------------------------------------------------------


def part_of(value: Input) -> Part:
    """Raises UnsupportedEventError for a kind of input that is not in this list."""
    metadata = jsonable(value.metadata)
    match value:
        case TextInput():
            return TextPart(text=utf8(value.content), metadata=metadata)
        case DataInput():
            return DataPart(data=jsonable(value.data), metadata=metadata)
        case BinaryInput():
            return BinaryPart(
                data=base64.b64encode(value.data).decode(),
                media_type=str(value.media_type),
                form=value.kind.value,
                vendor_metadata=jsonable(value.vendor_metadata),
                metadata=metadata,
            )
        case UrlInput():
            return UrlPart(url=value.url, form=value.kind.value, metadata=metadata)
        case FileIdInput():
            return FilePart(file_id=value.file_id, filename=value.filename, metadata=metadata)
        case _:
            raise UnsupportedEventError(value)


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
        text=None if response.content is None else utf8(response.content),
        metadata=jsonable(response.metadata),
        tool_calls=[
            ToolCall(
                id=tool_call.id,
                name=tool_call.name,
                arguments=_object_text(tool_call.arguments),
                vendor_metadata=jsonable(tool_call.vendor_metadata),
            )
            for tool_call in response.tool_calls.calls
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
        native=native_of(response),
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


_MALFORMED = "malformed"


def _object_text(arguments: str) -> str:
    """The arguments, or a JSON object that contains them: AG2 cannot resend what is not JSON."""
    arguments = utf8(arguments)
    return arguments if _is_object(arguments) else json.dumps({_MALFORMED: arguments})


def _is_object(arguments: str) -> bool:
    try:
        parsed = from_json(arguments or "{}", allow_inf_nan=False)
    except ValueError:  # also: nested deeper than pydantic reads
        return False
    return isinstance(parsed, dict) and jsonable(parsed) == parsed


def has_malformed_arguments(call: ToolCallEvent) -> bool:
    """Whether a recorded call is one whose arguments the model did not write as a JSON object."""
    match call.serialized_arguments:
        case {"malformed": str(written), **others}:
            return not others and not _is_object(written)
        case _:
            return False


def response_of(responded: ModelResponded) -> ModelResponse:
    tokens = responded.tokens
    response = ModelResponse(
        None
        if responded.text is None
        else ModelMessage(responded.text, metadata=responded.metadata),
        tool_calls=calls_of(responded),
        files=[
            BinaryResult(base64.b64decode(file.data), metadata=file.metadata)
            for file in responded.files
        ],
        usage=Usage(
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            total_tokens=tokens.total,
            cache_read_input_tokens=tokens.cache_read,
            cache_creation_input_tokens=tokens.cache_creation,
            thinking_tokens=tokens.thinking,
        ),
        model=responded.model,
        provider=responded.provider,
        finish_reason=responded.finish_reason,
        response_id=responded.response_id,
    )
    return with_native(response, responded.native)


def calls_of(responded: ModelResponded) -> ToolCallsEvent:
    return ToolCallsEvent(
        [
            ToolCallEvent(
                id=tool_call.id,
                name=tool_call.name,
                arguments=tool_call.arguments,
                vendor_metadata=tool_call.vendor_metadata,
            )
            for tool_call in responded.tool_calls
        ]
    )


# -- tool results -----------------------------------------------------------------------------


class KeptResult(NamedTuple):
    """A result as it is recorded, and the whole values that its parts refer to."""

    returned: ToolReturned
    values: tuple[LargeValue, ...] = ()


def returned_of(result: ToolResultEvent, *, turn: int, call: int, agent: AgentName) -> KeptResult:
    """What is kept of a result, also of one that cannot be kept: exactly one for each call."""
    status, error = _status_and_error(result)
    parts: list[Part] = []
    try:
        if error is None:
            parts = [_without_secrets(part_of(part)) for part in result.result.parts]
    except Exception as unsupported:  # noqa: BLE001  whatever the tool's own objects raise
        status, error = "error", error_text(unsupported)
    cut = _cut_parts(parts) if error is None else _CutParts([TextPart(text=error)])
    returned = ToolReturned(
        turn=turn,
        call=call,
        agent=agent,
        tool_call_id=result.parent_id,
        name=result.name or "",
        status=status,
        parts=cut.parts,
        final=result.result.final,
        metadata={} if status == "refused" else jsonable(result.result.metadata),
        error=error,
    )
    return KeptResult(returned, tuple(cut.values))


def failed_result(returned: ToolReturned, error: str) -> ToolReturned:
    """An error in place of a result that cannot be kept."""
    return returned.model_copy(
        update={
            "status": "error",
            "error": error,
            "parts": [TextPart(text=error)],
            "final": False,
            "metadata": {},
        }
    )


def result_of(returned: ToolReturned) -> ToolResultEvent:
    result = ToolResult(
        parts=[input_of(part) for part in returned.parts],
        final=returned.final,
        metadata=returned.metadata,
    )
    if returned.status in ("ok", "refused", "unknown"):
        return ToolResultEvent(parent_id=returned.tool_call_id, name=returned.name, result=result)
    kind = ToolErrorEvent if returned.status == "error" else ToolNotFoundEvent
    error = RuntimeError(returned.error)
    return kind(parent_id=returned.tool_call_id, name=returned.name, result=result, error=error)


REFUSED_KEY = "mozaiks.refused"
"""The key that marks the result of a call that was not approved, in the result's metadata."""


def refused_result(call: ToolCallEvent, message: str) -> ToolResultEvent:
    """The result of a call that was not approved, with what the model reads."""
    return ToolResultEvent.from_call(call, result=ToolResult(message, metadata={REFUSED_KEY: True}))


def _status_and_error(result: ToolResultEvent) -> tuple[ToolStatus, str | None]:
    match result:
        case ToolResultEvent() if result.result.metadata.get(REFUSED_KEY) is True:
            return "refused", None
        case ToolNotFoundEvent():
            return "not_found", f"There is no tool named {result.name}."
        case ToolErrorEvent():
            return "error", error_text(result.error)
        case _:
            return "ok", None


def error_text(error: Exception) -> str:
    """The text of a failure for a model: its type and message, without traceback and folders."""
    message = describe(error) if isinstance(error, ValidationError) else text_of_object(error)
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    without_secrets = process_redactor().without_any(utf8(text))
    return preview_of_text(_PATH.sub(r"\1", without_secrets), 2_000)


def _without_secrets(part: Part) -> Part:
    redact = process_redactor().without_known
    match part:
        case TextPart(text=text):
            return part.model_copy(update={"text": redact(text)})
        case DataPart(data=data):
            return part.model_copy(update={"data": map_texts(data, redact)})
        case _:
            return part


@dataclass(slots=True)
class _CutParts:
    """Parts as far as a model gets them, and the values of which it gets only the beginning."""

    parts: list[Part] = field(default_factory=list)
    values: list[LargeValue] = field(default_factory=list)

    def add(self, part: Part, whole: LargeValue | None = None) -> None:
        """Add a part; `whole` is kept beside it while there is room for it."""
        size = sum(one.reference.size for one in self.values)
        if whole is not None and size + whole.reference.size <= MAX_BYTES:
            part = part.model_copy(update={"whole": whole.reference})
            self.values.append(whole)
        self.parts.append(part)


def _cut_parts(parts: Sequence[Part]) -> _CutParts:
    """The parts up to MAX_RESULT_CHARS, and a note on what is missing."""
    cut = _CutParts()
    remaining = MAX_RESULT_CHARS
    for index, part in enumerate(parts):
        if remaining <= 0:
            missing = [one.model_dump(mode="json") for one in parts[index:]]
            note = TextPart(text=f"[cut: {len(missing)} more parts]")
            cut.add(note, LargeValue.of_json(missing))
            return cut
        _add_part(cut, part, remaining)
        remaining -= len(cut.parts[-1].model_dump_json())
    return cut


def _add_part(cut: _CutParts, part: Part, limit: int) -> None:
    match part:
        case TextPart(text=text) if len(text) > limit:
            beginning = preview_of_text(text, limit)
            cut.add(part.model_copy(update={"text": beginning}), LargeValue.of_json(text))
        case DataPart(data=data) if len(json.dumps(data, ensure_ascii=False)) > limit:
            cut.add(part.model_copy(update={"data": pruned(data, limit)}), LargeValue.of_json(data))
        case BinaryPart(data=data, media_type=media_type) if len(data) > limit:
            note = TextPart(text=f"[{media_type}: too large for a model]")
            cut.add(note, LargeValue.of(base64.b64decode(data), media_type))
        case _:
            cut.add(part)


# -- conversations ----------------------------------------------------------------------------


def digest(prompt: Sequence[str], events: Sequence[BaseEvent]) -> str:
    """SHA-256, in hex, of a prompt and a conversation: equal if a model gets the same."""
    request = [list(prompt), *(content_of(event) for event in events)]
    return sha256(json.dumps(request, default=str).encode()).hexdigest()


def content_json(event: BaseEvent) -> bytes:
    """The part of a request's digest that an event is."""
    return json.dumps(content_of(event), default=str).encode()


def content_of(event: BaseEvent) -> list[Any]:
    """What a model gets of an event: without times and token counts."""
    match event:
        case ModelRequest(parts=parts):
            return ["heard", [_content(part) for part in parts]]
        case ModelResponse():
            calls = [[call.id, call.name, call.arguments] for call in event.tool_calls.calls]
            native = native_of(event)
            own = [] if native is None else [native.model_dump()]
            return ["said", event.content, calls, *own]
        case ToolResultsEvent(results=results):
            returned = [[r.parent_id, [_content(p) for p in r.result.parts]] for r in results]
            return ["returned", returned]
        case _:
            return [type(event).__name__]


def _content(value: Input) -> Any:
    return value.content if isinstance(value, TextInput) else part_of(value).model_dump()


def events_of(messages: Iterable[Message]) -> list[BaseEvent]:
    """A conversation as the events that AG2's providers read."""
    return [event_of(message) for message in messages]


def event_of(message: Message) -> BaseEvent:
    """A message as the event that AG2's providers read."""
    match message:
        case UserMessage(text):
            return ModelRequest([TextInput(text)])
        case AgentMessage(response):
            return response_of(response)
        case ToolResults(results):
            return ToolResultsEvent([result_of(result) for result in results])
