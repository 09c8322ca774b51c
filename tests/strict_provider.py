"""What strict providers refuse in a chat completions request."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ROLES = {"system", "user", "assistant", "tool"}
_PART_TYPES = {"text", "image_url", "input_audio", "file"}
_MEMBERS = {"role", "content", "name", "tool_calls", "tool_call_id"}
_REASONING = "reasoning_content"
"""Of DeepSeek, which wants it back with calls; nobody else has sent any."""
_CALL_ID_CHARS = 40
"""OpenAI's limit; https://platform.openai.com/docs/api-reference/chat/create has the rest."""

Message = Mapping[str, Any]


def refusals(body: Mapping[str, Any]) -> list[str]:
    """Why a strict provider would answer 400; empty for a request that every provider accepts."""
    messages: Sequence[Message] = body["messages"]
    if not messages or all(one["role"] == "system" for one in messages):
        return ["messages: nothing to answer"]
    found = [
        f"messages.{number}: {what}" for number, one in enumerate(messages) for what in _of(one)
    ]
    names = [tool["function"]["name"] for tool in body.get("tools", [])]
    found += [f"tools: the name {name!r}" for name in names if not _NAME.fullmatch(name)]
    found += [f"tools: {name!r} twice" for name in set(names) if names.count(name) > 1]
    return [*found, *_unpaired(messages)]


def _of(message: Message) -> Iterator[str]:
    if message["role"] not in _ROLES:
        yield f"the role {message['role']!r}"
    members = message.keys() - ({_REASONING} if message.get("tool_calls") else set())
    if unknown := members - _MEMBERS:
        yield f"the members {sorted(unknown)}"
    yield from _content(message)
    if not message.get("tool_calls", True):
        yield "tool_calls is empty"
    for call in message.get("tool_calls", []):
        function = call["function"]
        if call["type"] != "function":
            yield f"the type {call['type']!r} of a call"
        if not 0 < len(call["id"]) <= _CALL_ID_CHARS:
            yield f"the id {call['id']!r}"
        if not _NAME.fullmatch(function["name"]):
            yield f"the name {function['name']!r}"
        if not isinstance(json.loads(function["arguments"]), dict):
            yield f"the arguments of {function['name']} are no object"


def _content(message: Message) -> Iterator[str]:
    match message.get("content"):
        case None:
            yield "content is null or missing"
        case str() as text:
            if not text and message["role"] == "user":
                yield "an empty content"
            if not text and message["role"] == "assistant" and not message.get("tool_calls"):
                yield "an assistant's message without content and calls"
            if not _is_utf8(text):
                yield "half a character"
        case [*parts]:
            yield from (
                f"the part {part!r:.80}" for part in parts if part.get("type") not in _PART_TYPES
            )
            if not parts:
                yield "no parts"
        case other:
            yield f"the content {other!r:.80}"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unpaired(messages: Sequence[Message]) -> Iterator[str]:
    """Each call is answered once, before anything else is said."""
    waiting: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield f"messages.{number}: the result of no call"
            else:
                waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            yield f"messages.{number}: calls without results: {waiting}"
        waiting = [call["id"] for call in message.get("tool_calls", [])]
        if len(set(waiting)) < len(waiting):
            yield f"messages.{number}: two calls have the same id"
    if waiting:
        yield f"calls without results: {waiting}"
