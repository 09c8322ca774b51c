"""Whatever a provider sends becomes one clear outcome: an answer, or a failure with a code."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    ModelMessageChunk,
    ModelReasoning,
    ModelRequest,
    ModelResponse,
    TextInput,
)
from ag2.events.types import Usage
from ag2.tools import tool
from fast_depends.pydantic.serializer import PydanticSerializer
from pydantic import SecretStr

from services.orchestrator.agents.ag2.durable_stream import DurableStream
from services.orchestrator.agents.ag2.native_response import native_of
from services.orchestrator.agents.models.errors import classify_exception
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.openai_wire.config import OpenAIWireConfig
from services.orchestrator.agents.models.response_check import classify_response
from services.orchestrator.agents.models.wire import exchange
from services.orchestrator.agents.models.wire.provider_error import ProviderError
from services.orchestrator.domain.turn_steps import Completed
from tests.orchestrator.agents.provider_stub import ANSWER, ProviderStub, RawReply, Reply
from tests.orchestrator.agents.provider_turn import run_turn_with
from tests.story import NOON

Chunk = dict[str, Any]
DONE = b"data: [DONE]\n\n"


@tool
def echo(text: str) -> str:
    """Return the text."""
    return text


async def answer(reply: Reply) -> tuple[ModelResponse, list[BaseEvent]]:
    """A provider's answer, and what was shown while it came. Raises ProviderError."""
    shown: list[BaseEvent] = []

    async def show(event: BaseEvent, _: ConversationContext) -> BaseEvent:
        shown.append(event)
        return event

    context = ConversationContext(DurableStream(show), prompt=["You write."])
    with ProviderStub(reply).running() as stub:
        async with shared_http_client() as http:
            config = OpenAIWireConfig("m", SecretStr("key"), stub.url, http)
            response = await config.create()(
                [ModelRequest([TextInput("Rain?")])],
                context,
                tools=[echo.schema],
                response_schema=None,
                serializer=PydanticSerializer(),
            )
    return response, shown


async def outcome(reply: Reply) -> str | None:
    """The code of a failure; none for an answer that is accepted."""
    try:
        response, _ = await answer(reply)
    except ProviderError as error:
        failure = classify_exception(error, "m", NOON)
        assert failure is not None
    else:
        failure = classify_response(response)
    return None if failure is None else failure.code


def event(chunk: Any) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def stream(*chunks: Any, end: bytes = DONE) -> RawReply:
    return RawReply([*map(event, chunks), end])


def delta(finish: str | None = None, **members: Any) -> Chunk:
    choice = {"index": 0, "delta": members, "finish_reason": finish}
    return {"id": "c-1", "model": "m-1", "choices": [choice]}


STOP = delta("stop")


def call(name: str | None = None, arguments: Any = None, **members: Any) -> Chunk:
    function = {"name": name, "arguments": arguments}
    present = {key: value for key, value in function.items() if value is not None}
    return {**members, "type": "function", "function": present}


def calls_of(response: ModelResponse) -> list[tuple[str, Any]]:
    return [(one.name, json.loads(one.arguments)) for one in response.tool_calls.calls]


# -- text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([delta(content="Hel"), delta(content="lo"), STOP], "Hello"),
        ([delta(content="a \ud83d"), delta(content="\ude00!"), STOP], "a 😀!"),
        ([delta(content="\ud83d"), delta(content="x"), STOP], "\ufffdx"),
        ([delta(content="\ude00x"), delta(content="\ud83d"), STOP], "\ufffdx\ufffd"),
        (
            [delta(content=[{"type": "text", "text": "par"}, {"text": "ts"}, "!", 3]), STOP],
            "parts!",
        ),
        ([delta(content=[{"type": "thinking", "text": "hm"}, {"text": "so"}]), STOP], "so"),
        ([delta(refusal="I "), delta(refusal="won't."), STOP], "I won't."),
        ([{"choices": None}, {}, {"choices": []}, delta(content="a"), STOP], "a"),
        ([[], "ping", 3, None, {"type": "ping"}, delta(content="a"), STOP], "a"),
        ([{"choices": [{"delta": None}]}, {"choices": [None]}, delta(content="a"), STOP], "a"),
        ([{"choices": {"delta": {"content": "a"}, "finish_reason": "stop"}}], "a"),
        ([delta(content=None, tool_calls=None, refusal=None), delta(content="a"), STOP], "a"),
        (
            [
                {"choices": [{"index": 0, "delta": {"content": "a"}}]},
                {"choices": [{"index": 1, "delta": {"content": "b"}}]},
                STOP,
            ],
            "a",
        ),
        (
            [
                delta(content="a"),
                {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]},
            ],
            "a",
        ),
    ],
)
async def test_the_text_is_put_together(chunks: Sequence[Any], text: str) -> None:
    response, shown = await answer(stream(*chunks))
    assert response.content == text
    assert "".join(one.content for one in shown if isinstance(one, ModelMessageChunk)) == text
    assert classify_response(response) is None


