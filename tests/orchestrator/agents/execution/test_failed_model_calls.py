"""Model calls without an answer: what is asked again, how often, and what the log and the user get."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.deltas import Delta
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted, HistoryCompacted
from contracts.events.turn import (
    RUNTIME,
    SELECTOR,
    ConversationProcessed,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    UsageRecorded,
)
from services.orchestrator.agents.execution.agent_factory import build_agent_set
from services.orchestrator.agents.execution.hooks import Hooks
from services.orchestrator.agents.execution.sent_request import sent_requests
from services.orchestrator.agents.models.client import ModelCallPolicy
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.providers import build_model_factory
from services.orchestrator.agents.models.response_check import CUT_MARK
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.agents.registry.workflow_version import WorkflowVersion
from services.orchestrator.domain.turn_steps import Completed, Failed, Outcome
from services.orchestrator.workflows.manifest.models.outputs import OutputsManifest
from services.orchestrator.workflows.output_models import build_outputs
from services.orchestrator.workflows.spec import Hook
from tests.orchestrator.agent_sets import without_durations, workflows_by_pattern
from tests.orchestrator.agents.execution.test_compaction import LONG
from tests.orchestrator.agents.execution.test_resuming import MemoryChat, run_to_end, started_chat
from tests.orchestrator.agents.provider_stub import (
    ANSWER,
    ErrorReply,
    ProviderStub,
    RawReply,
    Reply,
    Rule,
    StreamedReply,
)
from tests.orchestrator.agents.provider_turn import POLICY, PROVIDER, run_turn, run_turn_with
from tests.orchestrator.agents.turn_harness import OPEN_TURN, PLAIN_WRITER, MemoryJournal
from tests.story import ANA, WRITER, Story, done, given, heard, says, speaks

ORDER = build_outputs(
    OutputsManifest.model_validate(
        {"models": {"Order": {"fields": {"bread": {"type": "str"}}}}}
    ).models
)["Order"]
BAKER = replace(PLAIN_WRITER, output=ORDER, output_required=True)
RYE = StreamedReply(['{"bread": ', '"rye"}'])
DONE = b"data: [DONE]\n\n"


def look() -> str:
    """Look out of the window."""
    return "It rains."


def note(text: str) -> str:
    """Keep a note."""
    return text


class Journal(MemoryJournal):
    """A journal of any turn."""

    async def show(self, delta: Delta) -> None:
        if delta.turn == 1:
            await super().show(delta)


def long_chat(turns: int) -> Story:
    """A chat in which the writer has had some long turns, and the next one begins."""
    story = given(ChatStarted(user_id=ANA, seed=7))
    for turn in range(1, turns + 1):
        story = story.then(
            heard("Go on."), speaks(WRITER, turn), says(LONG, turn), done(LONG, turn)
        )
    return story.then(heard("And now?"), speaks(WRITER, turns + 1))


def policy() -> ModelCallPolicy:
    """A process that knows nothing yet of any provider."""
    return replace(POLICY, traits=type(POLICY.traits)())


def streamed(*deltas: Mapping[str, Any], finish: str | None, tokens: int | None = 40) -> RawReply:
    chunks: list[Mapping[str, Any]] = [
        {"id": "c", "model": "m", "choices": [{"index": 0, "delta": one}]} for one in deltas
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    if tokens is not None:
        usage = {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}
        chunks.append({"choices": [], "usage": usage})
    return RawReply([*(f"data: {json.dumps(one)}\n\n".encode() for one in chunks), DONE])


def calling(name: str, arguments: str) -> Mapping[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}


def assert_exact(journal: MemoryJournal) -> None:
    """Every request that was sent is shown exactly by the log."""
    sent = list(sent_requests(journal.story.facts, None))
    assert len(sent) == len(journal.of(ModelRequested))
    assert all(one.is_exact for one in sent)


def codes(journal: MemoryJournal) -> list[str]:
    return [one.code for one in journal.of(ModelCallFailed)]


# -- empty answers -----------------------------------------------------------------------------

EMPTY = {
    "nothing": streamed(finish="stop"),
    "null": streamed({"content": None}, finish="stop"),
    "spaces": streamed({"content": " \n"}, finish="stop"),
    "reasoning": streamed({"reasoning_content": "Rain, I think."}, finish="stop"),
    "reasoning by another name": streamed({"reasoning": "Rain, I think."}, finish="stop"),
    "reasoning in tags": streamed({"content": "<think>Rain, I think.</think>"}, finish="stop"),
    "parts": streamed({"content": [{"type": "text", "text": ""}]}, finish="end_turn"),
    "a finish for calls": streamed({"tool_calls": []}, finish="tool_calls"),
    "a ghost call": streamed({"tool_calls": [{"index": 0}]}, finish="tool_calls"),
}


@pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY.keys())
async def test_an_empty_answer_is_asked_for_again_once(empty: RawReply) -> None:
    with ProviderStub(empty, ANSWER).running() as stub:
        outcome, journal = await run_turn(stub)
        assert len(stub.bodies) == 2
        assert stub.bodies[0] == stub.bodies[1]
    assert outcome == Completed("At last.", None)
    assert codes(journal) == ["MODEL_EMPTY"]
    assert [one.call for one in journal.of(ModelRequested)] == [0, 0]
    assert len(journal.of(ModelResponded)) == 1
    assert [one.tokens.completion for one in journal.of(UsageRecorded)] == [40, 100]
    assert_exact(journal)


@pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY.keys())
async def test_a_second_empty_answer_fails_the_turn_by_name(empty: RawReply) -> None:
    outcome, journal, requests = await run_turn_with(empty)
    assert outcome == Failed("MODEL_EMPTY", "The model answered without any text.")
    assert (requests, codes(journal)) == (2, ["MODEL_EMPTY"] * 2)
    assert not journal.of(ModelResponded)


@pytest.mark.parametrize("useless", [EMPTY["nothing"], streamed(finish="length")])
async def test_a_process_that_repeats_no_calls_does_not_ask_again(useless: RawReply) -> None:
    calls = replace(policy(), retry=replace(POLICY.retry, retries=0))
    with ProviderStub(useless).running() as stub:
        outcome, journal = await run_turn(stub, calls)
        assert len(stub.bodies) == 1
    assert isinstance(outcome, Failed)
    assert [outcome.code] == codes(journal)
    assert len(journal.of(UsageRecorded)) == 1


async def test_the_reasoning_of_an_answer_without_text_is_kept() -> None:
    _, journal, _ = await run_turn_with(EMPTY["reasoning"], ANSWER)
    assert [one.reasoning for one in journal.of(ModelCallFailed)] == ["Rain, I think."]


async def test_each_call_of_a_turn_may_be_asked_again() -> None:
    replies = [EMPTY["nothing"], streamed(calling("look", "{}"), finish="tool_calls")]
    with ProviderStub(*replies, EMPTY["null"], ANSWER).running() as stub:
        outcome, journal = await run_turn(stub, tools=[look])
        assert len(stub.bodies) == 4
    assert outcome == Completed("At last.", None)
    assert [one.call for one in journal.of(ModelCallFailed)] == [0, 1]
    assert_exact(journal)


async def test_the_text_of_the_next_attempt_replaces_what_was_shown() -> None:
    tags = ["<think>Rain", ", I think.</think>"]
    _, journal, _ = await run_turn_with(StreamedReply(tags), ANSWER)
    first, second = set(journal.attempts)
    shown = list(zip(journal.attempts, journal.shown, strict=True))
    assert "".join(text for number, (_, _, text) in shown if number == first) == "".join(tags)
    assert "".join(text for number, (_, _, text) in shown if number == second) == "At last."
    assert next(offset for number, (_, offset, _) in shown if number == second) == 0


# -- answers that are cut ----------------------------------------------------------------------

CUT_CALL = streamed(calling("note", '{"te'), finish="length")
CUT = {
    "a call": CUT_CALL,
    "a call before its arguments": streamed(calling("note", ""), finish="max_tokens"),
    "a text and a call": streamed(
        {"content": "I note it."}, calling("note", '{"text": "ra'), finish="MAX_TOKENS"
    ),
    "nothing": streamed(finish="length"),
    "reasoning": streamed({"reasoning_content": "Rain, and then"}, finish="length"),
    "reasoning in tags": streamed({"content": "<think>Rain, and"}, finish="model_length"),
}


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT.keys())
async def test_an_answer_that_is_of_no_use_is_asked_for_again_with_twice_the_limit(
    cut: RawReply,
) -> None:
    with ProviderStub(cut, ANSWER).running() as stub:
        outcome, journal = await run_turn(stub, tools=[note])
        assert [one.get("max_tokens") for one in stub.bodies] == [None, 80]
        assert stub.bodies[0]["messages"] == stub.bodies[1]["messages"]
    assert outcome == Completed("At last.", None)
    assert [(one.code, one.max_tokens) for one in journal.of(ModelCallFailed)] == [
        ("ANSWER_CUT", 40)
    ]
    options = [one.options and one.options.max_tokens for one in journal.of(ModelRequested)]
    assert options == [None, 80]
    assert_exact(journal)


@pytest.mark.parametrize("cut", CUT.values(), ids=CUT.keys())
async def test_a_second_cut_answer_fails_the_turn_by_name(cut: RawReply) -> None:
    with ProviderStub(cut).running() as stub:
        outcome, journal = await run_turn(stub, tools=[note])
        assert len(stub.bodies) == 2
    assert outcome == Failed("ANSWER_CUT", "The model's answer was cut at its limit of tokens: 80.")
    assert codes(journal) == ["ANSWER_CUT"] * 2
    assert len(journal.of(UsageRecorded)) == 2
    assert not journal.of(ModelResponded)


async def test_the_limit_that_an_agent_configures_is_doubled_for_one_call() -> None:
    look_again = streamed(calling("look", "{}"), finish="tool_calls")
    provider = replace(PROVIDER, max_tokens=50)
    with ProviderStub(CUT_CALL, look_again, ANSWER).running() as stub:
        outcome, journal = await run_turn(stub, provider=provider, tools=[note, look])
        assert [one["max_tokens"] for one in stub.bodies] == [50, 100, 50]
    assert outcome == Completed("At last.", None)
    assert_exact(journal)


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 80. This model supports at most 64 completion tokens.",
        "'max_tokens' is too large: 80. This model's maximum context length is 4096 tokens.",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 64]",
    ],
)
async def test_a_limit_that_the_provider_does_not_raise_fails_the_turn_as_cut(message: str) -> None:
    refused = ErrorReply(400, None, message)
    with ProviderStub(CUT_CALL, refused).running() as stub:
        outcome, journal = await run_turn(stub, tools=[note])
        assert len(stub.bodies) == 2
    assert isinstance(outcome, Failed)
    assert outcome.code == "ANSWER_CUT"
    assert not journal.of(HistoryCompacted)


async def test_without_any_count_of_tokens_there_is_no_limit_to_raise() -> None:
    cut = streamed(calling("note", '{"te'), finish="length", tokens=None)
    with ProviderStub(cut).running() as stub:
        outcome, _ = await run_turn(stub, tools=[note])
        assert len(stub.bodies) == 1
    assert outcome == Failed("ANSWER_CUT", "The model's answer was cut at its limit of tokens.")


@pytest.mark.parametrize("finish", ["length", "max_tokens", "MAX_TOKENS"])
async def test_a_text_that_is_cut_is_kept_with_a_mark_that_everybody_reads(finish: str) -> None:
    outcome, journal, requests = await run_turn_with(StreamedReply(("It ", "rains and"), finish))
    assert (outcome, requests) == (Completed(f"It rains and{CUT_MARK}", None), 1)
    assert "".join(text for _, _, text in journal.shown) == f"It rains and{CUT_MARK}"
    assert [one.finish_reason for one in journal.of(ModelResponded)] == ["length"]


@pytest.mark.parametrize("text", ['{"bread": "r', '```json\n{"bread"', '{"bread": "rye", "n'])
async def test_a_structured_answer_that_is_cut_is_not_corrected_but_asked_for_again(
    text: str,
) -> None:
    cut = streamed({"content": text}, finish="length")
    with ProviderStub(cut, RYE).running() as stub:
        outcome, journal = await run_turn(stub, policy(), agent=BAKER)
        assert [one.get("max_tokens") for one in stub.bodies] == [None, 80]
        assert stub.bodies[0]["messages"] == stub.bodies[1]["messages"]
    assert isinstance(outcome, Completed)
    assert journal.state.open_turn is not None
    assert journal.state.open_turn.output is not None
    assert_exact(journal)


async def test_a_call_that_was_cut_after_its_arguments_is_made() -> None:
    whole = streamed(calling("note", '{"text": "rain"}'), finish="length")
    with ProviderStub(whole, ANSWER).running() as stub:
        outcome, journal = await run_turn(stub, tools=[note])
        assert len(stub.bodies) == 2
    assert outcome == Completed("At last.", None)
    assert not codes(journal)


# -- conversations that are too long -----------------------------------------------------------


def window_of(tokens: int, message: str, status: int = 400) -> Rule:
    """A model with a context window, four characters a token; it counts nothing in its answers."""

    def rule(body: Mapping[str, Any]) -> Reply:
        chars = sum(len(one["content"]) for one in body["messages"])
        if body["messages"][0]["content"].startswith("You keep the minutes"):
            return streamed({"content": "They talked of rain."}, finish="stop", tokens=None)
        if chars > 4 * tokens:
            return ErrorReply(status, None, message)
        return streamed({"content": "At last."}, finish="stop", tokens=None)

    return rule


async def run_long(
    rule: Rule, story: Story, calls: ModelCallPolicy | None = None
) -> tuple[Outcome, Journal, list[dict[str, Any]]]:
    journal = Journal(story)
    provider = replace(PROVIDER, model="some-model")
    with ProviderStub(rule).running() as stub:
        outcome, _ = await run_turn(stub, calls or policy(), provider, journal)
    return outcome, journal, stub.bodies


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("This model's maximum context length is 400 tokens. However, you requested 700.", 400),
        ("prompt is too long: 700 tokens > 400 maximum", 400),
        ("the request exceeds the available context size. try increasing the context size", 400),
        ("Request Entity Too Large", 413),
        ("Request too large for m on tokens per min (TPM): Limit 400, Requested 700.", 429),
        ("Input validation error: `inputs` tokens + `max_new_tokens` must be <= 400.", 422),
    ],
)
async def test_a_refused_conversation_is_summarised_and_sent_again(
    message: str, status: int
) -> None:
    outcome, journal, bodies = await run_long(window_of(400, message, status), long_chat(10))
    assert outcome == Completed("At last.", None)
    assert len(bodies) == 3  # refused, summarised, answered
    assert codes(journal) == ["CONTEXT_TOO_LONG"]
    (summary,) = journal.of(HistoryCompacted)
    assert summary.summary == "They talked of rain."
    assert [one.agent for one in journal.of(UsageRecorded)].count(RUNTIME) == 1
    texts = [one["content"] for one in bodies[-1]["messages"]]
    assert any("They talked of rain." in text for text in texts)
    assert_exact(journal)


async def test_a_window_that_the_provider_names_is_known_from_then_on() -> None:
    calls, provider = policy(), replace(PROVIDER, model="some-model")
    with ProviderStub(window_of(400, "maximum context length is 400 tokens")).running() as stub:
        await run_turn(stub, calls, provider, Journal(long_chat(10)))
        assert len(stub.bodies) == 3
        journal = Journal(long_chat(10))
        outcome, _ = await run_turn(stub, calls, provider, journal)
        assert len(stub.bodies) == 3 + 2  # summarised, answered
    assert outcome == Completed("At last.", None)
    assert not codes(journal)


async def test_if_nothing_can_be_summarised_the_turn_fails_by_name() -> None:
    rule = window_of(1, "prompt is too long")
    outcome, journal, bodies = await run_long(rule, OPEN_TURN)
    assert isinstance(outcome, Failed)
    assert (outcome.code, len(bodies)) == ("CONTEXT_TOO_LONG", 1)
    assert codes(journal) == ["CONTEXT_TOO_LONG"]


async def test_a_conversation_is_summarised_once_in_a_turn() -> None:
    rule = window_of(5, "prompt is too long")
    outcome, journal, bodies = await run_long(rule, long_chat(10))
    assert isinstance(outcome, Failed)
    assert (outcome.code, len(bodies)) == ("CONTEXT_TOO_LONG", 3)
    assert len(journal.of(HistoryCompacted)) == 1


async def test_what_a_turn_has_done_is_kept_when_its_history_is_summarised() -> None:
    look_once = streamed(calling("look", "{}"), finish="tool_calls", tokens=None)
    rule = window_of(400, "maximum context length is 400 tokens")

    def after_the_call(body: Mapping[str, Any]) -> Reply:
        has_called = any(one["role"] == "tool" for one in body["messages"])
        is_summary = body["messages"][0]["content"].startswith("You keep")
        return rule(body) if has_called or is_summary else look_once

    journal = Journal(long_chat(10))
    provider = replace(PROVIDER, model="some-model")
    with ProviderStub(after_the_call).running() as stub:
        outcome, _ = await run_turn(stub, policy(), provider, journal, tools=[look])
        assert len(stub.bodies) == 4  # the call, refused, summarised, answered
    assert outcome == Completed("At last.", None)
    assert stub.bodies[-1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "c1",
        "content": "It rains.",
    }
    assert_exact(journal)


async def test_even_a_single_long_turn_is_summarised_once_it_was_refused() -> None:
    story = long_chat(1)
    chars = len(LONG) + len("You write.")
    outcome, journal, bodies = await run_long(window_of(chars // 4, "prompt too long"), story)
    assert outcome == Completed("At last.", None)
    assert len(bodies) == 3
    assert_exact(journal)


HOOKED = replace(
    PLAIN_WRITER, hooks=(Hook("process_all_messages_before_reply", Path("hooks.py"), "shout"),)
)


def shouting(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**one, "content": one["content"].upper()} for one in messages]


async def test_hooks_change_the_conversation_again_once_it_was_summarised() -> None:
    hooks = Hooks([("process_all_messages_before_reply", shouting)])
    journal = Journal(long_chat(10))
    provider = replace(PROVIDER, model="some-model")
    with ProviderStub(window_of(400, "maximum context length is 400 tokens")).running() as stub:
        outcome, _ = await run_turn(stub, policy(), provider, journal, agent=HOOKED, hooks=hooks)
        assert len(stub.bodies) == 3
    assert outcome == Completed("At last.", None)
    texts = [one["content"] for one in stub.bodies[-1]["messages"][1:]]
    assert any("THEY TALKED OF RAIN." in text for text in texts)
    assert texts == [text.upper() for text in texts]
    assert len(journal.of(ConversationProcessed)) == 2
    assert_exact(journal)


# -- forms of answers that are refused ---------------------------------------------------------


def refusing(*forms: str, beside_tools: bool = False, message: str = "") -> Rule:
    """A provider that refuses forms of answers, always or beside tools."""

    def rule(body: Mapping[str, Any]) -> Reply:
        form = body.get("response_format", {}).get("type")
        if form in forms and (body.get("tools") or not beside_tools):
            text = message or f"response_format.type `{form}` is unavailable now"
            return ErrorReply(400, "invalid_request_error", text)
        if form == "json_object" and not any(
            "json" in one["content"].lower() for one in body["messages"]
        ):
            return ErrorReply(400, None, "messages must contain the word 'json'")
        return RYE

    return rule


def forms(stub: ProviderStub) -> list[str | None]:
    return [one.get("response_format", {}).get("type") for one in stub.bodies]


@pytest.mark.parametrize(
    ("refused", "tried"),
    [
        ((), ["json_schema"]),
        (("json_schema",), ["json_schema", "json_object"]),
        (("json_schema", "json_object"), ["json_schema", "json_object", None]),
    ],
)
async def test_a_refused_form_is_followed_by_one_that_more_providers_have(
    refused: Sequence[str], tried: Sequence[str | None]
) -> None:
    calls = policy()
    with ProviderStub(refusing(*refused)).running() as stub:
        outcome, journal = await run_turn(stub, calls, agent=BAKER)
        assert forms(stub) == tried
        again, _ = await run_turn(stub, calls, agent=BAKER)
        assert forms(stub) == [*tried, tried[-1]]
        assert ("JSON Schema" in stub.bodies[-1]["messages"][0]["content"]) == bool(refused)
    assert outcome == again == Completed('{"bread": "rye"}', None)
    assert codes(journal) == ["RESPONSE_FORMAT_REFUSED"] * len(refused)
    assert_exact(journal)
    for request, body in zip(sent_requests(journal.story.facts, None), stub.bodies, strict=False):
        assert "\n".join(request.prompt) == body["messages"][0]["content"]


@pytest.mark.parametrize(
    "message",
    [
        "json mode cannot be combined with tool/function calling",
        "Function calling with a response mime type: 'application/json' is unsupported",
        "'response_format' cannot be combined with tools",
    ],
)
async def test_a_form_that_is_refused_beside_tools_is_asked_for_without_them(message: str) -> None:
    calls = policy()
    rule = refusing("json_schema", "json_object", beside_tools=True, message=message)
    with ProviderStub(rule).running() as stub:
        outcome, _ = await run_turn(stub, calls, agent=BAKER, tools=[look])
        await run_turn(stub, calls, agent=BAKER)
        assert forms(stub) == ["json_schema", "json_object", None, "json_schema"]
    assert isinstance(outcome, Completed)


async def test_a_refused_schema_says_nothing_about_the_schemas_of_other_agents() -> None:
    calls = policy()
    other = replace(BAKER, output=replace(ORDER, name="Bread"))
    rule = refusing("json_schema", message="Invalid schema for response_format 'Order'")
    with ProviderStub(rule).running() as stub:
        await run_turn(stub, calls, agent=BAKER)
        await run_turn(stub, calls, agent=BAKER)
        await run_turn(stub, calls, agent=other)
        assert forms(stub) == [
            "json_schema",
            "json_object",
            "json_object",
            "json_schema",
            "json_object",
        ]


async def test_words_are_validated_and_corrected() -> None:
    words = StreamedReply(("Rye bread, ", "please."))
    rule = refusing("json_schema", "json_object")
    with ProviderStub(rule, rule, words, RYE).running() as stub:
        outcome, journal = await run_turn(stub, policy(), agent=BAKER)
        assert forms(stub) == ["json_schema", "json_object", None, None]
        assert "does not have the required form" in stub.bodies[-1]["messages"][-1]["content"]
    assert outcome == Completed('{"bread": "rye"}', None)
    assert_exact(journal)


async def test_a_refusal_that_no_form_helps_against_fails_the_turn() -> None:
    always = ErrorReply(400, None, "response_format: tools have an unsupported json_schema")
    with ProviderStub(always).running() as stub:
        outcome, _ = await run_turn(stub, policy(), agent=BAKER)
        assert len(stub.bodies) == 3
    assert isinstance(outcome, Failed)
    assert outcome.code == "RESPONSE_FORMAT_REFUSED"


def but_for_dispatches(events: Sequence[Event]) -> list[Event]:
    """The events without their durations, and without those of tools, which may be called again."""
    return [without_durations(one) for one in events if not isinstance(one, ToolDispatched)]


# -- after a kill ------------------------------------------------------------------------------

KILLED: Mapping[str, tuple[Sequence[Reply | Rule], Mapping[str, Any], Story]] = {
    "empty": ([EMPTY["reasoning"], ANSWER], {}, OPEN_TURN),
    "cut": (
        [CUT_CALL, streamed(calling("note", '{"text": "a"}'), finish="tool_calls"), ANSWER],
        {"tools": [note]},
        OPEN_TURN,
    ),
    "too long": ([window_of(400, "maximum context length is 400 tokens")], {}, long_chat(10)),
    "hooks": (
        [window_of(400, "maximum context length is 400 tokens")],
        {
            "agent": HOOKED,
            "hooks": Hooks([("process_all_messages_before_reply", shouting)]),
        },
        long_chat(10),
    ),
    "form": ([refusing("json_schema", "json_object")], {"agent": BAKER}, OPEN_TURN),
    "all": (
        [
            ErrorReply(400, None, "response_format is not supported"),
            EMPTY["null"],
            streamed(finish="length"),
            RYE,
        ],
        {"agent": BAKER},
        OPEN_TURN,
    ),
}


@pytest.mark.parametrize("case", KILLED)
async def test_a_turn_resumed_after_any_event_repeats_nothing_that_the_log_has(case: str) -> None:
    replies, arguments, story = KILLED[case]

    async def run(recorded: Sequence[Event], done: int) -> tuple[Journal, list[Any], Outcome]:
        journal = Journal(story.then(*recorded))
        rest = replies[min(done, len(replies) - 1) :]
        with ProviderStub(*rest).running() as stub:
            outcome, _ = await run_turn(stub, policy(), journal=journal, **arguments)
        return journal, stub.bodies, outcome

    whole, bodies, outcome = await run([], 0)
    assert isinstance(outcome, Completed)
    events = but_for_dispatches(whole.events)
    for cut in range(len(whole.batches)):
        recorded = [event for batch in whole.batches[:cut] for event in batch]
        answered = sum(
            isinstance(one, ModelCallFailed | ModelResponded | HistoryCompacted) for one in recorded
        )
        journal, sent, again = await run(recorded, answered)
        assert again == outcome
        assert but_for_dispatches([*recorded, *journal.events]) == events, cut
        assert sent == bodies[answered:], cut


# -- the selector ------------------------------------------------------------------------------


async def run_auto(folder: Path, rule: Rule) -> tuple[MemoryChat, list[dict[str, Any]]]:
    """A whole chat of the AutoPattern, whose agents and selector call this provider."""
    loaded = workflows_by_pattern(folder)["AutoPattern"]
    workflow = replace(loaded.workflow, max_turns=4, human_in_the_loop=False)
    loaded = replace(loaded, workflow=workflow)
    with ProviderStub(rule).running() as stub:
        async with shared_http_client() as client:
            provider = replace(PROVIDER, base_url=stub.url)
            models = build_model_factory(provider, client, 0, {}, policy())
            version = WorkflowVersion(loaded, build_agent_set(loaded, models))
            catalogue = Catalogue({workflow.name: version})
            return await run_to_end(loaded, started_chat(loaded), catalogue), stub.bodies


def is_selection(body: Mapping[str, Any]) -> bool:
    return str(body["messages"][0]["content"]).startswith("You moderate")


def deepseek(body: Mapping[str, Any]) -> Reply:
    """Has no JSON Schema, and wants JSON to be named where a JSON object is asked for."""
    form = body.get("response_format", {}).get("type")
    if form == "json_schema":
        return ErrorReply(
            400, "invalid_request_error", "This response_format type is unavailable now"
        )
    if not is_selection(body):
        return ANSWER
    if form == "json_object":
        assert "JSON Schema" in body["messages"][0]["content"]
    return StreamedReply(['{"next": "Critic"}'])


async def test_the_auto_pattern_runs_on_a_provider_without_json_schema(tmp_path: Path) -> None:
    chat, bodies = await run_auto(tmp_path, deepseek)
    assert chat.of(ChatCompleted)
    selections = [one for one in bodies if is_selection(one)]
    forms = [one["response_format"]["type"] for one in selections]
    assert forms == ["json_schema", *["json_object"] * (len(forms) - 1)]
    assert len(forms) > 3
    assert {one.by for one in chat.of(SpeakerSelected) if one.agent != SELECTOR} >= {"auto"}
    assert codes(chat) == ["RESPONSE_FORMAT_REFUSED"]
    loaded = workflows_by_pattern(tmp_path)["AutoPattern"].workflow
    workflow = replace(loaded, max_turns=4, human_in_the_loop=False)
    assert all(one.is_exact for one in sent_requests(chat.story.facts, workflow))


@pytest.mark.parametrize("useless", [EMPTY["nothing"], EMPTY["reasoning"], CUT["reasoning"]])
async def test_a_selector_without_an_answer_is_followed_by_the_next_agent(
    tmp_path: Path, useless: RawReply
) -> None:
    def rule(body: Mapping[str, Any]) -> Reply:
        return useless if is_selection(body) else ANSWER

    chat, bodies = await run_auto(tmp_path, rule)
    assert chat.of(ChatCompleted)
    assert "fallback" in {one.by for one in chat.of(SpeakerSelected)}
    selections = len([one for one in bodies if is_selection(one)])
    choices = len([one for one in chat.of(SpeakerSelected) if one.by == "fallback"])
    assert selections <= (3 if useless is not CUT["reasoning"] else 6) * choices
