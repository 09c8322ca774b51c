"""A stub of Anthropic's Messages API that refuses what the API refuses."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

from anthropic.types import ContentBlockParam, ToolParam
from pydantic import TypeAdapter, ValidationError

from tests.orchestrator.agents.provider_stub import ErrorReply, ProviderStub, RawReply, Reply

Json = dict[str, Any]

_BLOCK: TypeAdapter[Any] = TypeAdapter(ContentBlockParam)
_TOOL: TypeAdapter[Any] = TypeAdapter(ToolParam)
_ID = re.compile(r"[a-zA-Z0-9_-]+")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_UNSUPPORTED = {"minimum", "maximum", "maxLength", "minLength", "pattern", "oneOf", "uniqueItems"}


# -- what it answers ---------------------------------------------------------------------------


def thinking(text: str) -> Json:
    """A block that is signed: the stub refuses it changed."""
    return {"type": "thinking", "thinking": text, "signature": _signature(text)}


def redacted(data: str) -> Json:
    return {"type": "redacted_thinking", "data": f"redacted:{data}+/="}


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def tool_use(call_id: str, name: str, **arguments: Any) -> Json:
    return {
        "type": "tool_use",
        "id": call_id,
        "name": name,
        "input": arguments,
        "caller": {"type": "direct"},
    }


USAGE = {
    "input_tokens": 10,
    "cache_read_input_tokens": 300,
    "cache_creation_input_tokens": 40,
    "output_tokens": 1,
}


def streamed(*blocks: Json, stop: str | None = "end_turn", end: bool = True) -> RawReply:
    """An answer in the pieces in which the API sends it; without `end` it breaks off."""
    head: Json = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x-20261001",
    }
    head |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": USAGE}
    events: list[Json] = [{"type": "message_start", "message": head}]
    events.append({"type": "ping"})
    for index, block in enumerate(blocks):
        events += [{**event, "index": index} for event in _pieces(block)]
    usage = {"output_tokens": 70, "output_tokens_details": {"thinking_tokens": 50}}
    if stop is not None:
        events.append({"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage})
    if end:
        events.append({"type": "message_stop"})
    return RawReply([sse(event) for event in events])


def sse(event: Json) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def _pieces(block: Json) -> Iterator[Json]:
    match block["type"]:
        case "text":
            yield {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
            for piece in _halves(block["text"]):
                yield _delta("text_delta", text=piece)
        case "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            yield {"type": "content_block_start", "content_block": empty}
            for piece in _halves(block["thinking"]):
                yield _delta("thinking_delta", thinking=piece)
            if block["signature"]:
                yield _delta("signature_delta", signature=block["signature"])
        case "tool_use":
            yield {"type": "content_block_start", "content_block": {**block, "input": {}}}
            for piece in _halves(json.dumps(block["input"]) if block["input"] else ""):
                yield _delta("input_json_delta", partial_json=piece)
        case _:
            yield {"type": "content_block_start", "content_block": block}
    yield {"type": "content_block_stop"}


def _delta(kind: str, **members: Any) -> Json:
    return {"type": "content_block_delta", "delta": {"type": kind, **members}}


def _halves(words: str) -> list[str]:
    middle = len(words) // 2
    return [words[:middle], words[middle:]]


def _signature(thought: str) -> str:
    return f"sig+/{sha256(thought.encode()).hexdigest()[:12]}=="


# -- what it refuses ---------------------------------------------------------------------------


class AnthropicStub(ProviderStub):
    """Its replies are given by the number of the assistant's messages in the request."""

    path = ""
    by_answers = False
    """Whether the replies are for a conversation with no answer, with one, and so on."""

    def refusals(self, body: dict[str, Any]) -> list[str]:
        return [*_refusals(body, self.headers[-1])]

    def error_body(self, reply: ErrorReply) -> dict[str, Any]:
        error = {"type": reply.code or "invalid_request_error", "message": reply.message}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def reply_to(self, body: dict[str, Any]) -> Reply:
        if not self.by_answers:
            return super().reply_to(body)
        answers = len([one for one in body["messages"] if one["role"] == "assistant"])
        return self.reply_number(answers, body)