@pytest.mark.parametrize(
    "pieces",
    [
        [b": keep-alive\n\n", b"event: ping\ndata: {}\n\n", b"data: ping\n\n"],
        [b"id: 1\nretry: 10\n", b"data:[]\n\n"],
        [b"\xef\xbb\xbf\r\n\r\n"],
        [b"data: \n\ndata: [PING]\n\ndata: [1,\n\n"],
    ],
)
async def test_what_is_no_chunk_is_skipped(pieces: Sequence[bytes]) -> None:
    response, _ = await answer(RawReply([*pieces, event(delta("stop", content="a")), DONE]))
    assert (response.content, response.finish_reason) == ("a", "stop")


EMOJI = "😀".encode()


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([EMOJI[:2], EMOJI[2:]], "😀"),
        ([EMOJI[:1], EMOJI[1:2], EMOJI[2:3], EMOJI[3:]], "😀"),
        ([b"a" + EMOJI[:3], EMOJI[3:] + b"b"], "a😀b"),
        (["é".encode()[:1], "é".encode()[1:] + EMOJI[:3], EMOJI[3:]], "é😀"),
        (["水".encode()[:1], b"", "水".encode()[1:]], "水"),
        ([b"a" + EMOJI[:2]], "a\ufffd"),
        ([EMOJI[:2], b"x"], "\ufffdx"),
        ([EMOJI[2:], b"x"], "\ufffd\ufffdx"),
        ([EMOJI[:3], EMOJI], "\ufffd😀"),
        ([b"\xff\xfe", b"x"], "\ufffd\ufffdx"),
        ([rb"\ud83d", rb"\ude00"], "😀"),
        ([rb"\ud83d", EMOJI], "\ufffd😀"),
        ([rb"\ud83d" + EMOJI[:2], EMOJI[2:]], "\ufffd😀"),
    ],
)
async def test_a_character_is_joined_that_is_cut_between_two_chunks(
    pieces: Sequence[bytes], text: str
) -> None:
    chunks = [event(delta(content="?")).replace(b"?", piece) for piece in pieces]
    response, shown = await answer(RawReply([*chunks, event(STOP), DONE]))
    assert response.content == text
    assert "".join(one.content for one in shown if isinstance(one, ModelMessageChunk)) == text
    in_reasoning = [one.replace(b"content", b"reasoning") for one in chunks]
    _, shown = await answer(RawReply([*in_reasoning, event(STOP), DONE]))
    assert "".join(one.content for one in shown if isinstance(one, ModelReasoning)) == text


async def test_a_character_is_joined_that_is_cut_in_the_arguments_of_a_call() -> None:
    def piece(arguments: bytes, **members: Any) -> bytes:
        chunk = delta(tool_calls=[call(members.pop("name", None), "?", index=0, **members)])
        return event(chunk).replace(b"?", arguments)

    pieces = [
        piece(rb"{\"text\": \"" + EMOJI[:2], name="echo", id="x"),
        piece(EMOJI[2:] + rb"\ud83d"),
        piece(rb"\ude00\"}"),
    ]
    response, _ = await answer(RawReply([*pieces, event(STOP), DONE]))
    assert calls_of(response) == [("echo", {"text": "😀😀"})]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_it_does_not_matter_where_the_network_cuts_an_answer(size: int) -> None:
    data = event(delta(content="a😀水é")) + event(delta(content="\ud83d")) + event(STOP) + DONE
    data = data.replace(rb"\ud83d\ude00", EMOJI)
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    response, _ = await answer(RawReply(pieces))
    assert response.content == "a😀水é\ufffd"


