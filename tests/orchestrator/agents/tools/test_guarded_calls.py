"""Calls in doubt: dispatched before they begin, then checked, asked about, told, failed or repeated."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from contracts.arguments import digest_of
from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.human import HumanAnswered, HumanAsked
from contracts.events.parts import text_of
from contracts.events.turn import ModelResponded, ToolDispatched, ToolReturned
from services.orchestrator.agents.execution.lifecycle_tools import run_lifecycle_tool
from services.orchestrator.agents.sandbox.thread_runner import ThreadRunner
from services.orchestrator.agents.session.dispatches import Dispatches
from services.orchestrator.agents.session.open_calls import OpenCalls
from services.orchestrator.agents.session.turn_journal import TurnJournal
from services.orchestrator.agents.tools import check_function, limits
from services.orchestrator.agents.tools.check_function import build_check
from services.orchestrator.agents.tools.function_tools import build_tool
from services.orchestrator.domain.state import remaining_lifecycle_tools
from services.orchestrator.domain.turn_steps import Completed, Failed, Outcome, Suspended
from services.orchestrator.workflows.code.loader import ToolLoadError
from services.orchestrator.workflows.effect_policy import EffectPolicy
from services.orchestrator.workflows.spec import ApprovalPolicy, Limits, Tool
from tests.orchestrator.agents.turn_harness import (
    MemoryJournal,
    TurnHarness,
    WriteRefusedError,
    function_of,
    model_response,
    tool_call,
    tool_result,
)
from tests.story import ANA, NEWSROOM, given
from tests.story import KEY as STORY_KEY

DONE = Completed("Done.", None)
ARGUMENTS = '{"cents": 500}'
ASK, NO_LIMITS = EffectPolicy("once", "ask"), Limits()
KEY = "acme.corp:chat 1:1:c1"


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_BACKOFF_SECONDS", 0)


@dataclass
class Shop:
    """A tool that charges, whose effects can be counted, and the turn in which a model calls it."""

    policy: EffectPolicy = ASK
    check: Callable[..., Any] | None = None
    limits: Limits = NO_LIMITS
    approval: ApprovalPolicy | None = None
    hangs: bool = False
    effects: list[str] = field(default_factory=list)
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    def harness(self) -> TurnHarness:
        def charge(cents: int, runtime: Any) -> str:
            self.effects.append(runtime.idempotency_key)
            runtime.receipt({"charge": len(self.effects)})
            if self.hangs:
                time.sleep(0.3)
            return f"charged {cents}"

        declared = Tool(
            "charge",
            "Charge.",
            Path("shop.py"),
            "charge",
            self.limits,
            effects=self.policy,
            approval=self.approval,
        )
        function = function_of(charge, declared)
        if self.check is not None:
            check = build_check(self.check, "check", ThreadRunner(), 5)
            function = replace(function, check=check)
        call = model_response("One moment.", tool_call("charge", "c1", ARGUMENTS))
        return TurnHarness([call, "Done."], [build_tool(function)])

    async def run(self) -> Outcome:
        return await self.harness().run(self.journal)

    async def die_after(self, kind: type[Event]) -> None:
        """Run until such an event is stored; the next append is refused, as if the process had ended."""
        dying = _Dying(self.journal.story, kind)
        with pytest.raises(WriteRefusedError):
            await self.harness().run(dying)
        self.journal = MemoryJournal(dying.story)

    def answer(self, text: str) -> None:
        turn = self.journal.state.open_turn
        assert turn is not None
        (question,) = turn.unanswered
        self.journal.add(HumanAnswered(question_id=question.question_id, user_id=ANA, text=text))

    @property
    def result(self) -> ToolReturned:
        return tool_result(self.journal, "c1")

    @property
    def dispatches(self) -> list[tuple[int, str]]:
        facts = self.journal.story.facts
        found = [fact.event for fact in facts if isinstance(fact.event, ToolDispatched)]
        return [(one.attempt, one.reason) for one in found]


class _Dying(MemoryJournal):
    """Refuses everything after the first event of a kind."""

    def __init__(self, story: Any, kind: type[Event]) -> None:
        super().__init__(story)
        self._kind = kind

    async def record(self, *events: Event, **more: Any) -> None:
        if self.of(self._kind):
            raise WriteRefusedError("the process has ended")
        await super().record(*events, **more)


async def test_a_call_is_in_the_log_before_it_begins() -> None:
    seen: list[Any] = []
    shop = Shop()

    async def look(runtime: Any) -> str:
        del runtime
        seen.extend(shop.journal.of(ToolDispatched))
        return "seen"

    declared = Tool("look", "Look.", Path("x.py"), "look", effects=EffectPolicy("once", "ask"))
    harness = TurnHarness(
        [model_response(None, tool_call("look", "c1", "{ }")), "Done."],
        [build_tool(function_of(look, declared))],
    )
    assert await harness.run(shop.journal) == DONE
    assert seen == shop.journal.of(ToolDispatched)
    (one,) = seen
    assert (one.idempotency_key, one.effect, one.attempt) == (KEY, "once", 1)
    assert one.arguments_digest == digest_of({})


async def test_nothing_is_called_if_its_dispatch_is_not_stored() -> None:
    shop = Shop()
    dying = _Dying(shop.journal.story, ModelResponded)
    with pytest.raises(WriteRefusedError):
        await shop.harness().run(dying)
    assert shop.effects == []


async def test_a_call_that_never_began_is_made_and_one_that_ended_is_not_made_again() -> None:
    shop = Shop()
    await shop.die_after(ModelResponded)
    await shop.die_after(ToolReturned)
    assert await shop.run() == DONE
    assert shop.effects == [KEY]
    assert shop.dispatches == [(1, "first")]


def dispatches_on(journal: MemoryJournal) -> Dispatches:
    turn = journal.state.open_turn
    assert turn is not None
    return Dispatches(STORY_KEY, turn, TurnJournal(journal, OpenCalls()), {})


async def test_calls_that_begin_together_share_one_message() -> None:
    journal = MemoryJournal()
    dispatches = dispatches_on(journal)
    first = [dispatches.append(f"c{n}", "work", "once", "first", call=0) for n in range(3)]
    await asyncio.gather(*first)
    await dispatches.append("c3", "work", "once", "first", call=0)
    assert [len(batch) for batch in journal.batches] == [3, 1]
    assert [one.tool_call_id for one in journal.of(ToolDispatched)] == ["c0", "c1", "c2", "c3"]


async def test_no_call_of_a_message_that_is_not_stored_begins() -> None:
    journal = MemoryJournal(refuses=0)
    dispatches = dispatches_on(journal)
    calls = [dispatches.append(f"c{n}", "work", "once", "first", call=0) for n in range(3)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in outcomes] == [WriteRefusedError] * 3


async def test_a_call_in_doubt_is_a_question_that_says_what_was_called() -> None:
    shop = Shop()
    await shop.die_after(ToolDispatched)
    assert await shop.run() == Suspended()
    (asked,) = shop.journal.of(HumanAsked)
    assert asked.options == ["It happened", "It did not happen", "Do it again"]
    assert ARGUMENTS in asked.prompt
    assert asked.doubt is not None
    assert (asked.doubt.tool, asked.doubt.attempt) == ("charge", 1)
    assert asked.doubt.digest == digest_of(ARGUMENTS)
    assert len(shop.effects) == 1


@pytest.mark.parametrize(
    ("answer", "status", "told", "effects"),
    [
        ("It happened: charge 17", "ok", "charge 17", 1),
        ("it happened.", "ok", "The user says that this call took effect.", 1),
        ("It did not happen", "error", "The user says that it did not take effect.", 1),
        ("Do it again", "ok", "charged 500", 2),
    ],
)
async def test_the_user_decides_what_becomes_of_a_call_in_doubt(
    answer: str, status: str, told: str, effects: int
) -> None:
    shop = Shop()
    await shop.die_after(ToolDispatched)
    await shop.run()
    shop.answer(answer)
    assert await shop.run() == DONE
    assert shop.result.status == status
    assert told in text_of(shop.result.parts)
    assert len(shop.effects) == effects
    assert shop.result.resolved_by == (None if effects == 2 else "user")


async def test_a_text_that_decides_nothing_is_asked_again() -> None:
    shop = Shop()
    await shop.die_after(ToolDispatched)
    await shop.run()
    shop.answer("perhaps")
    assert await shop.run() == Suspended()
    first, second = shop.journal.of(HumanAsked)
    assert first.question_id != second.question_id
    assert second.prompt.startswith("“perhaps” is none of the answers.")
    shop.answer("It happened: yes")
    assert await shop.run() == DONE
    assert len(shop.effects) == 1


async def test_a_call_that_is_made_again_and_interrupted_again_is_asked_about_again() -> None:
    shop = Shop()
    await shop.die_after(ToolDispatched)
    await shop.run()
    shop.answer("Do it again")
    await shop.die_after(ToolDispatched)
    assert await shop.run() == Suspended()
    shop.answer("It happened: twice")
    assert await shop.run() == DONE
    assert shop.dispatches == [(1, "first"), (2, "answer")]
    assert len(shop.effects) == 2


async def test_tell_gives_the_model_the_status_unknown() -> None:
    shop = Shop(EffectPolicy("once", "tell"))
    await shop.die_after(ToolDispatched)
    assert await shop.run() == DONE
    assert (shop.result.status, shop.result.error) == ("unknown", None)
    assert "It is not known whether this call of charge took effect" in text_of(shop.result.parts)
    assert len(shop.effects) == 1


async def test_fail_ends_the_turn_with_a_code_also_if_it_is_interrupted_once_more() -> None:
    shop = Shop(EffectPolicy("once", "fail"))
    await shop.die_after(ToolDispatched)
    dying = _Dying(shop.journal.story, ToolReturned)
    failed = await shop.harness().run(dying)
    assert isinstance(failed, Failed)
    assert failed.code == "TOOL_IN_DOUBT"
    shop.journal = MemoryJournal(dying.story)
    assert await shop.run() == failed
    assert len(shop.effects) == 1


@pytest.mark.parametrize("effect", ["read", "idempotent"])
async def test_what_may_be_repeated_is_repeated_with_the_same_key(effect: Any) -> None:
    shop = Shop(EffectPolicy(effect, "repeat"))
    await shop.die_after(ToolDispatched)
    assert await shop.run() == DONE
    assert shop.effects == [KEY, KEY]
    assert shop.dispatches == [(1, "first"), (2, "repeat")]


@pytest.mark.parametrize(
    ("answer", "effects", "reasons"),
    [
        ({"status": "done", "result": {"charge": 17}}, 1, ["first"]),
        ({"status": "done"}, 1, ["first"]),
        ({"status": "not_done"}, 2, ["first", "check"]),
    ],
)
async def test_a_check_that_knows_makes_the_question_unnecessary(
    answer: dict[str, Any], effects: int, reasons: list[str]
) -> None:
    asked: list[tuple[str, Any]] = []

    def check(key: str, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append((key, arguments))
        return answer

    shop = Shop(check=check)
    await shop.die_after(ToolDispatched)
    assert await shop.run() == DONE
    assert asked == [(KEY, {"cents": 500})]
    assert shop.journal.of(HumanAsked) == []
    assert len(shop.effects) == effects
    assert [reason for _, reason in shop.dispatches] == reasons


def _raises(key: str) -> None:
    raise ConnectionError(key)


async def _hangs(key: str) -> None:
    del key
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "check",
    [
        _raises,
        _hangs,
        lambda _: None,
        lambda _: True,
        lambda _: "done",
        lambda _: {"status": "fine"},
        lambda _: {"status": "done", "more": 1},
        lambda _: {"status": "not_done", "result": 1},
        lambda _: ["done"],
        lambda _: {"status": "unknown"},
    ],
    ids=range(10),
)
async def test_a_check_that_knows_nothing_leaves_the_question(
    check: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_function, "CHECK_SECONDS", 0.2)
    shop = Shop(check=check)
    await shop.die_after(ToolDispatched)
    assert await shop.run() == Suspended()
    assert len(shop.effects) == 1


async def test_a_check_is_not_asked_once_the_user_was() -> None:
    asked: list[str] = []

    def check(key: str) -> dict[str, Any]:
        asked.append(key)
        return {"status": "unknown"}

    shop = Shop(check=check)
    await shop.die_after(ToolDispatched)
    await shop.run()
    shop.answer("It happened: yes")
    assert await shop.run() == DONE
    assert asked == [KEY]


@pytest.mark.parametrize("check", [lambda: None, lambda key, other: (key, other)], ids=range(2))
def test_a_check_that_cannot_be_called_with_a_key_is_refused(check: Callable[..., Any]) -> None:
    with pytest.raises(ToolLoadError, match="a check is called with the idempotency key"):
        build_check(check, "shop.py: check", ThreadRunner(), 5)


async def test_a_time_limit_leaves_a_call_in_doubt_that_must_not_be_repeated() -> None:
    shop = Shop(limits=Limits(timeout_seconds=0.1), hangs=True)
    assert await shop.run() == Suspended()
    (asked,) = shop.journal.of(HumanAsked)
    assert "took longer than 0.1 s" in asked.prompt
    shop.answer("It happened: it took a while")
    assert await shop.run() == DONE
    assert len(shop.effects) == 1


async def test_a_time_limit_of_what_may_be_repeated_is_an_error_as_before() -> None:
    shop = Shop(EffectPolicy(), limits=Limits(timeout_seconds=0.1, retries=1), hangs=True)
    assert await shop.run() == DONE
    assert shop.result.status == "error"
    assert shop.dispatches == [(1, "first"), (2, "retry")]


async def test_a_question_of_the_tool_itself_leaves_no_doubt() -> None:
    runs: list[str] = []

    async def charge(runtime: Any) -> str:
        answer = await runtime.ask("Which card?")
        runs.append(answer)
        return f"charged the {answer} card"

    policy = EffectPolicy("once", "ask")
    declared = Tool("charge", "Charge.", Path("x.py"), "charge", effects=policy)
    journal = MemoryJournal()
    harness = TurnHarness(
        [model_response(None, tool_call("charge", "c1")), "Done."],
        [build_tool(function_of(charge, declared))],
    )
    assert await harness.run_answering(journal) == DONE
    assert runs == ["red"]
    assert [one.doubt for one in journal.of(HumanAsked)] == [None]
    assert [one.reason for one in journal.of(ToolDispatched)] == ["first", "continue"]


async def test_a_chat_without_dispatches_goes_on_as_before() -> None:
    shop = Shop()
    await shop.die_after(ModelResponded)  # the log of an older release: no dispatch, no result
    shop.effects.append(KEY)
    assert await shop.run() == DONE
    assert shop.effects == [KEY, KEY]


async def test_a_receipt_is_kept_with_the_result_and_has_a_limit() -> None:
    shop = Shop()
    assert await shop.run() == DONE
    assert shop.result.receipt == {"charge": 1}

    def greedy(runtime: Any) -> None:
        runtime.receipt("x" * 5_000)

    journal = MemoryJournal()
    harness = TurnHarness([model_response(None, tool_call("greedy", "c1")), "Done."], [greedy])
    assert await harness.run(journal) == DONE
    assert "receipt: has 5,002 bytes, and may have 4,096" in (
        tool_result(journal, "c1").error or ""
    )


class _LifecycleChat(MemoryJournal):
    """A chat before its first turn; it ends with its process once a dispatch is stored, if `dies`."""

    key = STORY_KEY

    def __init__(self, story: Any, *, dies: bool) -> None:
        super().__init__(story)
        self._dies = dies

    async def append(self, decide: Any, **more: Any) -> None:
        if self._dies and self.of(ToolDispatched):
            raise WriteRefusedError("the process has ended")
        await super().append(decide, **more)


async def test_before_a_chat_a_call_in_doubt_is_told_and_the_chat_goes_on() -> None:
    runs: list[str] = []

    def book(runtime: Any) -> None:
        runs.append(runtime.idempotency_key)

    declared = Tool("book", "Book.", Path("x.py"), "book", effects=EffectPolicy("once", "tell"))
    workflow = replace(NEWSROOM, before_chat=(declared,))
    functions = {declared: function_of(book, declared)}
    story = given(ChatStarted(user_id=ANA, seed=7, before_chat=["book"]))
    dying: Any = _LifecycleChat(story, dies=True)
    with pytest.raises(WriteRefusedError):
        await run_lifecycle_tool("before_chat", workflow, functions, dying)
    chat: Any = _LifecycleChat(dying.story, dies=False)
    await run_lifecycle_tool("before_chat", workflow, functions, chat)
    (result,) = chat.of(ToolReturned)
    assert (result.status, result.occasion) == ("unknown", "before_chat")
    assert remaining_lifecycle_tools("before_chat", chat.state) == {}
    assert runs == ["acme.corp:chat 1:0:before_chat-0"]
