"""Builds the JSON body of a request of Gemini's API from AG2's events, tools and response schema.

What the API refuses is not sent: empty parts, a model's content first, two contents of one role in a
row, a call without the thought signature that belongs to it.
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from mimetypes import guess_type
from typing import Any, Literal
from urllib.parse import urlsplit

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
from services.orchestrator.agents.models.gemini_wire.answer import API
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
    is_native,
    sent_parts,
)
from services.orchestrator.agents.models.wire.tool_names import accepted_name

Json = dict[str, Any]
Role = Literal["user", "model"]

UNSIGNED = "skip_thought_signature_validator"
"""Google's own value for calls that another model made; https://ai.google.dev/gemini-api/docs/thought-signatures."""
_WITHOUT_SIGNATURES = re.compile(r"gemini-[12]\b|gemma|learnlm")
_NAME_START = re.compile(r"[a-zA-Z_]")


@dataclass(frozen=True, slots=True)
class Request:
    """What a body is made of.

    `generation` is the part of its `generationConfig` that does not depend on the conversation.
    The form of the answer is in the prompt where `response_format` is another than `json_schema`.
    """

    model: str
    generation: Mapping[str, Any]
    prompt: Sequence[str]
    messages: Sequence[BaseEvent]
    tools: Sequence[ToolSchema] = ()
    schema: ResponseProto[Any] | None = None
    response_format: ResponseFormat | None = None


def request_body(request: Request, encode_data: EncodeData) -> bytes:
    """Raises UnsupportedInputError and UnsupportedToolError for what the API does not have."""
    generation, schema = dict(request.generation), request.schema
    if schema is not None and schema.json_schema and request.response_format != "text":
        generation["responseMimeType"] = "application/json"
        if request.response_format != "json_object":
            generation["responseJsonSchema"] = schema.json_schema
    body: Json = {}
    if system := _system(request):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    body["contents"] = _contents(request, encode_data)
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool) for tool in request.tools]}]
    if generation:
        body["generationConfig"] = generation
    return json_text.encode(body)


def _system(request: Request) -> str:
    texts, schema = [*request.prompt], request.schema
    if schema is not None and schema.system_prompt:
        texts.append(schema.system_prompt)
    return "\n".join(texts).strip()


def _declaration(tool: ToolSchema) -> Json:
    if not isinstance(tool, FunctionToolSchema):
        raise UnsupportedToolError(tool.type, API)
    if tool.defer_loading:
        raise UnsupportedToolError("function with defer_loading", API)
    function = tool.function
    parameters = {"properties": {}, **function.parameters, "type": "object"}
    return {
        "name": function.name,
        "description": function.description,
        "parametersJsonSchema": _open(parameters),
    }


def _open(schema: Any) -> Any:
    """The schema without `additionalProperties`, which the API refuses at some places."""
    match schema:
        case dict():
            return {k: _open(v) for k, v in schema.items() if k != "additionalProperties"}
        case list():
            return [_open(item) for item in schema]
        case _:
            return schema


# -- contents ---------------------------------------------------------------------------------


def _contents(request: Request, encode_data: EncodeData) -> list[Json]:
    """The contents; those of one role in a row are one content."""
    turns: list[tuple[Role, list[Json]]] = []
    ids: dict[str, str | None] = {}
    for event in request.messages:
        role, parts = _parts(event, request.model, ids, encode_data)
        if not parts:
            continue
        if not turns and role == "model":
            turns.append(("user", [{"text": BEGIN}]))
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(parts)
        else:
            turns.append((role, parts))
    return [{"role": role, "parts": parts} for role, parts in turns]


def _parts(
    event: BaseEvent, model: str, ids: dict[str, str | None], encode_data: EncodeData
) -> tuple[Role, list[Json]]:
    """The role and the parts of an event; `ids` are the ids that calls have at the provider."""
    match event:
        case ModelResponse():
            ids |= {part.call.id: _call_id(part, event) for part in _calls(event)}
            return "model", list(_answer_parts(event, model))
        case ToolResultsEvent(results=results):
            return "user", [_result(one, ids, encode_data) for one in results]
        case ModelRequest(parts=parts):
            return "user", [_part(part, encode_data) for part in parts]
        case CompactionSummary(summary=summary):
            return "user", [{"text": f"[Summary of earlier conversation]\n{summary}"}]
        case _:
            return "user", []


# -- answers ----------------------------------------------------------------------------------


def _answer_parts(response: ModelResponse, model: str) -> Iterator[Json]:
    unsigned = not is_native(response, API) and not _WITHOUT_SIGNATURES.search(model)
    for part in sent_parts(response, API):
        match part:
            case SentText(text, own):
                if text or own:
                    yield {"text": text, **own}
            case SentCall(call, _, own):
                function = {"name": _name(call.name), "args": argument_object(call.arguments)}
                call_id = _call_id(part, response)
                named = {"id": call_id, **function} if call_id else function
                signature = {"thoughtSignature": UNSIGNED} if unsigned else {}
                unsigned = False  # of several calls, only the first has one
                yield {"functionCall": named, **signature, **own}
            case SentBlock(block):
                yield block


def _calls(response: ModelResponse) -> list[SentCall]:
    return [part for part in sent_parts(response, API) if isinstance(part, SentCall)]


def _call_id(part: SentCall, response: ModelResponse) -> str | None:
    """The provider's own, none if it gave none; ours where another API made the call."""
    return part.id if is_native(response, API) else part.call.id


def _name(name: str) -> str:
    accepted = accepted_name(name)
    return accepted if _NAME_START.match(accepted) else f"_{accepted}"[:64]


# -- what the user and tools give --------------------------------------------------------------


def _result(
    result: ToolResultEvent, ids: Mapping[str, str | None], encode_data: EncodeData
) -> Json:
    texts: list[str] = []
    media: list[Json] = []
    for part in result.result.parts:
        match part:
            case TextInput(content=text):
                texts.append(text)
            case DataInput(data=data):
                texts.append(encode_data(data).decode())
            case BinaryInput(kind=BinaryType.IMAGE | BinaryType.DOCUMENT):
                media.append({"inlineData": _inline(part)})
            case UrlInput(kind=BinaryType.IMAGE | BinaryType.DOCUMENT):
                media.append({"fileData": _file_data(part.url)})
            case _:
                raise UnsupportedInputError(type(part).__name__, API)
    key = "error" if isinstance(result, ToolErrorEvent) else "result"
    value = {key: texts[0] if len(texts) == 1 else texts} if texts else {}
    call_id = ids.get(result.parent_id, result.parent_id)
    return {
        "functionResponse": {
            **({"id": call_id} if call_id else {}),
            "name": _name(result.name or ""),
            "response": value,
            **({"parts": media} if media else {}),
        }
    }


def _part(value: Input, encode_data: EncodeData) -> Json:
    """Raises UnsupportedInputError for an input that the API does not have."""
    match value:
        case TextInput(content=text):
            return {"text": text}
        case DataInput(data=data):
            return {"text": encode_data(data).decode()}
        case UrlInput(url=url):
            return {"fileData": _file_data(url)}
        case FileIdInput(file_id=file_id):
            return {"fileData": {"fileUri": file_id}}
        case BinaryInput():
            return {"inlineData": _inline(value)}
        case _:
            raise UnsupportedInputError(type(value).__name__, API)


def _inline(value: BinaryInput) -> Json:
    return {"mimeType": str(value.media_type), "data": b64encode(value.data).decode()}


def _file_data(url: str) -> Json:
    media_type, _ = guess_type(urlsplit(url).path)
    return {"fileUri": url, **({"mimeType": media_type} if media_type else {})}