async def test_what_the_provider_reasoned_is_kept_under_its_own_name() -> None:
    for name in ("reasoning", "reasoning_content"):
        response, _ = await answer(stream(delta(**{name: "It "}), delta(**{name: "rains."}), STOP))
        native = native_of(response)
        assert native is not None
        assert [one.model_dump() for one in native.parts] == [
            {"kind": "block", "block": {name: "It rains."}}
        ]
    plain, _ = await answer(stream(delta(content="a"), STOP))
    assert native_of(plain) is None


async def test_the_thinking_parts_of_a_content_are_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "It rains."}]}
    response, shown = await answer(stream(delta(content=[thinking]), delta(content="So."), STOP))
    assert response.content == "So."
    assert [one.content for one in shown if isinstance(one, ModelReasoning)] == ["It rains."]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_reasoning_is_shown_but_is_no_answer(name: str) -> None:
    response, shown = await answer(stream(delta(**{name: "hm \ud83d"}), STOP))
    assert response.message is None
    assert "".join(one.content for one in shown if isinstance(one, ModelReasoning)) == "hm \ufffd"


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", "text/plain"])
@pytest.mark.parametrize("indent", [None, 2])
async def test_a_whole_completion_is_taken_in_place_of_a_stream(
    content_type: str, indent: int | None
) -> None:
    message = {"role": "assistant", "content": "Hello", "tool_calls": [call("echo", "{}", id="a")]}
    completion = {
        "id": "c-1",
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    body = json.dumps(completion, indent=indent).encode()
    response, shown = await answer(RawReply([body], content_type=content_type))
    assert (response.content, calls_of(response)) == ("Hello", [("echo", {})])
    assert response.usage.total_tokens == 3
    assert classify_response(response) is None
    assert [one.content for one in shown if isinstance(one, ModelMessageChunk)] == ["Hello"]


async def test_what_identifies_an_answer_is_text() -> None:
    chunk = {**delta("stop", content="a"), "id": 7, "model": "m\ud83d"}
    response, _ = await answer(stream(chunk))
    assert (response.response_id, response.model) == ("7", "m\ufffd")


# -- tool calls --------------------------------------------------------------------------------

A, B = ("echo", {"text": "a"}), ("echo", {"text": "b"})
JSON_A, JSON_B = '{"text": "a"}', '{"text": "b"}'


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        # in the form of OpenAI, one after the other and interleaved
        (
            [
                [call("echo", "", index=0, id="x")],
                [call(None, '{"text"', index=0)],
                [call(None, ': "a"}', index=0)],
                [call("echo", JSON_B, index=1, id="y")],
            ],
            [A, B],
        ),
        (
            [
                [call("echo", "", index=0, id="x"), call("echo", "", index=1, id="y")],
                [call(None, '{"text":', index=1), call(None, '{"text":', index=0)],
                [call(None, '"a"}', index=0)],
                [call(None, '"b"}', index=1)],
            ],
            [A, B],
        ),
        # without an index: in one chunk, in two, in pieces, without ids
        ([[call("echo", JSON_A, id="x"), call("echo", JSON_B, id="y")]], [A, B]),
        ([[call("echo", JSON_A, id="x")], [call("echo", JSON_B, id="y")]], [A, B]),
        (
            [
                [call("echo", '{"text":', id="x")],
                [call(None, '"a"}')],
                [call("echo", '{"text":', id="y")],
                [call(None, '"b"}')],
            ],
            [A, B],
        ),
        ([[call("echo", JSON_A), call("echo", JSON_B)]], [A, B]),
        ([[call("echo", JSON_A)], [call("echo", JSON_B)]], [A, B]),
        (
            [
                [call("echo"), call("echo")],
                [call(None, '{"text":'), call(None, '{"text":')],
                [call(None, '"a"}'), call(None, '"b"}')],
            ],
            [A, B],
        ),
        # all with the same index, with and without ids
        (
            [[call("echo", JSON_A, index=0, id="x")], [call("echo", JSON_B, index=0, id="y")]],
            [A, B],
        ),
        ([[call("echo", JSON_A, index=0), call("echo", JSON_B, index=0)]], [A, B]),
        (
            [
                [call("echo", "", index=0, id="x")],
                [call(None, JSON_A, index=0)],
                [call("echo", "", index=0, id="y")],
                [call(None, JSON_B, index=0)],
            ],
            [A, B],
        ),
        # counted from 1, with gaps, out of order, as text
        (
            [[call("echo", JSON_A, index=1, id="x")], [call("echo", JSON_B, index=2, id="y")]],
            [A, B],
        ),
        (
            [[call("echo", JSON_A, index=3, id="x")], [call("echo", JSON_B, index=9, id="y")]],
            [A, B],
        ),
        (
            [[call("echo", JSON_B, index=1, id="y")], [call("echo", JSON_A, index=0, id="x")]],
            [A, B],
        ),
        (
            [[call("echo", '{"text":', index="0", id="x")], [call(None, '"a"}', index="0")]],
            [A],
        ),
        # the same id twice, an id that changes with every piece, a name that is repeated
        ([[call("echo", JSON_A, index=0, id="x"), call("echo", JSON_B, index=1, id="x")]], [A, B]),
        ([[call("echo", JSON_A, id="x"), call("echo", JSON_B, id="x")]], [A, B]),
        ([[call("echo", '{"text":', index=0, id="x")], [call(None, '"a"}', index=0, id="z")]], [A]),
        ([[call("echo", '{"text":', index=0, id="x")], [call("echo", '"a"}', index=0)]], [A]),
        # ids that are numbers, arguments that are objects, no arguments
        ([[call("echo", {"text": "a"}, index=0, id=1)]], [A]),
        (
            [[call("echo", None, index=0, id="x")], [call("echo", "", index=1, id="y")]],
            [("echo", {})] * 2,
        ),
        # a name in pieces: with and without ids and numbers, before and with the arguments
        (
            [
                [call("ec", "", index=0, id="x")],
                [call("ho", "", index=0)],
                [call(None, JSON_A, index=0)],
            ],
            [A],
        ),
        ([[call("e")], [call("ch")], [call("o", '{"text":')], [call(None, '"a"}')]], [A]),
        (
            [
                [call("ec", "", index=0, id="x"), call("ec", "", index=1, id="y")],
                [call("ho", "", index=0), call("ho", "", index=1)],
                [call(None, JSON_A, index=0), call(None, JSON_B, index=1)],
            ],
            [A, B],
        ),
        ([[call("ec", "", id="x")], [call("ho", JSON_A, id="x")]], [A]),
        ([[call("functions.", "", index=0)], [call("echo", JSON_A, index=0)]], [A]),
        ([[call("echo", "", index=0)], [call("echo", JSON_A, index=0)]], [A]),
        ([[call("no_", "", index=0)], [call("such", JSON_A, index=0)]], [("no_such", A[1])]),
        # ghosts
        ([[call("echo", JSON_A, index=1, id="x"), call("", "", index=0)]], [A]),
        (
            [
                [call("echo", JSON_A, index=0, id="x")],
                [{"index": 1}, None, {"index": 2, "id": "z"}],
            ],
            [A],
        ),
        # names that a model spells its own way
        ([[call(" echo ", JSON_A, id="x")]], [A]),
        ([[call("functions.echo", JSON_A, id="x")]], [A]),
        ([[call("Echo", JSON_A, id="x")]], [A]),
        ([[call("multi_tool_use.parallel", "{}", id="x")]], [("multi_tool_use_parallel", {})]),
        ([[call("e\ud83d", "{}", id="x")]], [("e", {})]),
        ([[call("", JSON_A, id="x")]], [("unnamed", {"text": "a"})]),
    ],
)
async def test_tool_calls_are_told_apart(
    chunks: Sequence[Any], calls: Sequence[tuple[str, Any]]
) -> None:
    response, _ = await answer(
        stream(*(delta(tool_calls=one) for one in chunks), delta("tool_calls"))
    )
    found = [(name, arguments or {}) for name, arguments in _lenient_calls(response)]
    assert found == list(calls)
    ids = [one.id for one in response.tool_calls.calls]
    assert "" not in ids
    assert all(type(one) is str for one in ids)


