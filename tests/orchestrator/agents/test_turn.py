"""A turn on AG2: kept before it is acted on, gone on with from wherever its log ends."""

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
from services.orchestrator.agents.tools import build_handoff
from services.orchestrator.projection import messages
from services.orchestrator.state import pending
from services.orchestrator.turns import Broke, Outcome, Spoke, Waits
from services.orchestrator.workflows.spec import Handoff
from tests.orchestrator.agents.signals import Signal
from tests.orchestrator.agents.stage import (
    BEGUN,
    MemoryJournal,
    RefusedHereError,
    Stage,
    call,
    requests,
    responses,
    result,
    says,
)
from tests.story import EDITOR, NOON, WRITER, answered, heard, speaks
from workflows.tooling import ToolRuntime

RUNS: Counter[str] = Counter()
"""How often each tool call has begun, by its idempotency key's last part."""


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


def ran(runtime: ToolRuntime) -> None:
    RUNS[runtime.idempotency_key.rsplit(":", 1)[-1]] += 1


async def look(where: str, runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    ran(runtime)
    context_variables["sources"].append(where)
    return f"seen {where}"


def measure(runtime: ToolRuntime, context_variables: dict[str, Any]) -> dict[str, Any]:
    ran(runtime)
    context_variables["length"] = len(context_variables["sources"])
    del context_variables["tone"]
    return {"words": 120, "é": [1.5, None, True]}


async def ask(question: str, runtime: ToolRuntime, context_variables: dict[str, Any]) -> str:
    ran(runtime)
    colour = await runtime.ask(question, ["red", "blue"])
    shade = await runtime.ask(f"Which {colour}?")
    context_variables["colour"] = f"{shade} {colour}"
    await runtime.emit_business_event("COLOUR", f"{colour} it is", key=runtime.idempotency_key)
    return f"{shade} {colour}"


async def fail(runtime: ToolRuntime) -> str:
    ran(runtime)
    raise LookupError("nothing in /var/lib/secret/place.db")


TOOLS: list[Callable[..., Any]] = [look, measure, ask, fail]

# Three model calls: parallel tools of every kind, then one alone, then the end.
LINES: list[Turn] = [
    ModelMessageChunk("Let me "),
    ModelMessageChunk("look."),
    says(
        "Let me look.",
        call("look", "c1", '{"where": "outside"}'),
        call("ask", "c2", '{"question": "Which colour?"}'),
        call("fail", "c3"),
        call("absent", "c4"),
        call("look", "c5", "{not json"),
    ),
    says(None, call("measure", "c6")),
    "It rains.",
]


async def played(journal: MemoryJournal) -> tuple[Outcome, list[str]]:
    """The whole turn from where the journal ends: its outcome and the requests that models got."""
    stage = Stage(LINES, TOOLS)
    return await stage.play(journal), stage.heard


async def test_a_turn_goes_to_its_end() -> None:
    journal = MemoryJournal()
    outcome, heard_by_model = await played(journal)
    assert outcome == Spoke("It rains.", None)
    assert heard_by_model == requests(journal)
    assert [said.call for said in journal.of(ModelResponded)] == [0, 1, 2]
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


async def test_a_turn_resumed_at_every_prefix_ends_as_if_never_interrupted() -> None:
    whole = MemoryJournal()
    outcome, _ = await played(whole)
    expected = whole.story.state
    for cut in range(len(whole.batches) + 1):
        RUNS.clear()
        kept = [event for batch in whole.batches[:cut] for event in batch]
        story = BEGUN.then(*kept)
        assert story.state.open is not None
        finished = set(story.state.open.returned)
        resumed = MemoryJournal(story)
        assert (await played(resumed))[0] == outcome, cut
        again = resumed.story.state
        assert messages(again) == messages(expected), cut
        assert again.variables == expected.variables, cut
        assert not finished & set(RUNS), f"cut {cut}: a finished tool ran again"


async def test_a_turn_resumed_at_every_prefix_sends_the_requests_that_were_left() -> None:
    whole = MemoryJournal()
    _, sent = await played(whole)
    for cut in range(len(whole.batches) + 1):
        story = BEGUN.then(*(event for batch in whole.batches[:cut] for event in batch))
        resumed = MemoryJournal(story)
        _, left = await played(resumed)
        assert left == sent[responses(story) :], cut
        recorded = [f.event for f in resumed.story.facts if isinstance(f.event, ModelRequested)]
        assert [request.digest for request in recorded] == sent, cut


async def test_business_events_and_questions_are_told_once_however_often_one_resumes() -> None:
    whole = MemoryJournal()
    await played(whole)
    for cut in range(len(whole.batches) + 1):
        story = BEGUN.then(*(event for batch in whole.batches[:cut] for event in batch))
        resumed = MemoryJournal(story)
        await played(resumed)
        told = [fact.event for fact in resumed.story.facts]
        assert sum(isinstance(event, BusinessLogged) for event in told) == 1, cut
        assert sum(isinstance(event, HumanAsked) for event in told) == 2, cut


async def test_text_is_shown_while_it_is_said_at_its_offset() -> None:
    journal = MemoryJournal()
    await played(journal)
    assert journal.shown == [(0, 0, "Let me "), (0, 7, "look.")]


async def test_nothing_is_kept_after_an_ended_turn_is_entered_again() -> None:
    stage = Stage(["It rains."])
    journal = MemoryJournal()
    assert await stage.run(journal) == Spoke("It rains.", None)
    before = list(journal.batches)
    assert await stage.run(journal) == Spoke("It rains.", None)
    assert journal.batches == before
    assert len(stage.heard) == 1


async def test_an_agent_goes_on_from_what_it_said_in_earlier_turns() -> None:
    journal = MemoryJournal()
    outcome, _ = await played(journal)
    assert isinstance(outcome, Spoke)
    ended = TurnCompleted(turn=1, agent=WRITER, text=outcome.text)
    again = MemoryJournal(journal.story.then(ended, heard("Longer!"), speaks(WRITER, 2)))
    stage = Stage(["It rains and rains."])
    assert await stage.run(again) == Spoke("It rains and rains.", None)


# -- tools ----------------------------------------------------------------------------------------


async def test_a_tool_that_raises_is_told_to_the_model_without_traceback_and_path() -> None:
    journal = MemoryJournal()
    await played(journal)
    failed = result(journal, "c3")
    assert failed.error == "LookupError: nothing in place.db"
    assert text_of(failed.parts) == failed.error


async def test_an_unknown_tool_is_told_to_the_model() -> None:
    journal = MemoryJournal()
    await played(journal)
    assert result(journal, "c4").error == "There is no tool named absent."


async def test_malformed_arguments_reach_no_tool() -> None:
    journal = MemoryJournal()
    await played(journal)
    assert result(journal, "c5").status == "error"
    assert RUNS["c5"] == 0


async def test_a_tool_knows_the_one_call_it_is_by_its_key() -> None:
    keys: list[str] = []

    async def note(runtime: ToolRuntime) -> str:
        keys.append(runtime.idempotency_key)
        return "noted"

    stage = Stage([says(None, call("note", "c1"), call("note", "c2")), "Done."], [note])
    await stage.run(MemoryJournal())
    assert sorted(keys) == ["acme.corp:chat 1:1:c1", "acme.corp:chat 1:1:c2"]


async def test_a_handoff_ends_the_turn_with_its_target_and_the_words_before_it() -> None:
    hand_over = build_handoff(Handoff(EDITOR, "The draft is ready."))
    stage = Stage([says("Over to you.", call("transfer_to_Editor", "c1"))], [hand_over])
    journal = MemoryJournal()
    assert await stage.run(journal) == Spoke("Over to you.", EDITOR)
    assert await stage.run(journal) == Spoke("Over to you.", EDITOR)
    assert len(journal.of(ToolReturned)) == 1


async def test_a_call_id_that_a_provider_uses_again_is_another_call() -> None:
    stage = Stage(
        [
            says(None, call("look", "call_0", '{"where": "left"}')),
            says(None, call("look", "call_0", '{"where": "right"}')),
            "Done.",
        ],
        TOOLS,
    )
    journal = MemoryJournal()
    assert await stage.run(journal) == Spoke("Done.", None)
    returned = sorted(text_of(one.parts) for one in journal.of(ToolReturned))
    assert returned == ["seen left", "seen right"]
    assert journal.story.state.variables["sources"] == ["left", "right"]


async def test_two_calls_with_one_id_are_two_calls() -> None:
    stage = Stage(
        [
            says(
                None,
                call("look", "call_0", '{"where": "left"}'),
                call("look", "call_0", '{"where": "right"}'),
            ),
            "Done.",
        ],
        TOOLS,
    )
    journal = MemoryJournal()
    assert await stage.run(journal) == Spoke("Done.", None)
    # They run side by side: either may return first, each under the id that is its own.
    seen = {one.tool_call_id: text_of(one.parts) for one in journal.of(ToolReturned)}
    assert seen == {"call_0": "seen left", "call_0_0": "seen right"}
    assert len(journal.of(ToolReturned)) == 2


# -- variables ------------------------------------------------------------------------------------


async def test_variables_are_kept_as_they_change_and_only_then() -> None:
    journal = MemoryJournal()
    await played(journal)
    assert [(v.changed, v.removed) for v in journal.of(VariablesChanged)] == [
        ({"sources": ["outside"]}, []),
        ({"colour": "red red"}, []),
        ({"length": 1}, ["tone"]),
    ]


async def test_what_a_tool_does_to_its_variables_reaches_nothing_but_the_log() -> None:
    journal = MemoryJournal()
    before = journal.story.state.variables
    stage = Stage([says(None, call("look", "c1", '{"where": "in"}')), "Done."], TOOLS)
    await stage.run(journal)
    assert before["sources"] == []
    assert BEGUN.state.variables["sources"] == []


async def test_a_variable_that_is_no_json_is_kept_as_text() -> None:
    def put(context_variables: dict[str, Any]) -> str:
        context_variables["place"] = {"x": 1, "y": object}
        return "put"

    journal = MemoryJournal()
    await Stage([says(None, call("put", "c1")), "Done."], [put]).run(journal)
    (changed,) = journal.of(VariablesChanged)
    assert changed.changed["place"]["x"] == 1
    assert isinstance(changed.changed["place"]["y"], str)


# -- people ---------------------------------------------------------------------------------------


async def pick(name: str, runtime: ToolRuntime) -> str:
    ran(runtime)
    return await runtime.ask(f"{name}?")


TWO = Stage(
    [
        says(
            None,
            call("pick", "call-1", '{"name": "Colour"}'),
            call("pick", "call-2", '{"name": "Size"}'),
            call("look", "call-3", '{"where": "here"}'),
        ),
        "Done.",
    ],
    [pick, look],
)


async def test_a_turn_waits_once_only_people_are_left_to_answer() -> None:
    journal = MemoryJournal()
    assert await TWO.run(journal) == Waits()
    # Tools of one response run side by side: either may ask first.
    asking = sorted(asked.tool_call_id for asked in journal.of(HumanAsked))
    assert asking == ["call-1", "call-2"]
    assert result(journal, "call-3").status == "ok"
    assert pending(journal.story.state) is None


async def test_entering_a_waiting_turn_again_asks_nothing_twice() -> None:
    journal = MemoryJournal()
    await TWO.run(journal)
    before = list(journal.batches)
    assert await TWO.run(journal) == Waits()
    assert journal.batches == before


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_two_questions_are_answered_alone_and_in_any_order(order: tuple[int, int]) -> None:
    stage = Stage(TWO.lines, TWO.tools)
    journal = MemoryJournal()
    assert await stage.run(journal) == Waits()
    first, second = order
    journal.add(answered(f"answer {first}", first))
    assert pending(journal.story.state) is not None
    assert await stage.run(journal) == Waits()
    assert text_of(result(journal, f"call-{first}").parts) == f"answer {first}"
    journal.add(answered(f"answer {second}", second))
    assert await stage.run(journal) == Spoke("Done.", None)
    contents = [m["content"] for m in messages(journal.story.state) if m["role"] == "tool"]
    assert contents == ["answer 1", "answer 2", "seen here"]
    assert RUNS["call-3"] == 1
    assert RUNS[f"call-{first}"] == 2


async def test_the_order_of_answers_does_not_change_what_the_model_is_told() -> None:
    told: list[str] = []
    for order in ((1, 2), (2, 1)):
        stage, journal = Stage(TWO.lines, TWO.tools), MemoryJournal()
        for number in order:
            await stage.run(journal)
            journal.add(answered(f"answer {number}", number))
        await stage.run(journal)
        told.append(requests(journal)[-1])
    assert told[0] == told[1]


async def test_an_answer_that_comes_while_others_work_is_taken_at_once() -> None:
    working = Signal()

    async def work() -> str:
        await working.wait()
        return "worked"

    journal = MemoryJournal()
    stage = Stage(
        [says(None, call("pick", "call-1", '{"name": "Colour"}'), call("work", "c2")), "Done."],
        [pick, work],
    )
    running = asyncio.create_task(stage.run(journal))
    async with asyncio.timeout(10):
        await journal.until(HumanAsked)
        journal.add(answered("red"))
        await journal.until(ToolReturned)
        assert text_of(result(journal, "call-1").parts) == "red"
        working.set()
        assert await running == Spoke("Done.", None)
    assert RUNS["call-1"] == 1


async def test_a_ui_tool_is_answered_by_what_the_person_does_with_it() -> None:
    async def choose(runtime: ToolRuntime) -> dict[str, Any]:
        return await runtime.use_ui_tool("colours", {"n": 2}, display="artifact")

    journal = MemoryJournal()
    stage = Stage([says(None, call("choose", "call-1")), "Done."], [choose])
    assert await stage.run(journal) == Waits()
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
    assert await stage.run(journal) == Spoke("Done.", None)
    assert text_of(result(journal, "call-1").parts) == '{"colour": "red"}'


# -- ends -----------------------------------------------------------------------------------------


async def test_a_model_that_never_stops_calling_is_stopped() -> None:
    lines = [says(None, call("look", f"c{n}", '{"where": "on"}')) for n in range(9)]
    journal = MemoryJournal()
    outcome = await Stage(lines, TOOLS).run(journal, call_limit=3)
    assert isinstance(outcome, Broke)
    assert outcome.code == "CALL_LIMIT"
    assert len(journal.of(ModelRequested)) == 3
    assert len(journal.of(ToolReturned)) == 3


async def test_calls_made_before_a_crash_count() -> None:
    lines = [says(None, call("look", f"c{n}", '{"where": "on"}')) for n in range(9)]
    first = MemoryJournal(refuses=5)
    with pytest.raises(RefusedHereError):
        await Stage(lines, TOOLS).run(first)
    again = MemoryJournal(first.story)
    outcome = await Stage(lines, TOOLS).run(again, call_limit=3)
    assert isinstance(outcome, Broke)
    asked = [f for f in again.story.facts if isinstance(f.event, ModelRequested)]
    assert len(asked) == 3


async def test_a_model_that_fails_breaks_the_turn_in_words() -> None:
    outcome = await Stage([RuntimeError("no luck with /srv/keys/openai.txt")]).run(MemoryJournal())
    assert outcome == Broke("TURN_FAILED", "RuntimeError: no luck with openai.txt")


async def test_a_turn_cancelled_from_outside_is_cancelled_all_the_way_down() -> None:
    reached, stopped = Signal(), Signal()

    async def work() -> str:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return "never"

    journal = MemoryJournal()
    running = asyncio.create_task(Stage([says(None, call("work", "c1"))], [work]).run(journal))
    async with asyncio.timeout(10):
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await stopped.wait()
    assert journal.of(ToolReturned) == []


async def test_a_turn_cancelled_while_it_asks_does_not_pass_for_waiting() -> None:
    async def work() -> str:
        await asyncio.Event().wait()
        return "never"

    lines = [says(None, call("pick", "call-1", '{"name": "Colour"}'), call("work", "c2"))]
    journal = MemoryJournal()
    running = asyncio.create_task(Stage(lines, [pick, work]).run(journal))
    async with asyncio.timeout(10):
        await journal.until(HumanAsked)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_whatever_the_journal_refuses_nothing_is_done_after_it() -> None:
    whole = MemoryJournal()
    await Stage(TWO.lines, TWO.tools).play(whole)
    for number in range(4):
        journal = MemoryJournal(refuses=number)
        stage = Stage(TWO.lines, TWO.tools)
        with pytest.raises(RefusedHereError):
            await stage.play(journal)
        assert len(journal.batches) == number
        assert len(stage.heard) <= number


async def test_a_refusal_inside_a_tool_ends_the_turn_although_the_tool_swallows_it() -> None:
    async def deaf(runtime: ToolRuntime) -> str:
        try:
            await runtime.emit_business_event("X", "said to nobody")
        except Exception:  # noqa: BLE001  as some tools do
            return "all is well"
        return "said"

    stage = Stage([says(None, call("deaf", "c1")), "Done."], [deaf])
    journal = MemoryJournal(refuses=2)
    with pytest.raises(RefusedHereError):
        await stage.run(journal)
    assert len(stage.heard) == 1
    assert journal.of(ToolReturned) == []


async def test_a_tool_that_swallows_everything_cannot_hold_a_waiting_turn() -> None:
    async def stubborn(runtime: ToolRuntime) -> str:
        try:
            return await runtime.ask("Which colour?")
        except Exception:  # noqa: BLE001  as some tools do
            return "no answer"

    journal = MemoryJournal()
    stage = Stage([says(None, call("stubborn", "call-1")), "Done."], [stubborn])
    assert await stage.run(journal) == Waits()
    assert journal.of(ToolReturned) == []


async def test_the_timer_of_a_question_is_set_before_it_is_asked_and_only_once() -> None:
    async def hurry(runtime: ToolRuntime) -> str:
        return await runtime.ask("Quick?", expires_in=30, default="slow")

    journal = MemoryJournal()
    stage = Stage([says(None, call("hurry", "call-1")), says("Done.")], [hurry])
    assert await stage.run(journal) == Waits()
    [question] = journal.of(HumanAsked)
    assert (question.expires_at, question.default) == (NOON + timedelta(seconds=30), "slow")
    assert journal.timers == {question.question_id: 30}
    journal.timers.clear()
    assert await Stage(stage.lines, [hurry]).run(journal) == Waits()
    assert journal.timers == {}
