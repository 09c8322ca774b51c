"""The cache of messages' bytes."""

import gc
from typing import Any
from weakref import ref

from ag2.events import (
    BaseEvent,
    DataInput,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResult,
    ToolResultEvent,
    ToolResultsEvent,
)
from fast_depends.pydantic.serializer import PydanticSerializer

from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.request import request_body


def body(event: BaseEvent, cache: MessageBytes) -> bytes:
    encode = PydanticSerializer.encode
    return request_body({"model": "m"}, [], [event], [], None, encode_data=encode, cache=cache)


def made(cache: MessageBytes, event: BaseEvent, content: str) -> list[str]:
    """What is encoded anew."""
    if cache.get(event, content) == content.encode():
        return []
    cache.put(event, content, content.encode())
    return [content]


def test_bytes_are_made_once_for_an_event() -> None:
    cache, event, equal = MessageBytes(), ModelRequest([]), ModelRequest([])
    assert made(cache, event, "a") == ["a"]
    assert made(cache, event, "a") == []
    assert made(cache, equal, "a") == ["a"]


def test_an_event_that_has_changed_is_encoded_again() -> None:
    cache = MessageBytes()
    text, call = ModelRequest([TextInput("first")]), ToolCallEvent("t", id="c", arguments="{}")
    answer = ModelResponse(ModelMessage("first"), tool_calls=ToolCallsEvent([call]))
    data: dict[str, Any] = {"n": "first"}
    result = ToolResult(parts=[DataInput(data)])
    results = ToolResultsEvent([ToolResultEvent(parent_id="c", name="t", result=result)])
    for event in (text, answer, results):
        assert b"first" in body(event, cache)
    text.parts = [TextInput("second")]
    assert answer.message is not None
    answer.message.content = "second"
    data["n"] = "second"
    for event in (text, answer, results):
        assert b"second" in body(event, cache)
        assert b"first" not in body(event, cache)
    call.arguments = '{"a": 3}'
    assert b"3" in body(answer, cache)


def test_an_event_is_not_kept_alive_and_its_bytes_end_with_it() -> None:
    cache, event = MessageBytes(), ModelRequest([])
    made(cache, event, "a" * 100)
    alive = ref(event)
    del event
    gc.collect()
    assert alive() is None
    other = ModelRequest([])
    made(cache, other, "b")
    assert cache.size == 1


def test_the_size_is_limited_and_the_oldest_entry_is_dropped() -> None:
    cache = MessageBytes(max_bytes=10)
    first, second, third = (ModelRequest([]) for _ in range(3))
    for event, content in ((first, "1234"), (second, "5678"), (third, "9012")):
        made(cache, event, content)
    assert cache.size == 8
    assert made(cache, second, "5678") == made(cache, third, "9012") == []
    assert made(cache, first, "1234") == ["1234"]
    assert made(cache, third, "x" * 11) == ["x" * 11]
    assert cache.size == 4


def test_an_entry_whose_event_is_gone_is_not_that_of_another_at_its_place() -> None:
    cache = MessageBytes()
    for number in range(100):  # objects that end make room for new ones at the same address
        assert made(cache, ModelRequest([]), "a" * number) == ["a" * number]
    assert cache.size <= 99 + 98
