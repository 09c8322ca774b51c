"""AG2's events to ours and back: nothing lost, nothing executed, nothing told that should not be."""

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
from contracts.events.parts import TextPart, text_of
from contracts.events.turn import ModelResponded, ToolReturned
from services.orchestrator.agents.codec import (
    MAX_RESULT_CHARS,
    UnsupportedEventError,
    digest,
    input_of,
    part_of,
    responded_of,
    response_of,
    result_of,
    returned_of,
    told_of,
)
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
    back = open_event(decode(encode(sealed([event])[0].envelope)))
    assert isinstance(back, type(event))
    return back


def returned(result: ToolResultEvent) -> ToolReturned:
    return stored(returned_of(result, turn=1, call=0, agent=WRITER))


def responded(response: ModelResponse) -> ModelResponded:
    return stored(responded_of(response, turn=1, call=0, agent=WRITER))


@pytest.mark.parametrize("piece", INPUTS, ids=repr)
def test_every_kind_of_input_comes_back_from_the_log(piece: Input) -> None:
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(piece)))
    (back,) = result_of(kept).result.parts
    assert back == piece
    assert type(back) is type(piece)
    assert back.metadata == piece.metadata


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_data_that_looks_like_a_class_stays_data(value: dict[str, Any]) -> None:
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    (back,) = result_of(kept).result.parts
    assert isinstance(back, DataInput)
    assert back.data == value
    said = responded(ModelResponse(ModelMessage("x", metadata={"seen": value})))
    assert response_of(said).metadata == {"seen": value}


def test_a_response_comes_back_whole() -> None:
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
    back = response_of(responded(response))
    assert back == response
    assert back.metadata == response.metadata
    for name in ("model", "provider", "finish_reason", "response_id", "usage"):
        assert getattr(back, name) == getattr(response, name)
    assert [c.vendor_metadata for c in back.tool_calls.calls] == [
        {},
        {"caller": {"type": "direct"}},
    ]


@pytest.mark.parametrize("response", [ModelResponse(), ModelResponse(ModelMessage(""))])
def test_a_response_without_words_keeps_the_difference_between_none_and_empty(
    response: ModelResponse,
) -> None:
    assert response_of(responded(response)).content == response.content


@pytest.mark.parametrize("arguments", ["{not json", "[]", "1", '"text"', "null", '{"a": 1', "NaN"])
def test_malformed_arguments_are_kept_in_an_object_that_can_be_sent_back(arguments: str) -> None:
    call = ToolCallEvent("look", id="c1", arguments=arguments)
    said = responded_of(
        ModelResponse(tool_calls=ToolCallsEvent([call])), turn=1, call=0, agent=WRITER
    )
    (back,) = response_of(stored(said)).tool_calls.calls
    assert back.serialized_arguments == {"malformed": arguments}
    assert json.loads(back.to_api()["function"]["arguments"]) == {"malformed": arguments}


@pytest.mark.parametrize("arguments", ["{}", '{"a":1,  "b": "é"}'])
def test_arguments_that_parse_are_kept_to_the_letter(arguments: str) -> None:
    call = ToolCallEvent("look", id="c1", arguments=arguments)
    (back,) = response_of(
        responded(ModelResponse(tool_calls=ToolCallsEvent([call])))
    ).tool_calls.calls
    assert back.arguments == arguments


def test_half_a_character_in_arguments_does_not_break_the_log() -> None:
    call = ToolCallEvent("look", id="c1", arguments='{"a": "\ud800"}')
    said = responded(ModelResponse(ModelMessage("\ud83d"), tool_calls=ToolCallsEvent([call])))
    (back,) = response_of(said).tool_calls.calls
    assert back.serialized_arguments == {"a": "?"}


def test_empty_arguments_can_be_sent_back() -> None:
    call = ToolCallEvent("look", id="c1", arguments="")
    (back,) = response_of(
        responded(ModelResponse(tool_calls=ToolCallsEvent([call])))
    ).tool_calls.calls
    assert back.serialized_arguments == {}


def test_a_final_result_stays_final_with_its_metadata() -> None:
    final = ToolResult("bye", final=True, metadata={"handoff": "Editor"})
    back = result_of(returned(ToolResultEvent(parent_id="c1", name="go", result=final)))
    assert back.result.final
    assert back.result.metadata == {"handoff": "Editor"}


