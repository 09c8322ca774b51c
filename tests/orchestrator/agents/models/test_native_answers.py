"""Whatever the APIs of Anthropic and Gemini send becomes one clear outcome."""

import json
from typing import Any

import pytest
from ag2.events import ModelResponse
from ag2.events.types import Usage
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.agents.ag2.native_response import native_of
from services.orchestrator.agents.models.anthropic_wire import answer as anthropic
from services.orchestrator.agents.models.anthropic_wire.request import _answer_blocks
from services.orchestrator.agents.models.gemini_wire import answer as gemini
from services.orchestrator.agents.models.wire.provider_error import (
    IncompleteResponseError,
    ProviderBodyError,
    ProviderError,
)
from services.orchestrator.agents.models.wire.token_counts import MAX_TOKENS
from services.orchestrator.domain.turn_steps import Completed
from tests.orchestrator.agents import anthropic_stub, gemini_stub
from tests.orchestrator.agents.native_turn import WIRES, native_turn
from tests.orchestrator.agents.provider_stub import RawReply

Json = dict[str, Any]
TOOLS = ("look", "ask_user")


def encoded(event: Any) -> bytes:
    return json.dumps(event).encode()


def from_anthropic(*events: Any) -> tuple[ModelResponse, str]:
    """The answer, and the text that was shown. Raises ProviderError."""
    fold = anthropic.AnswerFold()
    shown = [fold.add(encoded(event)) for event in events]
    return fold.response("anthropic", TOOLS), "".join(one.text for one in shown if one)


def from_gemini(*chunks: Any) -> tuple[ModelResponse, str]:
    fold = gemini.AnswerFold()
    shown = [*(fold.add(encoded(chunk)) for chunk in chunks), fold.finish()]
    return fold.response("gemini", TOOLS), "".join(one.text for one in shown if one)


def starts(index: int | None = 0, **block: Any) -> Json:
    place = {} if index is None else {"index": index}
    return {"type": "content_block_start", **place, "content_block": block}


def adds(index: int | None = 0, **delta: Any) -> Json:
    place = {} if index is None else {"index": index}
    return {"type": "content_block_delta", **place, "delta": delta}


def stops(index: int = 0) -> Json:
    return {"type": "content_block_stop", "index": index}


def ends(reason: str | None = "end_turn", **usage: Any) -> list[Json]:
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}
    return [delta, {"type": "message_stop"}]


def part(*parts: Any, **candidate: Any) -> Json:
    content = {"role": "model", "parts": [*parts]}
    return {"candidates": [{"content": content, "index": 0, **candidate}]}


# -- text --------------------------------------------------------------------------------------


def texts(*pieces: str) -> list[Json]:
    return [starts(type="text", text=""), *(adds(type="text_delta", text=one) for one in pieces)]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (("Hel", "lo"), "Hello"),
        (("a \ud83d", "\ude00!"), "a 😀!"),
        (("\ud83d", "x"), "\ufffdx"),
        (("\ude00x", "\ud83d"), "\ufffdx\ufffd"),
        (("", "é\0"), "é\0"),
    ],
)
def test_the_text_is_joined_and_shown_as_it_is_kept(pieces: tuple[str, ...], text: str) -> None:
    response, shown = from_anthropic(*texts(*pieces), stops(), *ends())
    assert response.content == shown == text
    response, shown = from_gemini(
        *(part({"text": one}) for one in pieces), part(finishReason="STOP")
    )
    assert response.content == shown == text
    assert response.finish_reason == "stop"


def test_thinking_is_shown_as_reasoning_and_is_no_text() -> None:
    fold = anthropic.AnswerFold()
    events = [
        starts(0, type="thinking", thinking="Hm"),
        adds(0, type="thinking_delta", thinking=", \ud83d"),
        adds(0, type="signature_delta", signature="s"),
        *texts("So."),
    ]
    shown = [fold.add(encoded(event)) for event in events]
    assert "".join(one.reasoning for one in shown if one) == "Hm, \ufffd"
    assert fold.response("anthropic", TOOLS).content == "So."
    other = gemini.AnswerFold()
    thought = other.add(encoded(part({"text": "Hm", "thought": True}, {"text": "So."})))
    assert thought == gemini.Shown("So.", "Hm")