def _lenient_calls(response: ModelResponse) -> list[tuple[str, Any]]:
    return [(one.name, json.loads(one.arguments or "{}")) for one in response.tool_calls.calls]


async def test_a_call_without_a_list_and_a_legacy_call_are_taken() -> None:
    for members in (
        {"tool_calls": call("echo", JSON_A, id="x")},
        {"function_call": {"name": "echo", "arguments": JSON_A}},
    ):
        response, _ = await answer(stream(delta(**members), delta("function_call")))
        assert (calls_of(response), response.finish_reason) == ([A], "tool_calls")


async def test_a_legacy_call_in_pieces_is_one_call() -> None:
    response, _ = await answer(
        stream(
            delta(function_call={"name": "echo", "arguments": ""}),
            delta(function_call={"arguments": '{"text":'}),
            delta(function_call={"arguments": ' "a"}'}),
            delta("function_call"),
        )
    )
    assert calls_of(response) == [A]


@pytest.mark.parametrize(
    "calls",
    [
        [call("multi_tool_use.parallel", "{}", id="x")],
        [call(" ", JSON_A, id="x")],
        [call("a" * 100, JSON_A, id="x")],
        [call("echo", JSON_A, id="x"), call("echo", JSON_B, id="x")],
        [call("echo", JSON_A), call("echo", JSON_B)],
        [call("echo", "[1, 2", index=0, id=1), call("", "", index=1)],
    ],
)
async def test_after_any_calls_the_next_request_is_one_that_strict_providers_accept(
    calls: list[Any],
) -> None:
    reply = stream(delta(tool_calls=calls), delta("tool_calls"))
    outcome, _, requests = await run_turn_with(reply, ANSWER)
    assert (outcome, requests) == (Completed("At last.", None), 2)


