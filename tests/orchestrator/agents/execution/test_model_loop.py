"""A turn on AG2: recorded before it is acted on, and resumed from wherever its log ends."""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from ag2.events import ModelMessageChunk
from ag2.testing import Turn

from contracts.events.business import BusinessLogged
from contracts.events.human import HumanAsked, UiToolAnswered, UiToolRequested
from contracts.events.parts import text_of
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    ToolReturned,
    TurnCompleted,
    UsageRecorded,
    VariablesChanged,
)
from services.orchestrator.agents.execution.outcomes import UNEXPECTED_MESSAGE
from services.orchestrator.agents.tools.function_tools import build_handoff
from services.orchestrator.domain.state import pending
from services.orchestrator.domain.turn_steps import Completed, Failed, Outcome, Suspended
from services.orchestrator.workflows.spec import Handoff
from tests.orchestrator.agents.thread_event import ThreadEvent
from tests.orchestrator.agents.turn_harness import (
    OPEN_TURN,
    MemoryJournal,
    TurnHarness,
    WriteRefusedError,
    model_response,
    request_digests,
    responses,
    tool_call,
    tool_result,
)
from tests.patience import PATIENCE_SECONDS
from tests.story import EDITOR, NOON, WRITER, answered, heard, speaks
from workflows.tooling import ToolRuntime

RUNS: Counter[str] = Counter()
"""How often each tool call was started, by the last part of its idempotency key."""


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


def count_run(runtime: ToolRuntime) -> None:
    RUNS[runtime.idempotency_key.rsplit(":", 1)[-1]] += 1