def test_texts_between_other_blocks_are_one_text() -> None:
    events = [
        *(starts(0, type="text", text="One "), stops(0)),
        *(starts(1, type="thinking", thinking="Hm", signature="s"), stops(1)),
        *(starts(2, type="text"), adds(2, type="text_delta", text="two"), stops(2)),
    ]
    response, shown = from_anthropic(*events, *ends())
    assert response.content == shown == "One two"
    native = native_of(response)
    assert native is not None
    assert [one.kind for one in native.parts] == ["text", "block", "text"]


@pytest.mark.parametrize(
    "noise", [{"type": "ping"}, {"type": "new_event", "x": 1}, {}, [], 3, None]
)
def test_what_is_no_part_of_an_answer_is_skipped(noise: Any) -> None:
    fold = anthropic.AnswerFold()
    assert fold.add(encoded(noise)) is None
    response, _ = from_anthropic(noise, *texts("Hi"), noise, *ends())
    assert response.content == "Hi"


@pytest.mark.parametrize("noise", [{}, [], 3, None, "ping", [None], [[]], {"type": "ping"}])
def test_what_is_no_chunk_is_skipped(noise: Any) -> None:
    assert gemini.AnswerFold().add(encoded(noise)) is None
    response, _ = from_gemini(noise, part({"text": "Hi"}, None, {}, 3), part(finishReason="STOP"))
    assert response.content == "Hi"


@pytest.mark.parametrize("candidates", [None, [], [{}], [{"content": None}], [{"content": {}}], 7])
def test_candidates_without_content_add_nothing(candidates: Any) -> None:
    response, _ = from_gemini({"candidates": candidates}, part({"text": "Hi"}, finishReason="STOP"))
    assert response.content == "Hi"


def test_a_second_candidate_is_left_out() -> None:
    second = {"candidates": [{"index": 1, "content": {"parts": [{"text": "no"}]}}]}
    response, _ = from_gemini(part({"text": "yes"}), second, part(finishReason="STOP"))
    assert response.content == "yes"


async def test_a_whole_answer_in_place_of_a_stream_is_taken() -> None:
    message = {
        "type": "message",
        "model": "claude-x",
        "content": [anthropic_stub.thinking("Hm"), anthropic_stub.text("Whole.")],
        "stop_reason": "end_turn",
        "usage": anthropic_stub.USAGE,
    }
    chunks = [part({"text": "Who"}), part({"text": "le."}, finishReason="STOP")]
    for wire, body in zip(WIRES, (message, chunks), strict=True):
        reply = RawReply([encoded(body)], content_type="application/json")
        with wire.stub(reply).running() as stub:
            outcome, _ = await native_turn(stub, wire.provider)
        assert outcome == Completed("Whole.", None)


# -- tool calls --------------------------------------------------------------------------------


def calls_of(response: ModelResponse) -> list[tuple[str, str, Any]]:
    return [(c.id, c.name, json.loads(c.arguments)) for c in response.tool_calls.calls]


def test_calls_are_told_apart_by_their_index_in_any_order() -> None:
    events = [
        starts(0, type="tool_use", id="a", name="look", input={}),
        starts(1, type="tool_use", id="b", name="functions.ask_user", input={}),
        adds(1, type="input_json_delta", partial_json='{"q": '),
        adds(0, type="input_json_delta", partial_json='{"w": 1}'),
        adds(1, type="input_json_delta", partial_json='"?"}'),
        *(stops(1), stops(0)),
    ]
    response, _ = from_anthropic(*events, *ends("tool_use"))
    assert calls_of(response) == [("a", "look", {"w": 1}), ("b", "ask_user", {"q": "?"})]
    assert response.finish_reason == "tool_calls"


def test_pieces_without_an_index_belong_to_the_newest_block() -> None:
    events = [
        starts(None, type="tool_use", id="a", name="look", input={}),
        adds(None, type="input_json_delta", partial_json='{"w": 1}'),
        starts(None, type="tool_use", id="b", name="look", input={"w": 2}),
    ]
    response, _ = from_anthropic(*events, *ends("tool_use"))
    assert calls_of(response) == [("a", "look", {"w": 1}), ("b", "look", {"w": 2})]


