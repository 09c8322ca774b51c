"""Builds the JSON body of a chat completions request from AG2's events, tools and response schema.

Semantically what AG2's own client sends (`ag2.config.openai.mappers`), except for what strict
providers refuse: null contents, empty messages, and names of tools outside of OpenAI's pattern.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ag2.events import BaseEvent
from ag2.exceptions import UnsupportedToolError
from ag2.response import ResponseProto
from ag2.tools.final import FunctionToolSchema
from ag2.tools.schemas import ToolSchema

from services.orchestrator.agents.models.openai_wire.content import (
    API,
    REASONING,
    Audio,
    Call,
    Content,
    Document,
    EncodeData,
    FileReference,
    Image,
    ImageUrl,
    Part,
    content_of,
)
from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.wire import json_text
from services.orchestrator.agents.models.wire.tool_names import accepted_name

Json = dict[str, Any]


def request_body(
    options: Mapping[str, Any],
    prompt: Iterable[str],
    messages: Iterable[BaseEvent],
    tools: Sequence[ToolSchema],
    response_schema: ResponseProto[Any] | None,
    *,
    encode_data: EncodeData,
    cache: MessageBytes,
) -> bytes:
    """The body; `options` are its members that do not depend on the conversation.

    Raises UnsupportedInputError and UnsupportedToolError for what the API does not have.
    """
    head = dict(options)
    if response_schema is not None and response_schema.json_schema:
        head["response_format"] = response_format(response_schema, response_schema.json_schema)
    if tools:
        head["tools"] = [tool_definition(tool) for tool in tools]
    system = [*prompt]
    if response_schema is not None and response_schema.system_prompt:
        system.append(response_schema.system_prompt)
    encoded = [
        json_text.encode({"role": "system", "content": "\n".join(system)}),
        *_encoded_messages([*messages], encode_data, cache),
    ]
    return b'%s,"messages":[%s]}' % (json_text.encode(head)[:-1], b",".join(encoded))


def tool_definition(tool: ToolSchema) -> Json:
    if not isinstance(tool, FunctionToolSchema):
        raise UnsupportedToolError(tool.type, API)
    if tool.defer_loading:
        raise UnsupportedToolError("function with defer_loading", API)
    function = tool.function
    parameters = {"properties": {}, "additionalProperties": False, **function.parameters}
    return {
        "type": "function",
        "function": {
            "name": function.name,
            "description": function.description,
            "parameters": {**parameters, "type": "object"},
        },
    }


def response_format(schema: ResponseProto[Any], json_schema: Json) -> Json:
    named: Json = {"name": schema.name, "schema": _strict(json_schema), "strict": True}
    if schema.description:
        named["description"] = schema.description
    return {"type": "json_schema", "json_schema": named}


def _strict(schema: Json) -> Json:
    """The schema in the subset that OpenAI's strict mode accepts: closed, every property required."""
    strict = {name: _strict_member(name, value) for name, value in schema.items()}
    if schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    if "properties" in schema:
        strict["required"] = list(schema["properties"])
    return strict


def _strict_member(name: str, value: Any) -> Any:
    match name:
        case "properties" | "$defs":
            return {key: _strict_value(inner) for key, inner in value.items()}
        case "anyOf" | "oneOf" | "allOf":
            return [_strict_value(inner) for inner in value]
        case "items":
            return _strict_value(value)
        case _:
            return value


def _strict_value(value: Any) -> Any:
    return _strict(value) if isinstance(value, dict) else value


# -- messages ---------------------------------------------------------------------------------


def _encoded_messages(
    events: Sequence[BaseEvent], encode_data: EncodeData, cache: MessageBytes
) -> Iterator[bytes]:
    """The bytes of messages, several in one where they are known together."""
    known, joined = cache.prefixes.find(events)
    pieces = [_encoded(event, encode_data, cache) for event in events[known:]]
    cache.prefixes.keep(events, known, pieces)
    return filter(None, (joined, *pieces))


def _encoded(event: BaseEvent, encode_data: EncodeData, cache: MessageBytes) -> bytes:
    """The bytes of an event's messages, empty where a provider gets nothing of it."""
    content = content_of(event, encode_data)
    if content is None:
        return b""
    encoded = cache.get(event, content)
    if encoded is None:
        encoded = _encode(content)
        cache.put(event, content, encoded)
    return encoded


def _encode(content: Content) -> bytes:
    """The messages of one event with commas between them."""
    return b",".join(json_text.encode(message) for message in messages_of(content))


def messages_of(content: Content) -> list[Json]:
    match content:
        case ("user", parts):
            return [{"role": "user", "content": _user_content(parts)}]
        case ("assistant", text, calls, reasoning):
            return [_assistant_message(text, calls, reasoning)]
        case ("results", results):
            return [_tool_message(*result) for result in results]


def _user_content(parts: Sequence[Part]) -> str | list[Json]:
    match parts:
        case [str() as text]:
            return text
        case _:
            return [_user_part(part) for part in parts]


def _user_part(part: Part) -> Json:
    match part:
        case str():
            return _text_part(part)
        case ImageUrl(url):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(data, media_type, detail):
            image = {"url": _data_url(data, media_type)}
            return {
                "type": "image_url",
                "image_url": image | ({"detail": detail} if detail else {}),
            }
        case Audio(data, audio_format):
            audio = {"data": b64encode(data).decode(), "format": audio_format}
            return {"type": "input_audio", "input_audio": audio}
        case Document(data, media_type, filename):
            file = {"file_data": _data_url(data, media_type), "filename": filename}
            return {"type": "file", "file": file}
        case FileReference(file_id):
            return {"type": "file", "file": {"file_id": file_id}}


def _text_part(text: str) -> Json:
    return {"type": "text", "text": text}


def _data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def _assistant_message(text: str, calls: Sequence[Call], reasoning: str) -> Json:
    """The text is empty, not null, beside calls: some providers refuse null, others its absence."""
    message: Json = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [_tool_call(*call) for call in calls]
    if reasoning:
        message[REASONING] = reasoning
    return message


def _tool_call(call_id: str, name: str, arguments: str) -> Json:
    function = {"name": accepted_name(name), "arguments": _normal_arguments(arguments)}
    return {"id": call_id, "type": "function", "function": function}


def _normal_arguments(arguments: str) -> str:
    """The arguments in the spelling of Python's `json`, whatever the model's was."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = {"malformed": arguments}
    return json.dumps(value)


def _tool_message(call_id: str, texts: Sequence[str]) -> Json:
    content = texts[0] if len(texts) == 1 else [_text_part(text) for text in texts]
    return {"role": "tool", "tool_call_id": call_id, "content": content}