async def look(where: str, runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    count_run(runtime)
    context_variables["sources"].append(where)
    return f"seen {where}"


def measure(runtime: ToolRuntime, context_variables: dict[str, Any]) -> dict[str, Any]:
    count_run(runtime)
    context_variables["length"] = len(context_variables["sources"])
    del context_variables["tone"]
    return {"words": 120, "é": [1.5, None, True]}


async def ask(question: str, runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    count_run(runtime)
    colour = await runtime.ask(question, ["red", "blue"])
    shade = await runtime.ask(f"Which {colour}?")
    context_variables["colour"] = f"{shade} {colour}"
    await runtime.emit_business_event("COLOUR", f"{colour} it is", key=runtime.idempotency_key)
    return f"{shade} {colour}"


async def fail(runtime: ToolRuntime) -> str:
    count_run(runtime)
    raise LookupError("nothing in /var/lib/secret/place.db")


TOOLS: list[Callable[..., Any]] = [look, measure, ask, fail]

# Three model calls: parallel tools of every kind, then one alone, then the end.
LINES: list[Turn] = [
    ModelMessageChunk("Let me "),
    ModelMessageChunk("look."),
    model_response(
        "Let me look.",
        tool_call("look", "c1", '{"where": "outside"}'),
        tool_call("ask", "c2", '{"question": "Which colour?"}'),
        tool_call("fail", "c3"),
        tool_call("absent", "c4"),
        tool_call("look", "c5", "{not json"),
    ),
    model_response(None, tool_call("measure", "c6")),
    "It rains.",
]


async def run_to_end(journal: MemoryJournal) -> tuple[Outcome, list[str]]:
    """The turn from where the journal ends to its end: its outcome and the digests of its requests."""
    harness = TurnHarness(LINES, TOOLS)
    return await harness.run_answering(journal), harness.sent_digests


async def test_a_turn_runs_to_its_end() -> None:
    journal = MemoryJournal()
    outcome, sent = await run_to_end(journal)
    assert outcome == Completed("It rains.", None)
    assert sent == request_digests(journal)
    assert [response.call for response in journal.of(ModelResponded)] == [0, 1, 2]
    assert {one.tool_call_id: one.status for one in journal.of(ToolReturned)} == {
        "c1": "ok",
        "c2": "ok",
        "c3": "error",
        "c4": "not_found",
        "c5": "error",
        "c6": "ok",
    }
    assert len(journal.of(UsageRecorded)) == 3
    assert len(journal.of(BusinessLogged)) == 1


async def test_a_turn_resumed_after_any_event_ends_as_the_uninterrupted_one() -> None:
    uninterrupted = MemoryJournal()
    outcome, _ = await run_to_end(uninterrupted)
    expected = uninterrupted.story.state
    for cut in range(len(uninterrupted.batches) + 1):
        RUNS.clear()
        recorded = [event for batch in uninterrupted.batches[:cut] for event in batch]
        story = OPEN_TURN.then(*recorded)
        assert story.state.open_turn is not None
        finished = set(story.state.open_turn.tool_results)
        resumed = MemoryJournal(story)
        assert (await run_to_end(resumed))[0] == outcome, cut
        again = resumed.story.state
        assert resumed.story.transcript == uninterrupted.story.transcript, cut
        assert again.variables == expected.variables, cut
        assert not finished & set(RUNS), f"cut {cut}: a finished tool ran again"


async def test_a_turn_resumed_after_any_event_sends_only_the_remaining_requests() -> None:
    uninterrupted = MemoryJournal()
    _, sent = await run_to_end(uninterrupted)
    for cut in range(len(uninterrupted.batches) + 1):
        story = OPEN_TURN.then(*(event for batch in uninterrupted.batches[:cut] for event in batch))
        resumed = MemoryJournal(story)
        _, remaining = await run_to_end(resumed)
        assert remaining == sent[responses(story) :], cut
        requests = [f.event for f in resumed.story.facts if isinstance(f.event, ModelRequested)]
        assert [request.digest for request in requests] == sent, cut


async def test_business_events_and_questions_are_recorded_once_however_often_a_turn_resumes() -> (
    None
):
    uninterrupted = MemoryJournal()
    await run_to_end(uninterrupted)
    for cut in range(len(uninterrupted.batches) + 1):
        story = OPEN_TURN.then(*(event for batch in uninterrupted.batches[:cut] for event in batch))
        resumed = MemoryJournal(story)
        await run_to_end(resumed)
        events = [fact.event for fact in resumed.story.facts]
        assert sum(isinstance(event, BusinessLogged) for event in events) == 1, cut
        assert sum(isinstance(event, HumanAsked) for event in events) == 2, cut


async def test_text_is_streamed_with_its_offset() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    assert journal.shown == [(0, 0, "Let me "), (0, 7, "look.")]


async def test_executing_an_ended_turn_again_records_nothing() -> None:
    harness = TurnHarness(["It rains."])
    journal = MemoryJournal()
    assert await harness.run(journal) == Completed("It rains.", None)
    before = list(journal.batches)
    assert await harness.run(journal) == Completed("It rains.", None)
    assert journal.batches == before
    assert len(harness.sent_digests) == 1


async def test_an_agents_earlier_turns_are_in_its_next_request() -> None:
    journal = MemoryJournal()
    outcome, _ = await run_to_end(journal)
    assert isinstance(outcome, Completed)
    ended = TurnCompleted(turn=1, agent=WRITER, text=outcome.text)
    again = MemoryJournal(journal.story.then(ended, heard("Longer!"), speaks(WRITER, 2)))
    harness = TurnHarness(["It rains and rains."])
    assert await harness.run(again) == Completed("It rains and rains.", None)


# -- tools ----------------------------------------------------------------------------------------


async def test_the_model_gets_a_tools_exception_without_traceback_and_path() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    failed = tool_result(journal, "c3")
    assert failed.error == "LookupError: nothing in place.db"
    assert text_of(failed.parts) == failed.error


async def test_the_model_learns_that_a_tool_is_unknown() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    assert tool_result(journal, "c4").error == "There is no tool named absent."


async def test_a_call_with_malformed_arguments_runs_no_tool() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    assert tool_result(journal, "c5").status == "error"
    assert RUNS["c5"] == 0


async def test_the_idempotency_key_identifies_a_tool_call() -> None:
    keys: list[str] = []

    async def note(runtime: ToolRuntime) -> str:
        keys.append(runtime.idempotency_key)
        return "noted"

    harness = TurnHarness(
        [model_response(None, tool_call("note", "c1"), tool_call("note", "c2")), "Done."], [note]
    )
    await harness.run(MemoryJournal())
    assert sorted(keys) == ["acme.corp:chat 1:1:c1", "acme.corp:chat 1:1:c2"]


async def test_a_handoff_ends_the_turn_with_its_target_and_the_text_before_it() -> None:
    hand_over = build_handoff(Handoff(EDITOR, "The draft is ready."))
    harness = TurnHarness(
        [model_response("Over to you.", tool_call("transfer_to_Editor", "c1"))], [hand_over]
    )
    journal = MemoryJournal()
    assert await harness.run(journal) == Completed("Over to you.", EDITOR)
    assert await harness.run(journal) == Completed("Over to you.", EDITOR)
    assert len(journal.of(ToolReturned)) == 1


async def test_a_call_id_that_a_provider_reuses_becomes_another_call() -> None:
    harness = TurnHarness(
        [
            model_response(None, tool_call("look", "call_0", '{"where": "left"}')),
            model_response(None, tool_call("look", "call_0", '{"where": "right"}')),
            "Done.",
        ],
        TOOLS,
    )
    journal = MemoryJournal()
    assert await harness.run(journal) == Completed("Done.", None)
    returned = sorted(text_of(one.parts) for one in journal.of(ToolReturned))
    assert returned == ["seen left", "seen right"]
    assert journal.story.state.variables["sources"] == ["left", "right"]


async def test_two_calls_with_the_same_id_are_two_calls() -> None:
    harness = TurnHarness(
        [
            model_response(
                None,
                tool_call("look", "call_0", '{"where": "left"}'),
                tool_call("look", "call_0", '{"where": "right"}'),
            ),
            "Done.",
        ],
        TOOLS,
    )
    journal = MemoryJournal()
    assert await harness.run(journal) == Completed("Done.", None)
    # They run at the same time: either may return first, each with its own id.
    seen = {one.tool_call_id: text_of(one.parts) for one in journal.of(ToolReturned)}
    assert seen == {"call_0": "seen left", "call_0_0": "seen right"}
    assert len(journal.of(ToolReturned)) == 2


# -- variables ------------------------------------------------------------------------------------


async def test_variables_are_recorded_only_when_they_change() -> None:
    journal = MemoryJournal()
    await run_to_end(journal)
    assert [(v.changed, v.removed) for v in journal.of(VariablesChanged)] == [
        ({"sources": ["outside"]}, []),
        ({"colour": "red red"}, []),
        ({"length": 1}, ["tone"]),
    ]


async def test_a_tools_change_of_a_variable_reaches_the_state_only_through_the_log() -> None:
    journal = MemoryJournal()
    before = journal.story.state.variables
    harness = TurnHarness(
        [model_response(None, tool_call("look", "c1", '{"where": "in"}')), "Done."], TOOLS
    )
    await harness.run(journal)
    assert before["sources"] == []
    assert OPEN_TURN.state.variables["sources"] == []


async def test_a_variable_that_is_not_json_is_recorded_as_text() -> None:
    def put(context_variables: dict[str, Any]) -> str:
        context_variables["place"] = {"x": 1, "y": object}
        return "put"

    journal = MemoryJournal()
    await TurnHarness([model_response(None, tool_call("put", "c1")), "Done."], [put]).run(journal)
    (changed,) = journal.of(VariablesChanged)
    assert changed.changed["place"]["x"] == 1
    assert isinstance(changed.changed["place"]["y"], str)


# -- questions to the user --------------------------------------------------------------------


async def pick(name: str, runtime: ToolRuntime) -> str:
    count_run(runtime)
    return await runtime.ask(f"{name}?")


TWO = TurnHarness(
    [
        model_response(
            None,
            tool_call("pick", "call-1", '{"name": "Colour"}'),
            tool_call("pick", "call-2", '{"name": "Size"}'),
            tool_call("look", "call-3", '{"where": "here"}'),
        ),
        "Done.",
    ],
    [pick, look],
)


async def test_a_turn_is_suspended_once_every_open_call_waits_for_the_user() -> None:
    journal = MemoryJournal()
    assert await TWO.run(journal) == Suspended()
    # Tools of one response run at the same time: either may ask first.
    asking = sorted(asked.tool_call_id for asked in journal.of(HumanAsked))
    assert asking == ["call-1", "call-2"]
    assert tool_result(journal, "call-3").status == "ok"
    assert pending(journal.story.state) is None


async def test_executing_a_suspended_turn_again_asks_nothing_twice() -> None:
    journal = MemoryJournal()
    await TWO.run(journal)
    before = list(journal.batches)
    assert await TWO.run(journal) == Suspended()
    assert journal.batches == before


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_two_questions_can_be_answered_in_any_order(order: tuple[int, int]) -> None:
    harness = TurnHarness(TWO.lines, TWO.tools)
    journal = MemoryJournal()
    assert await harness.run(journal) == Suspended()
    first, second = order
    journal.add(answered(f"answer {first}", first))
    assert pending(journal.story.state) is not None
    assert await harness.run(journal) == Suspended()
    assert text_of(tool_result(journal, f"call-{first}").parts) == f"answer {first}"
    journal.add(answered(f"answer {second}", second))
    assert await harness.run(journal) == Completed("Done.", None)
    contents = [m["content"] for m in journal.story.transcript if m["role"] == "tool"]
    assert contents == ["answer 1", "answer 2", "seen here"]
    assert RUNS["call-3"] == 1
    assert RUNS[f"call-{first}"] == 2


async def test_the_order_of_answers_does_not_change_the_next_model_request() -> None:
    digests: list[str] = []
    for order in ((1, 2), (2, 1)):
        harness, journal = TurnHarness(TWO.lines, TWO.tools), MemoryJournal()
        for number in order:
            await harness.run(journal)
            journal.add(answered(f"answer {number}", number))
        await harness.run(journal)
        digests.append(request_digests(journal)[-1])
    assert digests[0] == digests[1]


async def test_an_answer_that_arrives_while_other_tools_run_is_used_at_once() -> None:
    working = ThreadEvent()

    async def work() -> str:
        await working.wait()
        return "worked"

    journal = MemoryJournal()
    harness = TurnHarness(
        [
            model_response(
                None, tool_call("pick", "call-1", '{"name": "Colour"}'), tool_call("work", "c2")
            ),
            "Done.",
        ],
        [pick, work],
    )
    running = asyncio.create_task(harness.run(journal))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await journal.wait_for(HumanAsked)
        journal.add(answered("red"))
        await journal.wait_for(ToolReturned)
        assert text_of(tool_result(journal, "call-1").parts) == "red"
        working.set()
        assert await running == Completed("Done.", None)
    assert RUNS["call-1"] == 1


async def test_a_ui_tool_returns_what_the_user_entered() -> None:
    async def choose(runtime: ToolRuntime) -> dict[str, Any]:
        return await runtime.use_ui_tool("colours", {"n": 2}, display="artifact")

    journal = MemoryJournal()
    harness = TurnHarness([model_response(None, tool_call("choose", "call-1")), "Done."], [choose])
    assert await harness.run(journal) == Suspended()
    (request,) = journal.of(UiToolRequested)
    assert (request.ui_tool_id, request.component, request.display) == (
        "colours",
        "colours",
        "artifact",
    )
    picked = {"colour": "red"}
    journal.add(
        UiToolAnswered(
            question_id=request.question_id, user_id=journal.story.state.user, response=picked
        )
    )
    assert await harness.run(journal) == Completed("Done.", None)
    assert text_of(tool_result(journal, "call-1").parts) == '{"colour": "red"}'


# -- ends -----------------------------------------------------------------------------------------


async def test_a_model_that_never_stops_calling_tools_reaches_the_call_limit() -> None:
    lines = [model_response(None, tool_call("look", f"c{n}", '{"where": "on"}')) for n in range(9)]
    journal = MemoryJournal()
    outcome = await TurnHarness(lines, TOOLS).run(journal, call_limit=3)
    assert isinstance(outcome, Failed)
    assert outcome.code == "CALL_LIMIT"
    assert len(journal.of(ModelRequested)) == 3
    assert len(journal.of(ToolReturned)) == 3


async def test_model_calls_made_before_a_crash_count_towards_the_limit() -> None:
    lines = [model_response(None, tool_call("look", f"c{n}", '{"where": "on"}')) for n in range(9)]
    first = MemoryJournal(refuses=5)
    with pytest.raises(WriteRefusedError):
        await TurnHarness(lines, TOOLS).run(first)
    again = MemoryJournal(first.story)
    outcome = await TurnHarness(lines, TOOLS).run(again, call_limit=3)
    assert isinstance(outcome, Failed)
    asked = [f for f in again.story.facts if isinstance(f.event, ModelRequested)]
    assert len(asked) == 3


async def test_an_unexpected_error_fails_the_turn_and_shows_the_user_nothing_of_its_text() -> None:
    outcome = await TurnHarness([RuntimeError("no luck with /srv/keys/openai.txt")]).run(
        MemoryJournal()
    )
    assert outcome == Failed("TURN_FAILED", UNEXPECTED_MESSAGE)


async def test_cancelling_a_turn_cancels_its_tools() -> None:
    reached, stopped = ThreadEvent(), ThreadEvent()

    async def work() -> str:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    journal = MemoryJournal()
    running = asyncio.create_task(
        TurnHarness([model_response(None, tool_call("work", "c1"))], [work]).run(journal)
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await stopped.wait()
    assert journal.of(ToolReturned) == []


async def test_a_turn_cancelled_while_it_asks_is_not_suspended() -> None:
    async def work() -> str:
        await asyncio.Event().wait()
        return "never"

    lines = [
        model_response(
            None, tool_call("pick", "call-1", '{"name": "Colour"}'), tool_call("work", "c2")
        )
    ]
    journal = MemoryJournal()
    running = asyncio.create_task(TurnHarness(lines, [pick, work]).run(journal))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await journal.wait_for(HumanAsked)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_after_a_refused_write_nothing_more_is_done() -> None:
    uninterrupted = MemoryJournal()
    await TurnHarness(TWO.lines, TWO.tools).run_answering(uninterrupted)
    for number in range(4):
        journal = MemoryJournal(refuses=number)
        harness = TurnHarness(TWO.lines, TWO.tools)
        with pytest.raises(WriteRefusedError):
            await harness.run_answering(journal)
        assert len(journal.batches) == number
        assert len(harness.sent_digests) <= number


async def test_a_refused_write_ends_the_turn_although_the_tool_swallows_the_error() -> None:
    async def deaf(runtime: ToolRuntime) -> str:
        try:
            await runtime.emit_business_event("X", "not recorded")
        except Exception:  # noqa: BLE001  as some tools do
            return "all is well"
        return "said"

    harness = TurnHarness([model_response(None, tool_call("deaf", "c1")), "Done."], [deaf])
    journal = MemoryJournal(refuses=2)
    with pytest.raises(WriteRefusedError):
        await harness.run(journal)
    assert len(harness.sent_digests) == 1
    assert journal.of(ToolReturned) == []


async def test_a_tool_that_swallows_exceptions_cannot_prevent_the_suspension() -> None:
    async def stubborn(runtime: ToolRuntime) -> str:
        try:
            return await runtime.ask("Which colour?")
        except Exception:  # noqa: BLE001  as some tools do
            return "no answer"

    journal = MemoryJournal()
    harness = TurnHarness(
        [model_response(None, tool_call("stubborn", "call-1")), "Done."], [stubborn]
    )
    assert await harness.run(journal) == Suspended()
    assert journal.of(ToolReturned) == []


async def test_the_timer_of_a_question_is_set_before_it_is_asked_and_only_once() -> None:
    async def hurry(runtime: ToolRuntime) -> str:
        return await runtime.ask("Quick?", expires_in=30, default="slow")

    journal = MemoryJournal()
    harness = TurnHarness(
        [model_response(None, tool_call("hurry", "call-1")), model_response("Done.")], [hurry]
    )
    assert await harness.run(journal) == Suspended()
    [question] = journal.of(HumanAsked)
    assert (question.expires_at, question.default) == (NOON + timedelta(seconds=30), "slow")
    assert journal.timers == {question.question_id: 30}
    journal.timers.clear()
    assert await TurnHarness(harness.lines, [hurry]).run(journal) == Suspended()
    assert journal.timers == {}