def test_geminis_calls_need_no_id_and_no_arguments() -> None:
    parts = [
        {"functionCall": {"name": "look"}},
        {"functionCall": {"name": " look ", "args": {"w": 1}}},
    ]
    response, _ = from_gemini(part(*parts), part(finishReason="STOP"))
    assert calls_of(response) == [("call_0", "look", {}), ("call_1", "look", {"w": 1})]
    assert response.finish_reason == "tool_calls"
    assert native_of(response) is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (None, "{}"),
        ("", "{}"),
        ('{"w": 1}', '{"w": 1}'),
        ('{"w": ', '{"w": '),
        ([1], "[1]"),
        (5, "5"),
        (False, "false"),
    ],
)
def test_geminis_arguments_in_place_of_an_object_are_not_lost(arguments: Any, text: str) -> None:
    called = part({"functionCall": {"name": "look", "args": arguments}})
    response, _ = from_gemini(called, part(finishReason="STOP"))
    assert [one.arguments for one in response.tool_calls.calls] == [text]


def test_a_call_that_is_cut_is_cut_at_the_limit() -> None:
    events = [
        starts(type="tool_use", id="a", name="look", input={}),
        adds(type="input_json_delta", partial_json='{"w": "le'),
    ]
    response, _ = from_anthropic(*events, *ends("max_tokens"))
    assert response.finish_reason == "length"
    assert response.tool_calls.calls[0].arguments == '{"w": "le'


# -- what goes back ------------------------------------------------------------------------------


def blocks_of(response: ModelResponse) -> list[Json]:
    native = native_of(response)
    return [] if native is None else [p.block for p in native.parts if p.kind == "block"]


def test_blocks_of_kinds_that_are_not_known_go_back_as_they_came() -> None:
    events = [
        starts(0, type="server_tool_use", id="s", name="web_search", input={}),
        adds(0, type="input_json_delta", partial_json='{"query": "rain"}'),
        starts(1, type="web_search_tool_result", tool_use_id="s", content=[{"x": "\ud83d"}]),
        starts(2, type="container_upload", file_id="f"),
        starts(3, type="thinking", thinking="", signature="only a signature"),
    ]
    response, _ = from_anthropic(*events, *ends())
    assert blocks_of(response) == [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "rain"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"x": "\ufffd"}]},
        {"type": "thinking", "thinking": "", "signature": "only a signature"},
    ]


def test_geminis_parts_with_signatures_go_back_apart() -> None:
    signed = {"text": "b", "thoughtSignature": gemini_stub.signature("1")}
    thought = {"text": "Hm", "thought": True, "thoughtSignature": gemini_stub.signature("2")}
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    response, shown = from_gemini(
        part({"text": "a"}),
        part(signed),
        part({"text": "c"}),
        part(thought),
        part(code),
        part({"thought": True, "text": "unsigned"}),
        part(finishReason="STOP"),
    )
    assert response.content == shown == "abc"
    native = native_of(response)
    assert native is not None
    assert [(one.kind, getattr(one, "chars", None)) for one in native.parts] == [
        *(("text", 1), ("text", 1), ("text", 1)),
        *(("block", None), ("block", None)),
    ]
    assert blocks_of(response) == [thought, code]


def test_geminis_images_are_files_of_the_answer() -> None:
    inline = {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}}
    response, _ = from_gemini(part(inline), part(finishReason="STOP"))
    (file,) = response.files
    assert (file.data, file.metadata) == (b"\x89PNG", {"media_type": "image/png"})


# -- usage and errors --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        ([{"input_tokens": 5}, {"output_tokens": 3}], Usage(5, 3, 8)),
        ([{"input_tokens": 5, "output_tokens": 9}, {"output_tokens": 0}], Usage(5, 9, 14)),
        ([{"input_tokens": -5, "output_tokens": 10**30}], Usage()),
        ([{"input_tokens": "7", "output_tokens": True}, None, 3], Usage()),
        (
            [{"input_tokens": 1, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 4}],
            Usage(7, None, 7, 2, 4),
        ),
    ],
)
def test_anthropics_counts_are_bounded_and_the_largest_is_kept(
    reports: list[Any], usage: Usage
) -> None:
    deltas = [{"type": "message_delta", "delta": {}, "usage": one} for one in reports]
    response, _ = from_anthropic(*texts("Hi"), *deltas, *ends())
    assert response.usage == usage


