"""Builds the JSON body of a request of Anthropic's Messages API from AG2's events, tools and schema.

What the API refuses is not sent: empty texts, two messages of one role in a row, an assistant's
message first, results before which there is something else, thinking without its signature.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ag2.compact import CompactionSummary
from ag2.events import (
    BaseEvent,
    BinaryInput,
    BinaryType,
    DataInput,
    FileIdInput,
    Input,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolErrorEvent,
    ToolResultEvent,
    ToolResultsEvent,
    UrlInput,
)
from ag2.exceptions import UnsupportedInputError, UnsupportedToolError
from ag2.response import ResponseProto
from ag2.tools.final import FunctionToolSchema
from ag2.tools.schemas import ToolSchema

from contracts.events.turn import ResponseFormat
from services.orchestrator.agents.models.anthropic_wire.answer import API
from services.orchestrator.agents.models.anthropic_wire.output_schema import output_schema
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.request_text import (
    BEGIN,
    EncodeData,
    argument_object,
)
from services.orchestrator.agents.models.wire.sent_parts import (
    SentBlock,
    SentCall,
    SentText,
    sent_parts,
)
from services.orchestrator.agents.models.wire.tool_names import accepted_name

Json = dict[str, Any]
Role = Literal["user", "assistant"]

CACHED: Json = {"cache_control": {"type": "ephemeral"}}
"""Marks the end of what the API keeps for the next request, which then costs a tenth."""
NO_TEXT = "(empty)"

_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_IMAGE_NAMES = (".jpg", ".jpeg", ".png", ".gif", ".webp")
_REFUSED_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Request:
    """What a body is made of.

    `options` are its members that do not depend on the conversation. The form of the answer is in the
    prompt where `response_format` is another than `json_schema`. `paused` is an answer that the API
    has paused and shall continue.
    """

    options: Mapping[str, Any]
    prompt: Sequence[str]
    messages: Sequence[BaseEvent]
    tools: Sequence[ToolSchema] = ()
    schema: ResponseProto[Any] | None = None
    response_format: ResponseFormat | None = None
    paused: ModelResponse | None = None


def request_body(request: Request, encode_data: EncodeData) -> bytes:
    """Raises UnsupportedInputError and UnsupportedToolError for what the API does not have."""
    body = dict(request.options)
    schema = request.schema
    if (
        schema is not None
        and schema.json_schema
        and request.response_format in (None, "json_schema")
    ):
        format_ = {"type": "json_schema", "schema": output_schema(schema.json_schema)}
        body["output_config"] = {**body.get("output_config", {}), "format": format_}
    if system := _system(request):
        body["system"] = [{"type": "text", "text": system, **CACHED}]
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    messages = _messages(request.messages, encode_data)
    _mark_cached(messages)
    if request.paused is not None:
        messages.append({"role": "assistant", "content": list(_answer_blocks(request.paused))})
    if _is_unsigned(request.messages) and body.get("thinking", {}).get("type") == "enabled":
        del body["thinking"]  # the API wants it back before the calls, and there is none
    body["messages"] = messages
    return json_text.encode(body)


def names_files(messages: Iterable[BaseEvent]) -> bool:
    """Whether a file is named that the provider stores, which needs a header of its own."""
    return any(isinstance(part, FileIdInput) for event in messages for part in _inputs(event))


def _inputs(event: BaseEvent) -> Iterator[Input]:
    match event:
        case ModelRequest(parts=parts):
            yield from parts
        case ToolResultsEvent(results=results):
            for result in results:
                yield from result.result.parts
        case _:
            pass


def _system(request: Request) -> str:
    texts, schema = [*request.prompt], request.schema
    if schema is not None and schema.system_prompt:
        texts.append(schema.system_prompt)
    return "\n".join(texts).strip()


def _tool(tool: ToolSchema) -> Json:
    if not isinstance(tool, FunctionToolSchema):
        raise UnsupportedToolError(tool.type, API)
    if tool.defer_loading:
        raise UnsupportedToolError("function with defer_loading", API)
    function = tool.function
    return {
        "name": function.name,
        "description": function.description,
        "input_schema": {"properties": {}, **function.parameters, "type": "object"},
    }


# -- messages ---------------------------------------------------------------------------------


def _messages(events: Sequence[BaseEvent], encode_data: EncodeData) -> list[Json]:
    """The messages; those of one role in a row are one message."""
    turns: list[tuple[Role, list[Json]]] = []
    ids: dict[str, str] = {}
    for event in events:
        role, blocks = _blocks(event, ids, encode_data)
        if not blocks:
            continue
        if not turns and role == "assistant":
            turns.append(("user", [_text(BEGIN)]))
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))
    return [{"role": role, "content": _content(role, blocks)} for role, blocks in turns]


def _blocks(
    event: BaseEvent, ids: dict[str, str], encode_data: EncodeData
) -> tuple[Role, list[Json]]:
    """The role and the blocks of an event; `ids` are the ids that calls have at the provider."""
    match event:
        case ModelResponse():
            ids |= {part.call.id: _call_id(part) for part in _calls(event)}
            return "assistant", list(_answer_blocks(event))
        case ToolResultsEvent(results=results):
            return "user", [_result(one, ids, encode_data) for one in results]
        case ModelRequest(parts=parts):
            return "user", [_user_block(part, encode_data) for part in parts]
        case CompactionSummary(summary=summary):
            return "user", [_text(f"[Summary of earlier conversation]\n{summary}")]
        case _:
            return "user", []


def _content(role: Role, blocks: list[Json]) -> list[Json]:
    """Results come first: the API wants them right after their calls."""
    if role == "assistant":
        return blocks
    return sorted(blocks, key=lambda block: block["type"] != "tool_result")


def _mark_cached(messages: Sequence[Json]) -> None:
    """The conversation so far is what the next request begins with."""
    for message in reversed(messages):
        if message["role"] == "user":
            message["content"][-1] = {**message["content"][-1], **CACHED}
            return


def _text(text: str) -> Json:
    return {"type": "text", "text": text if text.strip() else NO_TEXT}


# -- answers ----------------------------------------------------------------------------------


def _answer_blocks(response: ModelResponse) -> Iterator[Json]:
    for part in sent_parts(response, API):
        match part:
            case SentText(text, own):
                if text.strip():
                    yield {"type": "text", "text": text, **own}
            case SentCall(call, _, own):
                yield {
                    "type": "tool_use",
                    "id": _call_id(part),
                    "name": accepted_name(call.name),
                    "input": argument_object(call.arguments),
                    **own,
                }
            case SentBlock(block):
                yield block


def _calls(response: ModelResponse) -> list[SentCall]:
    return [part for part in sent_parts(response, API) if isinstance(part, SentCall)]


def _call_id(part: SentCall) -> str:
    """The provider's own, or ours as the API accepts it."""
    return part.id or _REFUSED_IN_IDS.sub("_", part.call.id)


