"""Tools that a person must approve, of a workflow's folder and of MCP servers."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from contracts.events.human import HumanAsked
from contracts.events.parts import text_of
from services.orchestrator.agents.approval import denial, question
from services.orchestrator.agents.limits import Bounds
from services.orchestrator.agents.servers import ServerTools
from services.orchestrator.agents.tools import build_tool
from services.orchestrator.turns import Spoke, Waits
from services.orchestrator.workflows.spec import Limits, McpServer, Tool
from tests.orchestrator.agents.stage import MemoryJournal, Stage, call, function_of, result, says
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


def asking(work: object, **more: object) -> Stage:
    name = getattr(work, "__name__", "")
    declared = Tool(name, "", Path("tools.py"), name, requires_approval=True, **more)  # type: ignore[arg-type]
    arguments = PAY if work is pay else "{}"
    lines = [says(None, call(name, "c1", arguments)), "Done."]
    return Stage(lines, [build_tool(function_of(work, declared))])  # type: ignore[arg-type]


def say(journal: MemoryJournal, text: str) -> HumanAsked:
    """Answer the one open question."""
    turn = journal.state.open
    assert turn is not None
    (asked,) = turn.unanswered
    assert isinstance(asked, HumanAsked)
    journal.add(answered(text).model_copy(update={"question_id": asked.question_id}))
    return asked


async def test_a_call_waits_for_a_yes_before_anything_is_done() -> None:
    stage, journal = asking(pay), MemoryJournal()
    assert await stage.run(journal) == Waits()
    assert RUNS["pay"] == 0
    asked = say(journal, "Approve")
    assert asked.prompt == 'May pay be called with {"euros": 12}?'
    assert asked.options == ["Approve", "Deny"]
    assert await stage.run(journal) == Spoke("Done.", None)
    assert text_of(result(journal, "c1").parts) == "paid 12"
    assert RUNS["pay"] == 1


@pytest.mark.parametrize("said", ["Deny", "no", "not today", "Approve nothing", ""])
async def test_whatever_is_no_yes_keeps_the_call_from_being_made(said: str) -> None:
    stage, journal = asking(pay), MemoryJournal()
    await stage.run(journal)
    say(journal, said)
    assert await stage.run(journal) == Spoke("Done.", None)
    assert RUNS["pay"] == 0
    assert text_of(result(journal, "c1").parts) == denial("pay", said)


def test_the_model_hears_the_persons_own_words() -> None:
    assert denial("pay", "Only 10!").endswith("They said: Only 10!")
    assert "They said" not in denial("pay", "deny")


async def test_the_tools_own_questions_follow_its_approval_also_when_it_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.orchestrator.agents.limits.BACKOFF_SECONDS", 0)
    stage, journal = asking(book, limits=Limits(retries=1)), MemoryJournal()
    await stage.run(journal)
    say(journal, "yes")
    assert await stage.run(journal) == Waits()
    say(journal, "12A")
    RUNS["book"] = 2
    assert await stage.run(journal) == Spoke("Done.", None)
    assert text_of(result(journal, "c1").parts) == "booked 12A"
    assert [asked.ordinal for asked in journal.of(HumanAsked)] == [0, 1]


async def test_a_servers_tools_are_approved_too() -> None:
    here = Path(__file__).parent
    server = McpServer("odd", here, "python", (str(here / "odd_server.py"), "look"))
    careful = replace(server, requires_approval=True)
    kit = ServerTools(careful, {}, Bounds(careful.limits), ())
    journal = MemoryJournal()
    stage = Stage([says(None, call("look", "c1"), call("look", "c2")), "Done."], [kit])
    assert await stage.run(journal) == Waits()
    turn = journal.state.open
    assert turn is not None
    for asked, said in zip(turn.unanswered, ("Approve", "Deny"), strict=True):
        journal.add(answered(said).model_copy(update={"question_id": asked.question_id}))
    first, second = (asked.tool_call_id for asked in turn.unanswered)
    assert await stage.run(journal) == Spoke("Done.", None)
    assert text_of(result(journal, first).parts) == "the server saw here"
    assert text_of(result(journal, second).parts) == denial("look", "Deny")


def test_a_question_shows_long_arguments_cut() -> None:
    shown = question(call("pay", "c1", "x" * 9_000))
    assert len(shown) < 4_100
    assert "…" in shown
