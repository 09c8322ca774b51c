"""Whatever a provider sends: one clear outcome, as few paid calls as possible, and it can be sent again.

Each reply is that of a whole turn. What is kept of it then goes to a strict provider in another turn.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from contracts.deltas import Delta
from contracts.events.turn import ModelCallFailed, ModelResponded, OutputStructured, ToolReturned
from services.orchestrator.domain.turn_steps import Completed, Failed
from tests.orchestrator.agents.execution.test_failed_model_calls import BAKER, DONE, policy
from tests.orchestrator.agents.provider_stub import ANSWER, ProviderStub, RawReply, StreamedReply
from tests.orchestrator.agents.provider_turn import run_turn
from tests.orchestrator.agents.turn_harness import MemoryJournal
from tests.story import done, heard, speaks

ANSWERED = Completed("At last.", None)
INTERNALS = ("NoneType", "Traceback", "object is not", "Error:", "KeyError", ".py", "utf-8")

Chunk = Mapping[str, Any]


def echo(text: str = "") -> str:
    """Return the text."""
    return text


class Journal(MemoryJournal):
    async def show(self, delta: Delta) -> None:
        if delta.turn == 1:
            await super().show(delta)


def sse(*chunks: Any, end: bytes = DONE) -> RawReply:
    return RawReply([*(f"data: {json.dumps(one)}\n\n".encode() for one in chunks), end])


def delta(finish: str | None = None, **members: Any) -> Chunk:
    choice = {"index": 0, "delta": members, "finish_reason": finish}
    return {"id": "c-1", "model": "m-1", "choices": [choice]}


def call(name: str | None, arguments: Any, **members: Any) -> Chunk:
    return {**members, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*pieces: Sequence[Any], finish: str = "tool_calls") -> RawReply:
    return sse(*(delta(tool_calls=list(one)) for one in pieces), delta(finish))


def text(*chunks: Any, finish: str | None = "stop", end: bytes = DONE) -> RawReply:
    return sse(*(delta(content=one) for one in chunks), delta(finish), end=end)


async def run(reply: Any) -> tuple[Any, Journal, int]:
    """The outcome of a turn, its journal and the number of requests; then there is another turn."""
    with ProviderStub(reply, ANSWER).running() as stub:
        outcome, journal = await run_turn(stub, policy(), journal=Journal(), tools=[echo])
        requests = len(stub.bodies)
        if isinstance(outcome, Completed):
            story = journal.story.then(done(outcome.text, 1), heard("Again."), speaks(turn=2))
            again, _ = await run_turn(stub, policy(), journal=Journal(story), tools=[echo])
            assert again == ANSWERED
    for one in journal.events:
        one.model_dump_json().encode()
    assert isinstance(journal, Journal)
    return outcome, journal, requests


# -- tool calls --------------------------------------------------------------------------------

A, B = '{"text": "a"}', '{"text": "b"}'

CALLS: Mapping[str, tuple[RawReply, list[tuple[str, Any]]]] = {
    "no index": (
        calls([call("echo", A, id="x")], [call("echo", B, id="y")]),
        [("echo", "a"), ("echo", "b")],
    ),
    "one index for all": (
        calls([call("echo", A, index=0, id="x"), call("echo", B, index=0, id="y")]),
        [("echo", "a"), ("echo", "b")],
    ),
    "counted from 1": (
        calls([call("echo", A, index=1, id="x")], [call("echo", B, index=2, id="y")]),
        [("echo", "a"), ("echo", "b")],
    ),
    "gaps": (calls([call("echo", A, index=4, id="x")], [call(None, "", index=0)]), [("echo", "a")]),
    "arguments as an object": (
        calls([call("echo", {"text": "a"}, index=0, id="x")]),
        [("echo", "a")],
    ),
    "ids that are numbers": (
        calls([call("echo", A, id=1), call("echo", B, id=2)]),
        [("echo", "a"), ("echo", "b")],
    ),
    "no ids": (calls([call("echo", A), call("echo", B)]), [("echo", "a"), ("echo", "b")]),
    "the same id": (
        calls([call("echo", A, index=0, id="x"), call("echo", B, index=1, id="x")]),
        [("echo", "a"), ("echo", "b")],
    ),
    "an empty id": (calls([call("echo", A, index=0, id="")]), [("echo", "a")]),
    "an id of 100 characters": (calls([call("echo", A, id="x" * 100)]), [("echo", "a")]),
    "sixty calls with one id": (
        calls([call("echo", A, index=number, id="x") for number in range(60)]),
        [("echo", "a")] * 60,
    ),
    "half a character in the id": (calls([call("echo", A, id="x\ud83d")]), [("echo", "a")]),
    "a name in pieces": (
        calls(
            [call("ec", "", index=0, id="x")], [call("ho", "", index=0)], [call(None, A, index=0)]
        ),
        [("echo", "a")],
    ),
    "a name with a prefix": (calls([call("functions.echo", A, id="x")]), [("echo", "a")]),
    "a name with a channel": (calls([call("echo<|channel|>json", A, id="x")]), [("echo", "a")]),
    "a numbered name": (calls([call("functions.echo:0", A, id="x")]), [("echo", "a")]),
    "a name with spaces": (calls([call(" echo ", A, id="x")]), [("echo", "a")]),
    "finish stop": (calls([call("echo", A, id="x")], finish="stop"), [("echo", "a")]),
    "finish of the legacy form": (
        sse(delta(function_call={"name": "echo", "arguments": A}), delta("function_call")),
        [("echo", "a")],
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_calls_of_any_form_are_made_once_each(name: str) -> None:
    reply, expected = CALLS[name]
    outcome, journal, requests = await run(reply)
    assert (outcome, requests) == (ANSWERED, 2)
    first = journal.of(ModelResponded)[0]
    found = [(one.name, json.loads(one.arguments)["text"]) for one in first.tool_calls]
    assert found == expected
    assert len({one.id for one in first.tool_calls}) == len(expected)


UNKNOWN = [
    *("multi_tool_use.parallel", "functions.nothing", "", " ", "no such tool!", "x" * 100),
    *("<|channel|>final", "echo\ud83d\nlook", "工具", "a.b.c", "$web_search", "-"),
]


@pytest.mark.parametrize("name", UNKNOWN)
async def test_an_unknown_tool_is_named_in_its_result_and_accepted_back(name: str) -> None:
    outcome, journal, requests = await run(calls([call(name, A, index=0, id="x")]))
    assert (outcome, requests) == (ANSWERED, 2)
    (result,) = journal.of(ToolReturned)
    assert result.status in ("not_found", "error", "ok")
    assert result.name == "echo" or "There is no tool named" in str(result.error)


def nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = {"text": value}
    return value


MALFORMED: list[Any] = [
    *("[1, 2", '"text"', "[]", "null", "{'text': 'a'}", '{"text": "a"', "NaN", "{" * 500),
    *('{"text": NaN}', '{"text": "a",}', '{"text": "a"}{"text": "b"}', '"{\\"text\\": \\"a\\"}"'),
    *(["a"], 7, False, nested(400)),
    *("5", "text=a", '{"text": ' + "[" * 5_000 + "]" * 5_000 + "}"),
]


@pytest.mark.parametrize("arguments", MALFORMED)
async def test_malformed_arguments_are_an_error_and_the_tool_is_not_called(arguments: Any) -> None:
    outcome, journal, requests = await run(calls([call("echo", arguments, index=0, id="x")]))
    assert (outcome, requests) == (ANSWERED, 2)
    assert len(journal.of(ModelResponded)[0].tool_calls) == 1
    (result,) = journal.of(ToolReturned)
    assert result.status == "error"
    assert "echo was not called: its arguments are not one complete JSON object." in str(
        result.error
    )


@pytest.mark.parametrize("arguments", ["", "{}", " {} ", '{"text": "malformed"}'])
async def test_no_arguments_are_an_empty_object(arguments: str) -> None:
    outcome, journal, _ = await run(calls([call("echo", arguments, index=0, id="x")]))
    assert outcome == ANSWERED
    assert [one.status for one in journal.of(ToolReturned)] == ["ok"]


# -- texts -------------------------------------------------------------------------------------

EMOJI = "😀".encode()
TEXTS: Mapping[str, tuple[RawReply, str]] = {
    "halves of a pair": (text("a \ud83d", "\ude00!"), "a 😀!"),
    "half a pair at the end": (text("a \ud83d"), "a \ufffd"),
    "half a pair in the middle": (text("\ude00 b"), "\ufffd b"),
    "bytes of a character": (
        RawReply(
            [
                b'data: {"choices": [{"delta": {"content": "a' + EMOJI[:2] + b'"}}]}\n\n',
                b'data: {"choices": [{"delta": {"content": "' + EMOJI[2:] + b'"}}]}\n\n',
                DONE,
            ]
        ),
        "a😀",
    ),
    "half a character in the model's name": (
        sse({**delta(content="a"), "model": "m\ud83d"}, delta("stop")),
        "a",
    ),
    "half a character in the response's id": (
        sse({**delta(content="a"), "id": "\ud83d"}, delta("stop")),
        "a",
    ),
    "no finish reason": (text("a", finish=None), "a"),
    "an empty finish reason": (text("a", finish=""), "a"),
    "a finish reason of another provider": (text("a", finish="end_turn"), "a"),
    "no mark of the end": (text("a", end=b""), "a"),
    "a refusal": (sse(delta(refusal="I "), delta(refusal="won't."), delta("stop")), "I won't."),
    "parts": (text([{"type": "text", "text": "a"}, {"text": "b"}]), "ab"),
    "one part without a list": (text({"type": "text", "text": "a"}), "a"),
    "choices null": (sse({"choices": None}, delta(content="a"), delta("stop")), "a"),
    "no choices": (sse({"object": "ping"}, delta(content="a"), delta("stop")), "a"),
    "delta null": (sse({"choices": [{"delta": None}]}, delta(content="a"), delta("stop")), "a"),
    "empty lists": (sse([], [[]], delta(content="a"), delta("stop")), "a"),
    "pings": (
        RawReply([b"event: ping\ndata: {}\n\n: keep-alive\n\n", *text("a").pieces]),
        "a",
    ),
    "numbered events": (RawReply([b"id: 1\nretry: 5\n", *text("a").pieces]), "a"),
    "a plain completion": (
        RawReply(
            [b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}'],
            content_type="application/json",
        ),
        "a",
    ),
    "usage that is negative": (
        sse({**delta("stop", content="a"), "usage": {"prompt_tokens": -5, "total_tokens": -1}}),
        "a",
    ),
    "usage without bounds": (
        sse({**delta("stop", content="a"), "usage": {"prompt_tokens": 10**30}}),
        "a",
    ),
    "usage as text": (sse({**delta("stop", content="a"), "usage": {"prompt_tokens": "5"}}), "a"),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_a_text_of_any_form_is_one_call(name: str) -> None:
    reply, expected = TEXTS[name]
    outcome, journal, requests = await run(reply)
    assert (outcome, requests) == (Completed(expected, None), 1)
    assert "".join(shown for _, _, shown in journal.shown) == expected
    assert not journal.of(ModelCallFailed)
    (responded,) = journal.of(ModelResponded)
    for count in (responded.tokens.prompt, responded.tokens.completion, responded.tokens.total):
        assert count is None or 0 <= count < 10**10


# -- answers that are none ---------------------------------------------------------------------

BROKEN: Mapping[str, RawReply | StreamedReply] = {
    "error": text("a", finish="error"),
    "a provider's lack of resources": text("a", finish="insufficient_system_resource"),
    "an unknown word": text("a", finish="cosmic_ray"),
    "half a character as the finish reason": text("a", finish="\ud83d"),
    "a cut stream": StreamedReply(("a",), complete=False),
    "a cut chunk": RawReply([b'data: {"choices": [{"delta": {"content": "a']),
    "a page": RawReply([b"<html>502</html>"], content_type="text/html"),
    "an error in the stream": sse(delta(content="a"), {"error": {"message": "busy", "code": 503}}),
    "an error with status 200": RawReply(
        [b'{"error": {"message": "busy", "type": "server_error"}}'],
        content_type="application/json",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_answer_is_asked_for_again(name: str) -> None:
    outcome, journal, requests = await run(BROKEN[name])
    assert (outcome, requests) == (ANSWERED, 2)
    assert [one.text for one in journal.of(ModelResponded)] == ["At last."]


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_never_an_answer_fails_with_a_code_and_without_internals(name: str) -> None:
    with ProviderStub(BROKEN[name]).running() as stub:
        outcome, journal = await run_turn(stub, policy())
        assert len(stub.bodies) == 3
    assert isinstance(outcome, Failed)
    assert outcome.code in ("MODEL_BROKE_OFF", "MODEL_FAILED", "MODEL_UNREACHABLE")
    assert not [one for one in INTERNALS if one in outcome.message]
    assert not journal.of(ModelResponded)


FILTERED = ["content_filter", "SAFETY", "PROHIBITED_CONTENT", "recitation", "sensitive", "refusal"]


@pytest.mark.parametrize("finish", FILTERED)
async def test_a_filtered_answer_is_not_asked_for_again(finish: str) -> None:
    outcome, _, requests = await run(text("Half of", finish=finish))
    assert isinstance(outcome, Failed)
    assert (outcome.code, requests) == ("CONTENT_FILTERED", 1)


# -- structured answers ------------------------------------------------------------------------

FORMS = [
    '{"bread": "rye"}',
    '```json\n{"bread": "rye"}\n```',
    'Here you are:\n```JSON\n{"bread": "rye"}\n```\nEnjoy!',
    '```{"bread": "rye"}```',
    '\ufeff{"bread": "rye"}',
    '<think>{"bread": "oat"}? No.</think>\n{"bread": "rye"}',
    '{"bread": "rye"} I hope it helps.',
    '{"bread": "rye",}',
    '{"Order": {"bread": "rye"}}',
    '"{\\"bread\\": \\"rye\\"}"',
]


@pytest.mark.parametrize("form", FORMS)
async def test_a_structured_answer_of_any_form_is_one_call(form: str) -> None:
    with ProviderStub(text(form)).running() as stub:
        outcome, journal = await run_turn(stub, policy(), journal=Journal(), agent=BAKER)
        assert len(stub.bodies) == 1
    assert isinstance(outcome, Completed)
    (output,) = journal.of(OutputStructured)
    assert output.data == {"bread": "rye"}