@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        (
            [{"promptTokenCount": 5}, {"promptTokenCount": 5, "candidatesTokenCount": 3}],
            Usage(5, 3, 8),
        ),
        (
            [{"promptTokenCount": 5, "totalTokenCount": 5}, {"promptTokenCount": 0}],
            Usage(5, None, 5),
        ),
        ([{"promptTokenCount": -1, "candidatesTokenCount": MAX_TOKENS + 1}], Usage()),
        ([None, [], {"promptTokenCount": "many"}], Usage()),
    ],
)
def test_geminis_counts_are_bounded_and_the_largest_is_kept(
    reports: list[Any], usage: Usage
) -> None:
    chunks = [{**part({"text": "Hi"}), "usageMetadata": one} for one in reports]
    response, _ = from_gemini(*chunks, part(finishReason="STOP"))
    assert response.usage == usage


@pytest.mark.parametrize(
    "error",
    [{"type": "error", "error": {"type": "api_error"}}, {"error": "busy"}, {"error": {"code": 5}}],
)
def test_an_error_in_place_of_an_answer_is_the_providers(error: Json) -> None:
    with pytest.raises(ProviderBodyError):
        from_anthropic(error)
    with pytest.raises(ProviderBodyError):
        from_gemini(error)


def test_an_event_that_is_cut_is_not_taken() -> None:
    with pytest.raises(IncompleteResponseError):
        anthropic.AnswerFold().add(b'{"type": "content_block')
    with pytest.raises(IncompleteResponseError):
        gemini.AnswerFold().add(b'{"candidates": [')
    with pytest.raises(IncompleteResponseError):
        from_gemini(part({"inlineData": {"data": "!"}}))


def test_an_answer_without_its_end_has_no_finish_reason() -> None:
    assert from_anthropic(*texts("Hi"))[0].finish_reason is None
    assert from_anthropic(*texts("Hi"), {"type": "message_stop"})[0].finish_reason == "stop"
    assert from_anthropic({"type": "message_stop"})[0].finish_reason is None
    assert from_gemini(part({"text": "Hi"}))[0].finish_reason is None


# -- anything ----------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("type", "index", "content_block", "delta", "message", "usage", "text", "thinking"),
        *("signature", "tool_use", "input_json_delta", "text_delta", "partial_json", "name"),
        *("content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
        *("candidates", "content", "parts", "functionCall", "args", "thought", "finishReason"),
        *("thoughtSignature", "usageMetadata", "promptTokenCount", "inlineData", "data"),
        *("promptFeedback", "stop_reason", "\ud83d", "message_start", "message_stop", "id"),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=5))
def test_no_event_of_any_shape_raises_what_is_no_providers_error(events: list[Any]) -> None:
    for read in (from_anthropic, from_gemini):
        try:
            response, _ = read(*events)
        except ProviderError:
            continue
        json.dumps([response.content, native_of(response) and native_of(response).model_dump()])  # type: ignore[union-attr]


BLOCKS = st.one_of(
    st.text(min_size=1, max_size=8).map(anthropic_stub.text),
    st.text(max_size=8).map(anthropic_stub.thinking),
    st.text("abc", max_size=8).map(anthropic_stub.redacted),
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(max_size=3), max_size=2).map(
        lambda args: {**anthropic_stub.tool_use("t", "look"), "input": args}
    ),
)


@given(st.lists(BLOCKS, min_size=1, max_size=6))
def test_every_answer_of_anthropic_goes_back_as_it_came(blocks: list[Json]) -> None:
    fold = anthropic.AnswerFold()
    for piece in anthropic_stub.streamed(*blocks).pieces:
        fold.add(piece.partition(b"data: ")[2])
    sent = list(_answer_blocks(fold.response("anthropic", TOOLS)))
    assert _joined(sent) == _joined(blocks)


def _joined(blocks: list[Json]) -> list[Json]:
    """Without blank texts, and with texts in a row as one: the API takes them alike."""
    joined: list[Json] = []
    for block in blocks:
        if block["type"] == "text" and joined and joined[-1]["type"] == "text":
            joined[-1] = anthropic_stub.text(joined[-1]["text"] + block["text"])
        else:
            joined.append(block)
    return [block for block in joined if block["type"] != "text" or block["text"].strip()]