def test_an_error_is_told_without_traceback_and_folders() -> None:
    call = ToolCallEvent("look", id="c1")
    with pytest.raises(OSError, match="secret") as caught:
        Path("/no/such/folder/secret.txt").read_text()
    failed = ToolErrorEvent.from_call(call, caught.value)
    kept = returned(failed)
    assert kept.status == "error"
    assert kept.parts == [TextPart(text=kept.error or "")]
    everything = kept.model_dump_json()
    assert "Traceback" not in everything
    assert "/no/such" not in everything
    assert "secret.txt" in everything
    back = result_of(kept)
    assert isinstance(back, ToolErrorEvent)
    assert back.result.parts == [TextInput(kept.error or "")]


def test_an_unknown_tool_stays_unknown() -> None:
    call = ToolCallEvent("absent", id="c1")
    kept = returned(ToolNotFoundEvent.from_call(call, KeyError("absent")))
    assert kept.status == "not_found"
    assert isinstance(result_of(kept), ToolNotFoundEvent)


class Form(BaseModel):
    size: int


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("in /home/ann/app/tools/look.py: bad"), "ValueError: in look.py: bad"),
        (ValueError(r"in C:\Users\ann\look.py"), "ValueError: in look.py"),
        (ValueError("file:///srv/app/key.pem"), "ValueError: file://key.pem"),
        (ValueError(), "ValueError"),
        (ValueError("half/half"), "ValueError: half/half"),
    ],
)
def test_folders_are_left_out(error: Exception, told: str) -> None:
    assert told_of(error) == told


def test_an_invalid_argument_is_told_by_its_field_and_not_its_value() -> None:
    with pytest.raises(ValueError, match="size") as caught:
        Form.model_validate({"size": "my-secret"})
    told = told_of(caught.value)
    assert told.startswith("ValidationError: size: ")
    assert "my-secret" not in told


def test_a_long_error_is_cut() -> None:
    assert len(told_of(ValueError("x" * 100_000))) < 2_100


@pytest.mark.parametrize(
    "huge",
    [
        TextInput("x" * 5_000_000),
        DataInput({"rows": ["x" * 100] * 50_000}),
        BinaryInput(b"x" * 5_000_000, media_type="image/png"),
    ],
    ids=lambda piece: type(piece).__name__,
)
def test_a_huge_result_is_bounded_and_says_so(huge: Input) -> None:
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(huge)))
    told = text_of(kept.parts)
    assert len(kept.model_dump_json()) < MAX_RESULT_CHARS + 10_000
    assert "cut: " in told or "too large" in told


def test_many_parts_together_are_bounded() -> None:
    parts = [TextInput("x" * 100_000) for _ in range(50)]
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(parts=parts)))
    assert len(kept.model_dump_json()) < 1_000_000


def test_data_that_json_has_no_form_for_is_kept_as_text() -> None:
    value: Any = {"a": object, "b": {1}}
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    (back,) = result_of(kept).result.parts
    assert isinstance(back, DataInput)
    assert json.dumps(back.data)


def test_numbers_that_json_does_not_know_do_not_break_the_log() -> None:
    value: Any = {"inf": float("inf"), "nan": float("nan"), "big": 10**40}
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult(value)))
    assert kept.status == "ok"


def test_text_that_utf8_does_not_know_does_not_break_the_log() -> None:
    kept = returned(ToolResultEvent(parent_id="c1", name="look", result=ToolResult("a\ud800b")))
    assert text_of(kept.parts).startswith("a")


def test_an_input_that_we_do_not_know_is_refused() -> None:
    class Smell(Input):
        pass

    with pytest.raises(UnsupportedEventError, match="Smell"):
        part_of(Smell())


def test_the_digest_knows_what_a_model_was_given_and_nothing_else() -> None:
    def told(*extra: ToolResultEvent, text: str = "Hi", arguments: str = "{}") -> str:
        call = ToolCallEvent("look", id="c1", arguments=arguments)
        said = ModelResponse(ModelMessage("x"), tool_calls=ToolCallsEvent([call]))
        return digest(["p"], [ModelRequest([TextInput(text)]), said, ToolResultsEvent(list(extra))])

    def seen(text: str) -> ToolResultEvent:
        return ToolResultEvent(parent_id="c1", name="look", result=ToolResult(text))

    assert told() == told()  # whatever the time stamps and usage
    assert len({told(), told(seen("a")), told(seen("b")), told(text="Ho")}) == 4
    assert told(arguments='{"a":1}') != told()
    assert digest(["p"], []) != digest(["q"], [])


def test_every_part_of_a_binary_answer_matters_to_the_digest() -> None:
    def told(data: bytes) -> str:
        return digest([], [ModelRequest([BinaryInput(data, media_type="image/png")])])

    assert told(b"a") != told(b"b")
    assert input_of(part_of(TextInput("a"))) == TextInput("a")
