"""Turns on the APIs of Anthropic and of Gemini: what these must get back is kept and sent back."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from ag2.response import ResponseSchema
from pydantic import BaseModel

from contracts.events.turn import (
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    ToolReturned,
    UsageRecorded,
)
from services.orchestrator.agents.execution.hooks import Hooks
from services.orchestrator.agents.execution.sent_request import sent_requests
from services.orchestrator.agents.inspection import shown_request
from services.orchestrator.agents.models.errors import classify_exception
from services.orchestrator.agents.models.wire import exchange
from services.orchestrator.agents.models.wire.provider_error import (
    ProviderStatusError,
    error_body_of,
)
from services.orchestrator.cli import prompt
from services.orchestrator.domain.turn_steps import Completed, Failed
from tests.orchestrator.agents import anthropic_stub, gemini_stub
from tests.orchestrator.agents.native_turn import WIRES, Wire, native_turn, resumed_after
from tests.orchestrator.agents.provider_stub import ErrorReply, ProviderStub, RawReply, Reply
from tests.story import NOON

each_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)


def stub_of(wire: Wire, replies: Sequence[Reply] | None = None) -> ProviderStub:
    """By default with the turn of three calls."""
    stub = wire.stub(*(wire.turn if replies is None else replies))
    stub.by_answers = replies is None
    return stub


def said(wire: Wire, *words: str, finish: str | None = None) -> RawReply:
    """A plain answer."""
    if wire.name == "anthropic":
        return anthropic_stub.streamed(*map(anthropic_stub.text, words), stop=finish or "end_turn")
    return gemini_stub.streamed(*({"text": one} for one in words), finish=finish or "STOP")


@each_wire
async def test_a_plain_answer_is_streamed_kept_and_counted(wire: Wire) -> None:
    with stub_of(wire, [said(wire, "Hello, ", "you é 🌧.")]).running() as stub:
        outcome, journal = await native_turn(stub, wire.provider)
    assert outcome == Completed("Hello, you é 🌧.", None)
    assert "".join(text for _, _, text in journal.shown) == "Hello, you é 🌧."
    (responded,) = journal.of(ModelResponded)
    assert (responded.finish_reason, responded.provider) == ("stop", wire.name)
    assert responded.native is None
    tokens = responded.tokens
    assert (tokens.prompt, tokens.completion, tokens.total) == (350, 70, 420)
    assert (tokens.cache_read, tokens.thinking) == (300, 50)
    assert journal.of(UsageRecorded)[0].tokens == tokens
    assert "secret" not in str(journal.events)


@each_wire
async def test_what_the_provider_needs_back_is_sent_with_the_results(wire: Wire) -> None:
    with stub_of(wire).running() as stub:  # it refuses calls without their signed thinking
        outcome, journal = await native_turn(stub, wire.provider)
    assert outcome == Completed("It rains.", None)
    assert len(stub.bodies) == 3
    results = {one.name: one.status for one in journal.of(ToolReturned)}
    assert results == {"weather": "ok", "clock": "ok", "broken": "error"}
    first, second, last = journal.of(ModelResponded)
    assert first.text == "I look. "
    assert [call.name for call in first.tool_calls] == ["weather", "clock"]
    assert first.native is not None
    assert first.native.api == wire.name
    assert {response.finish_reason for response in (first, second)} == {"tool_calls"}
    assert last.finish_reason == "stop"


async def test_anthropics_blocks_are_sent_back_as_they_came_in_their_order() -> None:
    wire = WIRES[0]
    with stub_of(wire).running() as stub:
        await native_turn(stub, wire.provider)
    _, answer, results = stub.bodies[1]["messages"]
    assert answer["content"] == [
        anthropic_stub.thinking("Where? é 🌧"),
        anthropic_stub.redacted("x"),
        anthropic_stub.text("I look. "),
        anthropic_stub.thinking("Both at once."),
        anthropic_stub.tool_use("toolu_1", "weather", town="Bern"),
        anthropic_stub.tool_use("toolu_2", "clock"),
    ]
    assert [one["tool_use_id"] for one in results["content"]] == ["toolu_1", "toolu_2"]
    errors = stub.bodies[2]["messages"][-1]["content"]
    assert [one["is_error"] for one in errors] == [True]


async def test_geminis_parts_are_sent_back_as_they_came() -> None:
    wire = WIRES[1]
    with stub_of(wire).running() as stub:
        _, journal = await native_turn(stub, wire.provider)
    _, answer, results, second, _ = stub.bodies[2]["contents"]
    assert answer["parts"] == [
        {"text": "I look. "},
        gemini_stub.call("weather", "one", town="Bern é"),
        gemini_stub.call("clock"),
    ]
    answers = [part["functionResponse"] for part in results["parts"]]
    assert answers[0] == {"name": "weather", "response": {"result": "rain in Bern é"}}
    assert second["parts"] == [gemini_stub.call("broken", "two", call_id="fc-9")]
    last = journal.of(ModelResponded)[-1].native
    assert last is not None
    assert last.parts[-1].kind == "text"  # an empty one with a signature


@each_wire
async def test_a_turn_that_is_continued_elsewhere_sends_the_same_bytes(wire: Wire) -> None:
    with stub_of(wire).running() as stub:
        outcome, whole = await native_turn(stub, wire.provider)
    for batches in range(len(whole.batches)):
        resumed = resumed_after(whole, batches)
        asked = len(resumed.of(ModelResponded))
        with stub_of(wire).running() as again:
            assert await native_turn(again, wire.provider, resumed) == (outcome, resumed)
        assert again.sent == stub.sent[asked:]
        assert resumed.of(ModelRequested) == whole.of(ModelRequested)
        assert resumed.of(ModelResponded) == whole.of(ModelResponded)


@each_wire
async def test_a_hook_may_change_the_text_beside_what_goes_back(wire: Wire) -> None:
    def edit(_sender: object, text: str, _recipient: object, _silent: bool) -> str:  # noqa: FBT001
        return f"<{text.strip()}>"

    hooks = Hooks([("process_message_before_send", edit)])
    with stub_of(wire).running() as stub:
        outcome, journal = await native_turn(stub, wire.provider, hooks=hooks)
    assert outcome == Completed("<It rains.>", None)
    assert journal.of(ModelResponded)[0].text == "<I look.>"
    assert str(stub.bodies[1]).count("<I look.>") == 1
    assert "I look. " not in str(stub.bodies[1:])


@each_wire
async def test_the_key_is_sent_in_a_header_only(wire: Wire) -> None:
    with stub_of(wire, [said(wire, "Hi")]).running() as stub:
        await native_turn(stub, wire.provider)
    assert "secret" in str(stub.headers)
    assert "secret" not in str(stub.paths) + str(stub.sent)


@each_wire
async def test_every_request_is_shown_with_what_goes_back_besides_the_messages(wire: Wire) -> None:
    with stub_of(wire).running() as stub:
        _, journal = await native_turn(stub, wire.provider)
    requests = list(sent_requests(journal.story.facts, None))
    assert [one.is_exact for one in requests] == [True, True, True]
    assert [list(one.native) for one in requests] == [[], [1], [1, 4]]
    _, second, _ = requests
    assert second.native[1] == journal.of(ModelResponded)[0].native
    assert second.messages[1]["content"] == "I look. "


@pytest.mark.parametrize(
    ("wire", "line"),
    [
        (
            WIRES[0],
            "anthropic as it came: thinking, redacted_thinking, text, thinking, call, call",
        ),
        (WIRES[1], "gemini as it came: text, call, call"),
    ],
)
async def test_people_read_of_what_kinds_that_is(wire: Wire, line: str) -> None:
    with stub_of(wire).running() as stub:
        _, journal = await native_turn(stub, wire.provider)
    second = list(sent_requests(journal.story.facts, None))[1]
    offered: dict[str, Any] = {"tools": [], "mcp_servers": [], "response_schema": None}
    shown = {**shown_request.as_json(second), **offered, "settings": {}}
    assert f"  [goes back to {line}]" in list(prompt.as_text(shown))
    assert json.loads(json.dumps(shown))["native"][0]["message"] == 1


# -- how answers end -----------------------------------------------------------------------------

ENDS = [
    ("anthropic", "refusal", "CONTENT_FILTERED", 1),
    ("anthropic", "pause_turn", "MODEL_BROKE_OFF", 6),
    ("anthropic", "new_word", "MODEL_BROKE_OFF", 3),
    ("gemini", "SAFETY", "CONTENT_FILTERED", 1),
    ("gemini", "PROHIBITED_CONTENT", "CONTENT_FILTERED", 1),
    ("gemini", "RECITATION", "CONTENT_FILTERED", 1),
    ("gemini", "IMAGE_PROHIBITED_CONTENT", "CONTENT_FILTERED", 1),
    ("gemini", "MALFORMED_FUNCTION_CALL", "MODEL_BROKE_OFF", 3),
    ("gemini", "OTHER", "MODEL_BROKE_OFF", 3),
    ("gemini", "FINISH_REASON_UNSPECIFIED", "MODEL_BROKE_OFF", 3),
]


def wire_named(name: str) -> Wire:
    return next(wire for wire in WIRES if wire.name == name)


@pytest.mark.parametrize(("name", "finish", "code", "calls"), ENDS)
async def test_an_answer_that_is_not_whole_fails_with_the_code_that_any_provider_has(
    name: str, finish: str, code: str, calls: int
) -> None:
    wire = wire_named(name)
    with stub_of(wire, [said(wire, "Half", finish=finish)]).running() as stub:
        outcome, journal = await native_turn(stub, replace(wire.provider, thinking=None))
    assert isinstance(outcome, Failed)
    assert (outcome.code, len(stub.bodies)) == (code, calls)
    assert not journal.of(ModelResponded)


@pytest.mark.parametrize(
    ("name", "finish"),
    [
        ("anthropic", "max_tokens"),
        ("anthropic", "model_context_window_exceeded"),
        ("gemini", "MAX_TOKENS"),
    ],
)
async def test_an_answer_that_is_cut_at_its_limit_says_so(name: str, finish: str) -> None:
    wire = wire_named(name)
    with stub_of(wire, [said(wire, "Half", finish=finish)]).running() as stub:
        _, journal = await native_turn(stub, wire.provider)
    assert journal.of(ModelResponded)[0].finish_reason == "length"


async def test_geminis_refusal_of_a_prompt_is_that_of_a_content_filter() -> None:
    wire = WIRES[1]
    blocked = RawReply([gemini_stub.sse({"promptFeedback": {"blockReason": "SAFETY"}})])
    with stub_of(wire, [blocked]).running() as stub:
        outcome, _ = await native_turn(stub, wire.provider)
    assert isinstance(outcome, Failed)
    assert outcome.code == "CONTENT_FILTERED"


@each_wire
async def test_a_broken_off_answer_is_asked_for_again(wire: Wire) -> None:
    whole = said(wire, "Whole.")
    halves = [RawReply(whole.pieces[:cut]) for cut in (0, 1)]
    with stub_of(wire, [*halves, whole]).running() as stub:
        outcome, journal = await native_turn(stub, replace(wire.provider, thinking=None))
    assert outcome == Completed("Whole.", None)
    assert len(stub.bodies) == 3
    assert len(journal.of(ModelResponded)) == 1


async def test_anthropics_paused_answer_is_continued_and_is_one_answer() -> None:
    wire = WIRES[0]
    replies = [
        anthropic_stub.streamed(
            anthropic_stub.thinking("Long."), anthropic_stub.text("First, "), stop="pause_turn"
        ),
        anthropic_stub.streamed(anthropic_stub.text("then.")),
    ]
    with stub_of(wire, replies).running() as stub:
        outcome, journal = await native_turn(stub, wire.provider)
    assert outcome == Completed("First, then.", None)
    assert stub.bodies[1]["messages"][-1] == {
        "role": "assistant",
        "content": [anthropic_stub.thinking("Long."), anthropic_stub.text("First, ")],
    }
    (responded,) = journal.of(ModelResponded)
    assert responded.tokens.completion == 140
    assert responded.native is not None
    assert [part.kind for part in responded.native.parts] == ["block", "text"]


async def test_thinking_without_a_signature_is_not_kept() -> None:
    wire = WIRES[0]
    cut = {"type": "thinking", "thinking": "Cut o", "signature": ""}
    said = anthropic_stub.text("So")
    with stub_of(wire, [anthropic_stub.streamed(cut, said, stop="max_tokens")]).running() as stub:
        _, journal = await native_turn(stub, wire.provider)
    (response,) = journal.of(ModelResponded)
    assert response.native is None or all(one.kind == "text" for one in response.native.parts)


@pytest.mark.parametrize("number", range(2), ids=["anthropic", "gemini"])
async def test_a_call_that_is_cut_is_asked_for_again_with_twice_the_limit(number: int) -> None:
    wire = WIRES[number]
    cut = [
        anthropic_stub.streamed(
            {"type": "thinking", "thinking": "Hm", "signature": ""}, stop="max_tokens"
        ),
        gemini_stub.streamed({"text": "Hm", "thought": True}, finish="MAX_TOKENS"),
    ][number]
    provider = replace(wire.provider, max_tokens=500, thinking=None)
    with stub_of(wire, [cut]).running() as stub:
        outcome, journal = await native_turn(stub, provider)
        limits = [
            one.get("max_tokens") or one["generationConfig"]["maxOutputTokens"]
            for one in stub.bodies
        ]
    assert isinstance(outcome, Failed)
    assert (outcome.code, limits) == ("ANSWER_CUT", [500, 1000])
    assert len(journal.of(ModelCallFailed)) == 2


ANTHROPIC_REFUSES = [
    "output_config.format: Extra inputs are not permitted",
    "This model does not support structured outputs.",
]
GEMINI_REFUSES = "Function calling with a response mime type: 'application/json' is unsupported"
ANSWER = '{"rain": true}'


class Forecast(BaseModel):
    rain: bool


@pytest.mark.parametrize(
    ("name", "refusal", "refusals"),
    [*(("anthropic", one, 1) for one in ANTHROPIC_REFUSES), ("gemini", GEMINI_REFUSES, 2)],
)
async def test_a_model_that_takes_no_schema_is_asked_in_words(
    name: str, refusal: str, refusals: int
) -> None:
    wire = wire_named(name)
    refused = ErrorReply(400, "INVALID_ARGUMENT" if name == "gemini" else None, refusal)
    replies: list[Reply] = [*[refused] * refusals, said(wire, ANSWER)]
    with stub_of(wire, replies).running() as stub:
        outcome, journal = await native_turn(
            stub, wire.provider, response_schema=ResponseSchema(Forecast)
        )
    assert outcome == Completed(ANSWER, None)
    has_parameter = [
        "output_config" in body or "responseMimeType" in body.get("generationConfig", {})
        for body in stub.bodies
    ]
    assert has_parameter == [*[True] * refusals, False]
    assert ["JSON Schema" in str(body) for body in stub.bodies] == [False, *[True] * refusals]
    assert len(journal.of(ModelCallFailed)) == refusals


# -- failures ----------------------------------------------------------------------------------


def google_error(code: int, status: str, message: str = "no", *details: Any) -> RawReply:
    error = {"code": code, "status": status, "message": message, "details": list(details)}
    return RawReply([json.dumps({"error": error}).encode()], code, "application/json")


KEY_INVALID = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.001s"}
DAILY = {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
MINUTELY = {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}
NOW = {"Retry-After": "0"}

FAILURES: list[tuple[str, Reply, str, int]] = [
    ("anthropic", ErrorReply(401, "authentication_error"), "MODEL_ACCESS_DENIED", 1),
    ("anthropic", ErrorReply(403, "permission_error"), "MODEL_ACCESS_DENIED", 1),
    ("anthropic", ErrorReply(404, "not_found_error"), "MODEL_NOT_FOUND", 1),
    ("anthropic", ErrorReply(402, "billing_error"), "MODEL_QUOTA_EXHAUSTED", 1),
    (
        "anthropic",
        ErrorReply(400, None, "Your credit balance is too low to access the API."),
        "MODEL_QUOTA_EXHAUSTED",
        1,
    ),
    ("anthropic", ErrorReply(429, "rate_limit_error", headers=NOW), "MODEL_RATE_LIMITED", 3),
    ("anthropic", ErrorReply(529, "overloaded_error"), "MODEL_FAILED", 3),
    ("anthropic", ErrorReply(500, "api_error"), "MODEL_FAILED", 3),
    ("anthropic", ErrorReply(413, "request_too_large"), "CONTEXT_TOO_LONG", 1),
    (
        "anthropic",
        ErrorReply(400, None, "prompt is too long: 208310 tokens > 200000 maximum"),
        "CONTEXT_TOO_LONG",
        1,
    ),
    (
        "anthropic",
        ErrorReply(400, None, "input length and `max_tokens` exceed context limit: 9 + 9 > 10"),
        "CONTEXT_TOO_LONG",
        1,
    ),
    ("anthropic", ErrorReply(400, None, "messages: odd"), "MODEL_REQUEST_INVALID", 1),
    ("gemini", google_error(400, "INVALID_ARGUMENT", "no", KEY_INVALID), "MODEL_ACCESS_DENIED", 1),
    ("gemini", google_error(403, "PERMISSION_DENIED"), "MODEL_ACCESS_DENIED", 1),
    ("gemini", google_error(404, "NOT_FOUND"), "MODEL_NOT_FOUND", 1),
    (
        "gemini",
        google_error(429, "RESOURCE_EXHAUSTED", "no", MINUTELY, RETRY),
        "MODEL_RATE_LIMITED",
        3,
    ),
    (
        "gemini",
        google_error(429, "RESOURCE_EXHAUSTED", "no", DAILY, RETRY),
        "MODEL_QUOTA_EXHAUSTED",
        1,
    ),
    ("gemini", google_error(503, "UNAVAILABLE", "The model is overloaded."), "MODEL_FAILED", 3),
    ("gemini", google_error(500, "INTERNAL"), "MODEL_FAILED", 3),
    (
        "gemini",
        google_error(
            400,
            "INVALID_ARGUMENT",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        ),
        "CONTEXT_TOO_LONG",
        1,
    ),
    ("gemini", google_error(400, "FAILED_PRECONDITION", "location"), "MODEL_REQUEST_INVALID", 1),
]


def within_stream(kind: str, message: str = "no") -> RawReply:
    start = anthropic_stub.streamed(anthropic_stub.text("Half"), stop=None, end=False)
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return RawReply([*start.pieces, anthropic_stub.sse(error)])


FAILURES += [
    ("anthropic", within_stream("overloaded_error"), "MODEL_FAILED", 3),
    ("anthropic", within_stream("rate_limit_error"), "MODEL_RATE_LIMITED", 3),
    ("anthropic", within_stream("authentication_error"), "MODEL_ACCESS_DENIED", 1),
    ("anthropic", within_stream("invalid_request_error"), "MODEL_REQUEST_INVALID", 1),
    (
        "gemini",
        RawReply([gemini_stub.sse({"error": {"code": 503, "status": "UNAVAILABLE"}})]),
        "MODEL_FAILED",
        3,
    ),
    (
        "gemini",
        RawReply([gemini_stub.sse([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}])]),
        "MODEL_RATE_LIMITED",
        3,
    ),
]


@pytest.mark.parametrize(("name", "reply", "code", "calls"), FAILURES)
async def test_a_failure_has_the_code_that_any_provider_has(
    name: str, reply: Reply, code: str, calls: int
) -> None:
    wire = wire_named(name)
    with stub_of(wire, [reply]).running() as stub:
        outcome, journal = await native_turn(stub, wire.provider)
    assert isinstance(outcome, Failed)
    assert (outcome.code, len(stub.bodies)) == (code, calls)
    assert not journal.of(ModelResponded)
    assert "secret" not in outcome.message


@each_wire
async def test_a_provider_that_does_not_answer_is_unreachable(wire: Wire) -> None:
    stub = stub_of(wire)
    with stub.running():
        pass
    outcome, _ = await native_turn(stub, wire.provider)
    assert outcome == Failed("MODEL_UNREACHABLE", "The model provider does not answer.")


@each_wire
async def test_a_provider_that_sends_nothing_but_pings_does_not_answer(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SILENT_SECONDS", 0.0)
    pings = RawReply([anthropic_stub.sse({"type": "ping"})] * 3)
    with stub_of(wire, [pings]).running() as stub:
        outcome, _ = await native_turn(stub, wire.provider)
    assert outcome == Failed("MODEL_UNREACHABLE", "The model provider does not answer.")


@pytest.mark.parametrize(
    ("name", "unknown"),
    [
        ("anthropic", ErrorReply(404, "not_found_error", "model: claude-x")),
        ("gemini", google_error(404, "NOT_FOUND", "models/gemini-3-x is not found")),
    ],
)
async def test_the_model_to_fall_back_to_is_asked_where_the_first_is_not_known(
    name: str, unknown: Reply
) -> None:
    wire = wire_named(name)
    with stub_of(wire, [unknown, said(wire, "Here.")]).running() as stub:
        provider = replace(wire.provider, thinking=None, fallback="older")
        outcome, _ = await native_turn(stub, provider)
    assert outcome == Completed("Here.", None)
    assert "older" in stub.paths[1] + str(stub.bodies[1].get("model"))


def test_the_delay_is_the_one_that_the_provider_asks_for() -> None:
    busy = google_error(429, "RESOURCE_EXHAUSTED", "no", {**RETRY, "retryDelay": "39.5s"})
    body = error_body_of(busy.pieces[0])

    def delay(**headers: str) -> float | None:
        failure = classify_exception(ProviderStatusError(429, headers, body), "m", NOON)
        assert failure is not None
        return failure.retry_after

    assert delay() == 39.5
    assert delay(**{"retry-after": "7"}) == 7.0
    odd = google_error(
        429, "RESOURCE_EXHAUSTED", "no", {"retryDelay": "soon"}, 3, {"violations": 3}
    )
    assert error_body_of(odd.pieces[0]).retry_after is None
