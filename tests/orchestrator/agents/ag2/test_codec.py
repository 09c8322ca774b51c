"""AG2's events to contract events and back: nothing is lost, executed or disclosed."""

import json
from pathlib import Path
from typing import Any, TypeVar

import pytest
from ag2.events import (
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
from pydantic import BaseModel

from contracts.codec import decode, encode, open_event
from contracts.events import Event
from contracts.events.parts import (
    NativeAnswer,
    NativeBlock,
    NativeCall,
    NativeText,
    TextPart,
    text_of,
)
from contracts.events.turn import ModelResponded, ToolReturned
from services.orchestrator.agents.ag2.codec import (
    MAX_RESULT_CHARS,
    UnsupportedEventError,
    digest,
    error_text,
    input_of,
    part_of,
    responded_of,
    response_of,
    result_of,
    returned_of,
)
from services.orchestrator.agents.ag2.native_response import native_of, with_native
from tests.story import WRITER, sealed

E = TypeVar("E", bound=Event)

HOSTILE: list[Any] = [
    {"$e": "os.system", "args": ["touch owned"]},
    {"__class__": "subprocess.Popen", "args": ["id"]},
    {"__type__": "ag2.events.types.ModelResponse", "data": {}},
    {"__enum__": "builtins.eval", "value": "1"},
    {"type": "ag2.events.ToolResult", "data": {"parts": []}},
    {"__dataclass__": "subprocess.Popen", "fields": {"args": "id"}},
    {"py/object": "os.system", "py/reduce": [{"py/function": "os.system"}, ["id"]]},
]

INPUTS: list[Input] = [
    TextInput("words", metadata={"n": 1}),
    TextInput(""),
    TextInput("\0 \u2028 é 🌧 \x1b[31m"),
    DataInput({"a": [1, 2.5, None, True, "é"]}, metadata={"k": {"deep": []}}),
    DataInput([]),
    DataInput("text as data"),
    *(DataInput(value) for value in HOSTILE),
    BinaryInput(
        bytes(range(256)),
        media_type="image/png",
        kind=BinaryType.IMAGE,
        vendor_metadata={"detail": "high"},
        metadata={"m": 1},
    ),
    BinaryInput(b"", media_type="application/x-made-up"),
    *(UrlInput("https://example.org/a.png", kind=kind) for kind in BinaryType),
    FileIdInput("file-1", filename="a.pdf", metadata={"m": 1}),
    FileIdInput("file-2"),
]


def stored(event: E) -> E:
    """The event as another process reads it from the log."""
    restored = open_event(decode(encode(sealed([event])[0].envelope)))
    assert isinstance(restored, type(event))
    return restored


def returned(result: ToolResultEvent) -> ToolReturned:
    return stored(returned_of(result, turn=1, call=0, agent=WRITER).returned)


def responded(response: ModelResponse) -> ModelResponded:
    return stored(responded_of(response, turn=1, call=0, agent=WRITER))


@pytest.mark.parametrize("value", INPUTS, ids=repr)
def test_every_kind_of_input_survives_the_round_trip(value: Input) -> None:
    recorded = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    (restored,) = result_of(recorded).result.parts
    assert restored == value
    assert type(restored) is type(value)
    assert restored.metadata == value.metadata


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_data_that_looks_like_a_class_stays_data(value: dict[str, Any]) -> None:
    recorded = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    (restored,) = result_of(recorded).result.parts
    assert isinstance(restored, DataInput)
    assert restored.data == value
    response = responded(ModelResponse(ModelMessage("x", metadata={"seen": value})))
    assert response_of(response).metadata == {"seen": value}


def test_a_response_survives_the_round_trip() -> None:
    response = ModelResponse(
        ModelMessage("Let me look.", metadata={"citations": [1]}),
        tool_calls=ToolCallsEvent(
            [
                ToolCallEvent("look", id="c1", arguments='{"where":  "left"}'),
                ToolCallEvent("ask", id="c 2/ü", vendor_metadata={"caller": {"type": "direct"}}),
            ]
        ),
        files=[BinaryResult(b"\x00\xff", metadata={"filename": "a.bin"})],
        usage=Usage(
            prompt_tokens=1,
            completion_tokens=2,
            total_tokens=3,
            cache_read_input_tokens=4,
            cache_creation_input_tokens=5,
            thinking_tokens=6,
        ),
        model="m",
        provider="p",
        finish_reason="tool_calls",
        response_id="r",
    )
    restored = response_of(responded(response))
    assert restored == response
    assert restored.metadata == response.metadata
    for name in ("model", "provider", "finish_reason", "response_id", "usage"):
        assert getattr(restored, name) == getattr(response, name)
    assert [c.vendor_metadata for c in restored.tool_calls.calls] == [
        {},
        {"caller": {"type": "direct"}},
    ]


NATIVE = NativeAnswer(
    api="anthropic",
    parts=[
        NativeBlock(block={"type": "thinking", "thinking": "é 🌧", "signature": "a+/="}),
        NativeText(chars=2, own={"citations": []}),
        NativeCall(id="toolu_1"),
        *(NativeBlock(block=value) for value in HOSTILE),
    ],
)


def test_the_providers_own_form_of_a_response_survives_the_round_trip() -> None:
    plain = ModelResponse(ModelMessage("Hm"), tool_calls=ToolCallsEvent([ToolCallEvent("look")]))
    recorded = responded(with_native(plain, NATIVE))
    assert recorded.native == NATIVE
    restored = response_of(recorded)
    assert native_of(restored) == NATIVE
    assert (restored.content, restored.tool_calls) == (plain.content, plain.tool_calls)
    assert type(response_of(responded(plain))) is ModelResponse


def test_a_response_that_needs_no_form_of_its_own_is_stored_as_before() -> None:
    assert "native" not in responded(ModelResponse(ModelMessage("Hi"))).model_dump_json()


def test_the_digest_depends_on_the_providers_own_form() -> None:
    plain = ModelResponse(ModelMessage("Hm"))
    other = NATIVE.model_copy(update={"api": "gemini"})
    digests = {digest([], [with_native(plain, one)]) for one in (None, NATIVE, other)}
    assert len(digests) == 3


@pytest.mark.parametrize("response", [ModelResponse(), ModelResponse(ModelMessage(""))])
def test_a_response_without_text_keeps_the_difference_between_none_and_empty(
    response: ModelResponse,
) -> None:
    assert response_of(responded(response)).content == response.content


@pytest.mark.parametrize("arguments", ["{not json", "[]", "1", '"text"', "null", '{"a": 1', "NaN"])
def test_malformed_arguments_are_wrapped_in_an_object_that_can_be_resent(arguments: str) -> None:
    call = ToolCallEvent("look", id="c1", arguments=arguments)
    recorded = responded_of(
        ModelResponse(tool_calls=ToolCallsEvent([call])), turn=1, call=0, agent=WRITER
    )
    (restored,) = response_of(stored(recorded)).tool_calls.calls
    assert restored.serialized_arguments == {"malformed": arguments}
    assert json.loads(restored.to_api()["function"]["arguments"]) == {"malformed": arguments}


@pytest.mark.parametrize("arguments", ["{}", '{"a":1,  "b": "é"}'])
def test_arguments_that_parse_are_stored_unchanged(arguments: str) -> None:
    call = ToolCallEvent("look", id="c1", arguments=arguments)
    (restored,) = response_of(
        responded(ModelResponse(tool_calls=ToolCallsEvent([call])))
    ).tool_calls.calls
    assert restored.arguments == arguments


def test_a_lone_surrogate_in_arguments_is_replaced() -> None:
    call = ToolCallEvent("look", id="c1", arguments='{"a": "\ud800"}')
    recorded = responded(ModelResponse(ModelMessage("\ud83d"), tool_calls=ToolCallsEvent([call])))
    (restored,) = response_of(recorded).tool_calls.calls
    assert restored.serialized_arguments == {"a": "\ufffd"}


@pytest.mark.parametrize(
    "arguments", ["[" * 5_000 + "]" * 5_000, '{"a":' * 5_000, '{"n": NaN}', "[1]", "{", "null"]
)
def test_arguments_that_are_no_json_object_are_kept_as_malformed(arguments: str) -> None:
    call = ToolCallEvent("look", id="c1", arguments=arguments)
    recorded = responded(ModelResponse(tool_calls=ToolCallsEvent([call])))
    (restored,) = response_of(recorded).tool_calls.calls
    assert restored.serialized_arguments == {"malformed": arguments}


def test_empty_arguments_can_be_resent() -> None:
    call = ToolCallEvent("look", id="c1", arguments="")
    (restored,) = response_of(
        responded(ModelResponse(tool_calls=ToolCallsEvent([call])))
    ).tool_calls.calls
    assert restored.serialized_arguments == {}


def test_a_final_result_stays_final_with_its_metadata() -> None:
    final = ToolResult("bye", final=True, metadata={"handoff": "Editor"})
    restored = result_of(returned(ToolResultEvent(parent_id="c1", name="go", result=final)))
    assert restored.result.final
    assert restored.result.metadata == {"handoff": "Editor"}


def test_the_text_of_an_error_has_no_traceback_and_no_folders() -> None:
    call = ToolCallEvent("look", id="c1")
    with pytest.raises(OSError, match="secret") as caught:
        Path("/no/such/folder/secret.txt").read_text()
    failed = ToolErrorEvent.from_call(call, caught.value)
    recorded = returned(failed)
    assert recorded.status == "error"
    assert recorded.parts == [TextPart(text=recorded.error or "")]
    everything = recorded.model_dump_json()
    assert "Traceback" not in everything
    assert "/no/such" not in everything
    assert "secret.txt" in everything
    restored = result_of(recorded)
    assert isinstance(restored, ToolErrorEvent)
    assert restored.result.parts == [TextInput(recorded.error or "")]


def test_an_unknown_tool_stays_unknown_after_the_round_trip() -> None:
    call = ToolCallEvent("absent", id="c1")
    recorded = returned(ToolNotFoundEvent.from_call(call, KeyError("absent")))
    assert recorded.status == "not_found"
    assert isinstance(result_of(recorded), ToolNotFoundEvent)


class Form(BaseModel):
    size: int


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("in /home/ann/app/tools/look.py: bad"), "ValueError: in look.py: bad"),
        (ValueError(r"in C:\Users\ann\look.py"), "ValueError: in look.py"),
        (ValueError("file:///srv/app/key.pem"), "ValueError: file://key.pem"),
        (ValueError(), "ValueError"),
        (ValueError("half/half"), "ValueError: half/half"),
    ],
)
def test_folders_are_removed_from_error_texts(error: Exception, text: str) -> None:
    assert error_text(error) == text