# -- ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["stop", "STOP", "end_turn", "length", "MAX_TOKENS", "eos", ""])
async def test_a_whole_answer_is_accepted(finish: str) -> None:
    assert await outcome(stream(delta(content="a"), delta(finish))) is None


async def test_an_answer_without_finish_reason_is_accepted_after_the_mark_of_its_end() -> None:
    assert await outcome(stream(delta(content="a"))) is None
    assert await outcome(stream(delta(content="a"), end=b"")) == "MODEL_BROKE_OFF"
    assert await outcome(stream(delta(tool_calls=[call("echo", "{}")]))) is None
    assert await outcome(stream(delta(content="a"), end=b"data: [DONE]")) is None


@pytest.mark.parametrize(
    "reply",
    [
        stream(delta(content="a"), delta("error")),
        stream(delta(content="a"), delta("insufficient_system_resource")),
        stream(delta(content="a"), delta("error"), delta("stop")),
        stream(delta("stop", content="a"), delta("error")),
        stream(delta(content="a"), delta("some_new_word")),
        stream(),
        stream(end=b""),
        RawReply([event(delta(content="a")), b'data: {"choices": [{"del']),
        RawReply([b"<html>Bad gateway</html>"], content_type="text/html"),
        RawReply([b'{"choices": [{"message": {"content": "a"']),
        RawReply([b"[" * 100_000]),
    ],
)
async def test_an_answer_that_is_not_whole_is_none(reply: RawReply) -> None:
    assert await outcome(reply) == "MODEL_BROKE_OFF"


@pytest.mark.parametrize("finish", ["content_filter", "SAFETY", "RECITATION", "sensitive"])
async def test_a_filtered_answer_has_its_code(finish: str) -> None:
    assert await outcome(stream(delta(content="a"), delta(finish))) == "CONTENT_FILTERED"


