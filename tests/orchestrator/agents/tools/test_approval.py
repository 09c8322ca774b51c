"""Tools that require approval, of a workflow's folder and of MCP servers."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.arguments import digest_of
from contracts.events.human import Audience, HumanAnswered, HumanAsked
from contracts.events.parts import text_of
from contracts.events.turn import ToolDispatched
from contracts.ids import QuestionId, UserId
from services.orchestrator.agents.session.human_requests import (
    CallToApprove,
    Decision,
    approval_prompt,
)
from services.orchestrator.agents.tools.approval import denial_message
from services.orchestrator.agents.tools.function_tools import build_tool
from services.orchestrator.agents.tools.limits import CallLimiter
from services.orchestrator.agents.tools.mcp_tools import ServerToolkit
from services.orchestrator.domain.turn_steps import Completed, Suspended
from services.orchestrator.workflows.effect_policy import EffectPolicy
from services.orchestrator.workflows.spec import (
    ApprovalPolicy,
    Limits,
    McpServer,
    QuestionRouting,
    Recipients,
    Tool,
)
from tests.orchestrator.agents.turn_harness import (
    MemoryJournal,
    TurnHarness,
    function_of,
    model_response,
    tool_call,
    tool_result,
)
from tests.story import answered
from workflows.tooling import ToolRuntime

RUNS: Counter[str] = Counter()
PAY = '{"euros": 12}'


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


async def pay(euros: int) -> str:
    RUNS["pay"] += 1
    return f"paid {euros}"


async def book(runtime: ToolRuntime) -> str:
    RUNS["book"] += 1
    seat = await runtime.ask("Which seat?")
    if RUNS["book"] == 3:  # the first run after the answer
        raise OSError("busy")
    return f"booked {seat}"


ASK_USER = ApprovalPolicy()


def turn_that_calls(
    function: object, policy: ApprovalPolicy = ASK_USER, calls: int = 1, **options: object
) -> TurnHarness:
    """The model makes so many calls of the function, one after the other."""
    name = getattr(function, "__name__", "")
    declared = Tool(name, "", Path("tools.py"), name, approval=policy, **options)  # type: ignore[arg-type]
    arguments = PAY if function is pay else "{}"
    lines = [
        model_response(None, tool_call(name, f"c{number}", arguments))
        for number in range(1, calls + 1)
    ]
    return TurnHarness([*lines, "Done."], [build_tool(function_of(function, declared))])  # type: ignore[arg-type]


def open_question(journal: MemoryJournal) -> HumanAsked:
    turn = journal.state.open_turn
    assert turn is not None
    (asked,) = turn.unanswered
    assert isinstance(asked, HumanAsked)
    return asked


def answer_question(journal: MemoryJournal, text: str, **fields: object) -> HumanAsked:
    """Answer the one open question; returns the question."""
    asked = open_question(journal)
    update = {"question_id": asked.question_id, **fields}
    journal.add(answered(text).model_copy(update=update))
    return asked


def denied(text: str = "", *, expired: bool = False) -> Decision:
    return Decision(approved=False, question=QuestionId("q"), text=text, expired=expired)


async def test_a_call_waits_for_approval_before_it_is_made() -> None:
    harness, journal = turn_that_calls(pay), MemoryJournal()
    assert await harness.run(journal) == Suspended()
    assert RUNS["pay"] == 0
    asked = answer_question(journal, "Approve")
    assert asked.prompt == 'May pay be called with {"euros": 12}?'
    assert asked.options == ["Approve", "Deny"]
    assert await harness.run(journal) == Completed("Done.", None)
    assert text_of(tool_result(journal, "c1").parts) == "paid 12"
    assert RUNS["pay"] == 1


@pytest.mark.parametrize("answer", ["Deny", "no", " NO. ", "Rejected", ""])
async def test_a_no_refuses_the_call(answer: str) -> None:
    harness, journal = turn_that_calls(pay), MemoryJournal()
    await harness.run(journal)
    answer_question(journal, answer)
    assert await harness.run(journal) == Completed("Done.", None)
    assert RUNS["pay"] == 0
    result = tool_result(journal, "c1")
    assert (result.status, result.error, result.metadata) == ("refused", None, {})
    assert text_of(result.parts) == denial_message("pay", denied(answer))


@pytest.mark.parametrize("answer", ["not today", "Approve nothing", "yes and no", "Always", "?"])
async def test_an_answer_that_is_neither_yes_nor_no_is_asked_again(answer: str) -> None:
    harness, journal = turn_that_calls(pay), MemoryJournal()
    await harness.run(journal)
    first = answer_question(journal, answer)
    assert await harness.run(journal) == Suspended()
    assert RUNS["pay"] == 0
    again = answer_question(journal, "Yes!")
    assert again.question_id != first.question_id
    assert again.prompt == f"“{answer}” is neither yes nor no. {first.prompt}"
    assert await harness.run(journal) == Completed("Done.", None)
    assert RUNS["pay"] == 1


async def test_a_structured_answer_decides_whatever_its_text_says() -> None:
    harness, journal = turn_that_calls(pay), MemoryJournal()
    await harness.run(journal)
    answer_question(journal, "Only 10!", approved=False)
    assert await harness.run(journal) == Completed("Done.", None)
    assert RUNS["pay"] == 0
    assert text_of(tool_result(journal, "c1").parts).endswith("The answer was: Only 10!")


def test_the_model_gets_the_users_own_words() -> None:
    assert denial_message("pay", denied("Only 10!")).endswith("The answer was: Only 10!")
    assert "answer" not in denial_message("pay", denied("deny"))


async def test_an_approval_names_the_call_by_the_digest_of_its_arguments() -> None:
    harness, journal = turn_that_calls(pay), MemoryJournal()
    await harness.run(journal)
    approval = open_question(journal).approval
    assert approval is not None
    assert (approval.tool, approval.digest) == ("pay", digest_of('{ "euros":12 }'))
    assert approval.digest != digest_of('{"euros": 13}')


async def test_an_approval_of_other_arguments_is_asked_again() -> None:
    harness, journal = turn_that_calls(pay), MemoryJournal()
    await harness.run(journal)
    asked = open_question(journal)
    assert asked.approval is not None
    other = asked.approval.model_copy(update={"digest": digest_of('{"euros": 13}')})
    changed = MemoryJournal()
    changed.add(*journal.events[:-1], asked.model_copy(update={"approval": other}))
    answer_question(changed, "Approve")
    assert await harness.run(changed) == Suspended()
    assert RUNS["pay"] == 0
    assert "have changed" in open_question(changed).prompt


async def test_an_approval_that_nobody_gives_in_time_is_a_refusal() -> None:
    harness, journal = turn_that_calls(pay, ApprovalPolicy(60)), MemoryJournal()
    await harness.run(journal)
    asked = open_question(journal)
    assert (journal.timers[asked.question_id], asked.default) == (60, "Deny")
    answer_question(journal, "Deny", by_default=True, approved=False)
    assert await harness.run(journal) == Completed("Done.", None)
    result = tool_result(journal, "c1")
    assert result.status == "refused"
    assert text_of(result.parts) == denial_message("pay", denied(expired=True))


async def test_an_approval_is_asked_of_the_approvers_and_escalated() -> None:
    managers = Recipients(("zoe",), ("manager",))
    routing = QuestionRouting(Recipients(roles=("finance",)), 30, managers)
    harness, journal = turn_that_calls(pay, ApprovalPolicy(routing=routing)), MemoryJournal()
    await harness.run(journal)
    asked = open_question(journal)
    assert asked.audience == Audience(roles=["finance"])
    assert asked.escalation is not None
    assert asked.escalation.to == Audience(users=[UserId("zoe")], roles=["manager"])
    assert journal.escalations == {asked.question_id: 30}


async def test_an_approval_is_consumed_by_its_dispatch_and_covers_no_second_execution() -> None:
    finance = QuestionRouting(Recipients(roles=("finance",)))
    policy = ApprovalPolicy(allow_always=True, routing=finance)
    once = EffectPolicy("once", "ask")
    harness = turn_that_calls(pay, policy, effects=once)
    journal = MemoryJournal()
    await harness.run(journal)
    asked = answer_question(journal, "Always for this chat", approved=True, always=True)
    assert await harness.run(journal) == Completed("Done.", None)
    (dispatched,) = journal.of(ToolDispatched)
    assert asked.approval is not None
    assert (dispatched.approval, dispatched.arguments_digest) == (
        asked.question_id,
        asked.approval.digest,
    )
    killed = MemoryJournal()  # its process ended while the tool was running
    killed.add(*journal.events[: journal.events.index(dispatched) + 1])
    RUNS.clear()
    assert await harness.run(killed) == Suspended()
    assert RUNS["pay"] == 0
    doubt = open_question(killed)
    assert doubt.doubt is not None
    assert doubt.audience == Audience(roles=["finance"])
    answer_question(killed, "Do it again")
    assert await harness.run(killed) == Completed("Done.", None)
    assert RUNS["pay"] == 1
    assert [one.approval for one in killed.of(ToolDispatched)] == [
        asked.question_id,
        doubt.question_id,
    ]


async def test_always_approves_the_later_calls_of_the_tool() -> None:
    policy = ApprovalPolicy(allow_always=True)
    harness, journal = turn_that_calls(pay, policy, calls=3), MemoryJournal()
    await harness.run(journal)
    assert open_question(journal).options == ["Approve", "Deny", "Always for this chat"]
    answer_question(journal, "Always for this chat", approved=True, always=True)
    assert await harness.run(journal) == Completed("Done.", None)
    assert RUNS["pay"] == 3
    assert len(journal.of(HumanAsked)) == 1


async def test_always_is_asked_again_where_the_manifest_does_not_offer_it() -> None:
    harness, journal = turn_that_calls(pay, calls=2), MemoryJournal()
    await harness.run(journal)
    answer_question(journal, "always")
    assert await harness.run(journal) == Suspended()
    answer_question(journal, "yes", always=True)
    assert await harness.run(journal) == Suspended()
    assert RUNS["pay"] == 1
    assert journal.of(HumanAnswered)[-1].always


async def test_a_retried_tool_asks_its_own_questions_after_its_approval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.orchestrator.agents.tools.limits.FIRST_BACKOFF_SECONDS", 0)
    harness, journal = turn_that_calls(book, limits=Limits(retries=1)), MemoryJournal()
    await harness.run(journal)
    answer_question(journal, "yes")
    assert await harness.run(journal) == Suspended()
    answer_question(journal, "12A")
    RUNS["book"] = 2
    assert await harness.run(journal) == Completed("Done.", None)
    assert text_of(tool_result(journal, "c1").parts) == "booked 12A"
    assert [asked.ordinal for asked in journal.of(HumanAsked)] == [0, 1]


async def test_tools_of_an_mcp_server_are_approved_too() -> None:
    here = Path(__file__).parents[1]
    server = McpServer("odd", here, "python", (str(here / "misbehaving_mcp_server.py"), "look"))
    guarded = replace(server, approval=ASK_USER)
    kit = ServerToolkit(guarded, {}, CallLimiter(guarded.limits), ())
    journal = MemoryJournal()
    harness = TurnHarness(
        [model_response(None, tool_call("look", "c1"), tool_call("look", "c2")), "Done."], [kit]
    )
    assert await harness.run(journal) == Suspended()
    turn = journal.state.open_turn
    assert turn is not None
    for asked, answer in zip(turn.unanswered, ("Approve", "Deny"), strict=True):
        journal.add(answered(answer).model_copy(update={"question_id": asked.question_id}))
    first, second = (asked.tool_call_id for asked in turn.unanswered)
    assert await harness.run(journal) == Completed("Done.", None)
    assert text_of(tool_result(journal, first).parts) == "the server saw here"
    assert text_of(tool_result(journal, second).parts) == denial_message("look", denied("Deny"))
    assert tool_result(journal, second).status == "refused"


def test_the_approval_question_truncates_long_arguments() -> None:
    question = approval_prompt(CallToApprove("c1", "pay", "x" * 9_000))
    assert len(question) < 4_100
    assert "…" in question