def _is_unsigned(events: Sequence[BaseEvent]) -> bool:
    """Whether the last message of the user answers calls that came without thinking to be sent back.

    So it is if another API or model made them, or if thinking was configured in between.
    """
    for event in reversed(events):
        if isinstance(event, ModelResponse):
            first = next(_answer_blocks(event), None)
            is_signed = first is not None and first["type"] in ("thinking", "redacted_thinking")
            return bool(event.tool_calls) and not is_signed
    return False


# -- what the user and tools give --------------------------------------------------------------


def _result(result: ToolResultEvent, ids: Mapping[str, str], encode_data: EncodeData) -> Json:
    call_id = result.parent_id
    content = [_block(part, encode_data) for part in result.result.parts]
    block: Json = {
        "type": "tool_result",
        "tool_use_id": ids.get(call_id) or _REFUSED_IN_IDS.sub("_", call_id),
        "content": content,
    }
    if isinstance(result, ToolErrorEvent):
        block["is_error"] = True
    return block


def _user_block(value: Input, encode_data: EncodeData) -> Json:
    return _block(value, encode_data)


def _block(value: Input, encode_data: EncodeData) -> Json:
    """Raises UnsupportedInputError for an input that the API does not have."""
    match value:
        case TextInput(content=text):
            return _text(text)
        case DataInput(data=data):
            return _text(encode_data(data).decode())
        case UrlInput(url=url, kind=BinaryType.IMAGE):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case UrlInput(url=url, kind=BinaryType.DOCUMENT | BinaryType.BINARY):
            return {"type": "document", "source": {"type": "url", "url": url}}
        case FileIdInput(file_id=file_id, filename=filename):
            is_image = (filename or "").lower().endswith(_IMAGE_NAMES)
            source = {"type": "file", "file_id": file_id}
            return {"type": "image" if is_image else "document", "source": source}
        case BinaryInput(kind=BinaryType.IMAGE):
            return _image(value)
        case BinaryInput(kind=BinaryType.DOCUMENT):
            return _document(value)
        case BinaryInput(kind=kind) | UrlInput(kind=kind):
            raise UnsupportedInputError(f"{type(value).__name__}({kind.value})", API)
        case _:
            raise UnsupportedInputError(type(value).__name__, API)


def _image(value: BinaryInput) -> Json:
    media_type = str(value.media_type)
    if media_type not in _IMAGES:
        raise UnsupportedInputError(f"BinaryInput(image, media_type={media_type})", API)
    return {"type": "image", "source": _base64(value.data, media_type)}


def _document(value: BinaryInput) -> Json:
    media_type = str(value.media_type)
    if media_type == "application/pdf":
        return {"type": "document", "source": _base64(value.data, media_type)}
    if media_type == "text/plain":
        text = value.data.decode(errors="replace")
        source = {"type": "text", "media_type": media_type, "data": text}
        return {"type": "document", "source": source}
    raise UnsupportedInputError(f"BinaryInput(document, media_type={media_type})", API)


def _base64(data: bytes, media_type: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": b64encode(data).decode()}