def _refusals(body: Json, headers: Mapping[str, str]) -> Iterator[str]:
    named = {name.casefold(): value for name, value in headers.items()}
    if not named.get("x-api-key") or not named.get("anthropic-version"):
        yield "a header is missing"
    unknown = body.keys() - {
        *("model", "max_tokens", "stream", "messages", "system", "tools", "thinking"),
        *("temperature", "output_config"),
    }
    if unknown:
        yield f"{unknown}: Extra inputs are not permitted"
    mode = body.get("thinking", {}).get("type")
    if mode == "enabled" and not 1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]:
        yield "max_tokens must be greater than thinking.budget_tokens"
    if mode in ("enabled", "adaptive") and body.get("temperature", 1) != 1:
        yield "temperature may only be set to 1 when thinking is enabled"
    for block in body.get("system", []):
        if not block["text"].strip():
            yield "system: text content blocks must be non-empty"
    for tool in body.get("tools", []):
        yield from _invalid(_TOOL, tool)
        if not _NAME.fullmatch(tool["name"]) or tool["input_schema"]["type"] != "object":
            yield f"tools: {tool['name']}"
    if format_ := body.get("output_config", {}).get("format"):
        yield from _schema(format_["schema"])
    marked = json.dumps(body).count('"cache_control"')
    if marked > 4:
        yield "A maximum of 4 blocks with cache_control may be provided"
    yield from _messages(body["messages"], mode)


def _schema(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for one in schema:
            yield from _schema(one)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        yield "output_config.format.schema: additionalProperties must be false"
    if found := _UNSUPPORTED & schema.keys():
        yield f"output_config.format.schema: {found} not supported"
    for one in schema.values():
        yield from _schema(one)


def _messages(messages: Sequence[Json], mode: str | None) -> Iterator[str]:
    roles = [message["role"] for message in messages]
    if not roles or roles[0] != "user":
        yield "messages: first message must use the user role"
    if any(one == other for one, other in pairwise(roles)):
        yield "messages: roles must alternate"
    waiting: list[str] = []
    last_question = max(n for n, one in enumerate(messages) if _is_question(one))
    for number, message in enumerate(messages):
        blocks = message["content"]
        for block in blocks:
            yield from (f"messages.{number}: {what}" for what in _block(block))
        answered = [one["tool_use_id"] for one in blocks if one["type"] == "tool_result"]
        if message["role"] == "user":
            if sorted(answered) != sorted(waiting):
                yield f"messages.{number}: tool_use {waiting} but tool_result {answered}"
            if answered and any(b["type"] != "tool_result" for b in blocks[: len(answered)]):
                yield f"messages.{number}: tool_result blocks must come first"
            waiting = []
            continue
        waiting = [one["id"] for one in blocks if one["type"] == "tool_use"]
        kinds = [block["type"] for block in blocks]
        is_open = number > last_question and mode == "enabled"
        if is_open and kinds[0] not in ("thinking", "redacted_thinking"):
            yield f"messages.{number}: Expected `thinking` or `redacted_thinking`, found {kinds[0]}"
    if waiting:
        yield f"tool_use without tool_result: {waiting}"


def _is_question(message: Json) -> bool:
    kinds = {block["type"] for block in message["content"]}
    return message["role"] == "user" and "tool_result" not in kinds


def _block(block: Json) -> Iterator[str]:
    yield from _invalid(_BLOCK, block)
    match block:
        case {"type": "text", "text": words} if not words.strip():
            yield "text content blocks must contain non-whitespace text"
        case {"type": "thinking", "thinking": thought, "signature": signature}:
            if signature != _signature(thought):
                yield "Invalid `signature` in `thinking` block"
        case {"type": "redacted_thinking", "data": data} if not data.startswith("redacted:"):
            yield "Invalid `data` in `redacted_thinking` block"
        case {"type": "tool_use", "id": call_id, "name": name}:
            if not _ID.fullmatch(call_id) or not _NAME.fullmatch(name):
                yield f"tool_use {call_id!r} {name!r}"
        case _:
            pass


def _invalid(adapter: TypeAdapter[Any], value: Any) -> Iterator[str]:
    """What the vendor's own types do not allow."""
    try:
        adapter.validate_python(value, extra="forbid")
    except ValidationError as error:
        yield str(error)