# -- errors ------------------------------------------------------------------------------------

QUOTA = {"message": "no credit", "code": "insufficient_quota"}


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (stream({"error": QUOTA}), "MODEL_QUOTA_EXHAUSTED"),
        (stream(delta(content="a"), {"error": QUOTA}), "MODEL_QUOTA_EXHAUSTED"),
        (RawReply([json.dumps({"error": QUOTA}).encode()]), "MODEL_QUOTA_EXHAUSTED"),
        (
            RawReply(
                [json.dumps({"error": QUOTA}, indent=1).encode()], content_type="application/json"
            ),
            "MODEL_QUOTA_EXHAUSTED",
        ),
        (RawReply([json.dumps([{"error": QUOTA}]).encode()]), "MODEL_QUOTA_EXHAUSTED"),
        (RawReply([b"event: error\n" + event(QUOTA)]), "MODEL_QUOTA_EXHAUSTED"),
        (stream({"error": "overloaded"}), "MODEL_FAILED"),
        (stream({"error": {"code": 429}}), "MODEL_RATE_LIMITED"),
        (stream({"object": "error", "message": "no", "code": 400}), "MODEL_REQUEST_INVALID"),
        (RawReply([b'[{"error": {"code": 404}}]'], 404), "MODEL_NOT_FOUND"),
        (RawReply([b'{"detail": "prompt is too long"}'], 400), "CONTEXT_TOO_LONG"),
        (RawReply([b"context length exceeded"], 413), "CONTEXT_TOO_LONG"),
        (RawReply([b'{"error": {"message": null, "code": null}}'], 500), "MODEL_FAILED"),
        (RawReply([b"\xff" * 100_000], 502), "MODEL_FAILED"),
        (RawReply([b'{"error": "bad"}'], 302), "MODEL_REQUEST_INVALID"),
    ],
)
async def test_an_error_has_its_code_wherever_it_stands(reply: RawReply, code: str) -> None:
    assert await outcome(reply) == code


async def test_a_provider_that_sends_comments_only_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "SILENT_SECONDS", 0.0)
    comments = [b": keep-alive\n\n"] * 3
    whole = stream(*[delta(content="a")] * 100, STOP)
    assert await outcome(RawReply([*comments, *whole.pieces])) == "MODEL_UNREACHABLE"


async def test_an_answer_without_end_is_not_read_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_RESPONSE_BYTES", 1000)
    assert await outcome(stream(*[delta(content="a" * 100)] * 100, STOP)) == "MODEL_BROKE_OFF"


# -- usage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reports", "usage"),
    [
        ([(10, 2, 12)], (10, 2, 12)),
        ([(10, 1, 11), (10, 2, 12), (0, 0, 0)], (10, 2, 12)),
        ([(-1, 2, 12)], (None, 2, 12)),
        ([(10**30, 2, 12)], (None, 2, 12)),
        ([(10.0, 2, 1e400)], (10, 2, 12)),
        ([(True, "2", [12])], (None, None, None)),
        ([(10, 2, None)], (10, 2, 12)),
    ],
)
async def test_usage_is_bounded_and_the_largest_counts(
    reports: Sequence[tuple[Any, Any, Any]], usage: tuple[Any, Any, Any]
) -> None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    chunks = [{"choices": [], "usage": dict(zip(names, one, strict=True))} for one in reports]
    response, _ = await answer(stream(delta("stop", content="a"), *chunks))
    assert response.usage == Usage(**dict(zip(names, usage, strict=True)))


@pytest.mark.parametrize("usage", [None, [], "12", {}, {"prompt_tokens_details": 3}])
async def test_a_usage_of_another_shape_is_ignored(usage: Any) -> None:
    response, _ = await answer(stream({**delta("stop", content="a"), "usage": usage}))
    assert response.usage == Usage()
    assert response.content == "a"


async def test_cached_and_reasoning_tokens_are_counted() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 8},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    response, _ = await answer(stream({**delta("stop", content="a"), "usage": usage}))
    assert (response.usage.cache_read_input_tokens, response.usage.thinking_tokens) == (8, 3)