def test_a_validation_error_names_the_field_without_its_value() -> None:
    with pytest.raises(ValueError, match="size") as caught:
        Form.model_validate({"size": "my-secret"})
    text = error_text(caught.value)
    assert text.startswith("ValidationError: size: ")
    assert "my-secret" not in text


def test_a_long_error_is_truncated() -> None:
    assert len(error_text(ValueError("x" * 100_000))) < 2_100


@pytest.mark.parametrize(
    "huge",
    [
        TextInput("x" * 5_000_000),
        DataInput({"rows": ["x" * 100] * 50_000}),
        BinaryInput(b"x" * 5_000_000, media_type="image/png"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_huge_result_is_truncated_with_a_note(huge: Input) -> None:
    recorded = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(huge)))
    text = text_of(recorded.parts)
    assert len(recorded.model_dump_json()) < MAX_RESULT_CHARS + 10_000
    assert "[cut" in text or "too large" in text


def test_many_parts_are_truncated_together() -> None:
    parts = [TextInput("x" * 100_000) for _ in range(50)]
    recorded = returned(
        ToolResultEvent(parent_id="c1", name="look", result=ToolResult(parts=parts))
    )
    assert len(recorded.model_dump_json()) < 1_000_000


def test_data_that_json_cannot_represent_is_stored_as_text() -> None:
    value: Any = {"a": object, "b": {1}}
    recorded = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    (restored,) = result_of(recorded).result.parts
    assert isinstance(restored, DataInput)
    assert json.dumps(restored.data)


def test_numbers_that_json_does_not_have_are_stored() -> None:
    value: Any = {"inf": float("inf"), "nan": float("nan"), "big": 10**40}
    recorded = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    assert recorded.status == "ok"


def test_text_that_utf8_cannot_encode_is_replaced() -> None:
    recorded = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult("a\ud800b")))
    assert text_of(recorded.parts).startswith("a")


def test_an_unknown_input_class_is_refused() -> None:
    class Smell(Input):
        pass

    with pytest.raises(UnsupportedEventError, match="Smell"):
        part_of(Smell())


def test_the_digest_depends_on_what_a_model_gets_and_nothing_else() -> None:
    def digest_of(*extra: ToolResultEvent, text: str = "Hi", arguments: str = "{}") -> str:
        call = ToolCallEvent("look", id="c1", arguments=arguments)
        recorded = ModelResponse(ModelMessage("x"), tool_calls=ToolCallsEvent([call]))
        return digest(
            ["p"], [ModelRequest([TextInput(text)]), recorded, ToolResultsEvent(list(extra))]
        )

    def seen(text: str) -> ToolResultEvent:
        return ToolResultEvent(parent_id="c1", name="look", result=ToolResult(text))

    assert digest_of() == digest_of()  # time stamps and usage make no difference
    assert len({digest_of(), digest_of(seen("a")), digest_of(seen("b")), digest_of(text="Ho")}) == 4
    assert digest_of(arguments='{"a":1}') != digest_of()
    assert digest(["p"], []) != digest(["q"], [])


def test_the_digest_depends_on_every_field_of_a_binary_part() -> None:
    def digest_of(data: bytes) -> str:
        return digest([], [ModelRequest([BinaryInput(data, media_type="image/png")])])

    assert digest_of(b"a") != digest_of(b"b")
    assert input_of(part_of(TextInput("a"))) == TextInput("a")
