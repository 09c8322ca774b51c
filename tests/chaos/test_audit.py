"""Each rule of the audit, with facts that satisfy it and facts that violate it."""

from collections import Counter
from dataclasses import replace
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

import pytest

from contracts.envelope import Envelope
from contracts.event_log import StoredEvent
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.run import RunClaimed
from contracts.events.turn import ToolDispatched, ToolReturned
from contracts.ids import ChatKey, RunnerId
from tests.chaos.audit import audit, repeated_in_doubt
from tests.chaos.facts import (
    Accepted,
    Collected,
    Done,
    Execution,
    Letter,
    Logged,
    Shown,
    Watcher,
    shown_as,
)
from tests.chaos.processes import Ending
from tests.chaos.schedule import Fault, Kind
from tests.chaos.workflow import TOOL
from tests.logs import decisions, stored
from tests.story import KEY, STARTED, answered, asked, calls, done, heard, listens, speaks

QUESTION = asked().question_id
BEGAN: list[Event] = [STARTED, speaks()]
WAITS: list[Event] = [*BEGAN, calls("hurry"), asked()]
ENDED: list[Event] = [*WAITS, answered(), done(), ChatCompleted(reason="terminate", turns=1)]
WHOLE: list[Event] = [*BEGAN, done(), ChatCompleted(reason="terminate", turns=1)]
RESULT = ToolReturned(
    turn=1, call=0, agent=done().agent, tool_call_id="call-1", name=TOOL, status="ok"
)
DISPATCHED = ToolDispatched(
    turn=1,
    call=0,
    agent=done().agent,
    tool_call_id="call-1",
    name=TOOL,
    idempotency_key=f"{KEY.app}:{KEY.chat}:1:call-1",
    arguments_digest="ab",
    effect="idempotent",
    attempt=1,
)
CALL = f"{KEY.app}:{KEY.chat}:1:call-1"


def log_of(events: list[Event], runner: str = "a:1:1", key: ChatKey = KEY) -> tuple[Logged, ...]:
    """Stored at second 100, 101, ..."""
    found: list[StoredEvent] = stored(decisions(events, key, runner=RunnerId(runner)))
    return tuple(Logged(one, place, 100.0 + place) for place, one in enumerate(found))


def collected(events: list[Event] = WHOLE, **more: Any) -> Collected:
    return Collected(logs={KEY: log_of(events)}, **more)


def kinds(facts: Collected) -> Counter[str]:
    return Counter(violation.kind for violation in audit(facts))


def test_nothing_is_wrong_with_chats_that_ended_or_wait_for_their_user() -> None:
    quiet: list[list[Event]] = [WHOLE, ENDED, WAITS, [STARTED, listens(1)]]
    for events in quiet:
        assert kinds(collected(events)) == {}


# -- the log ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [BEGAN, [*WAITS, answered()], [STARTED]])
def test_a_chat_that_waits_for_us_is_pending(events: list[Event]) -> None:
    assert kinds(collected(events)) == {"pending chat": 1}


def test_an_invalid_message_is_reported() -> None:
    assert kinds(collected(not_counted=("message 7: no envelope",))) == {
        "message that does not count": 1
    }


def test_a_log_with_a_gap_is_reported() -> None:
    log = log_of(ENDED)
    assert kinds(Collected(logs={KEY: (*log[:1], *log[2:])}))["log not contiguous"] == 1


def taken_over(*runners: str) -> tuple[Logged, ...]:
    """The events of a whole chat, each appended by one of these runners."""
    claimed = RunClaimed(runner=RunnerId(runners[1]), attempt=2, previous=RunnerId(runners[0]))
    events: list[Event] = [STARTED, speaks(), claimed, heard("a"), done(), WHOLE[-1]]
    log = log_of(events)
    return tuple(
        replace(one, event=replace(one.event, envelope=_by(one, runner)))
        for one, runner in zip(log, runners, strict=True)
    )


def _by(one: Logged, runner: str) -> Envelope:
    return one.event.envelope.model_copy(update={"runner": runner})


def test_a_runner_that_takes_over_may_continue_and_others_may_append_commands() -> None:
    log = taken_over("a:1:1", "a:1:1", "b:1:2", "c:2:1", "b:1:2", "b:1:2")
    assert kinds(Collected(logs={KEY: log})) == {}


@pytest.mark.parametrize("back", ["a:1:1", "b:1:1"])
def test_a_runner_that_comes_back_after_a_takeover_is_interleaved(back: str) -> None:
    log = taken_over(back, back, "b:1:2", "b:1:2", back, back)
    assert kinds(Collected(logs={KEY: log})) == {"two runners interleaved": 1}


@pytest.mark.parametrize("again", [speaks(), calls("hurry"), asked(), answered(), done()])
def test_a_step_recorded_twice_is_reported(again: Event) -> None:
    once: list[Event] = [STARTED, speaks(), calls("hurry"), asked(), answered(), done()]
    assert kinds(collected([*once, again, ENDED[-1]])) == {"recorded twice": 1}


def test_a_second_end_of_a_chat_is_reported() -> None:
    cancelled = ChatCancelled(user_id=STARTED.user_id)
    assert kinds(collected([*WHOLE, cancelled])) == {"recorded twice": 1}


def test_a_failed_chat_is_reported() -> None:
    failed = ChatFailed(code="GIVEN_UP", message="again and again")
    assert kinds(collected([*BEGAN, failed])) == {"chat failed": 1}


# -- what users were promised -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "events"),
    [
        (Accepted(KEY, "start"), WHOLE),
        (Accepted(KEY, "answer", QUESTION), ENDED),
        (Accepted(KEY, "message", "Hello"), [STARTED, heard("Hello"), listens(1)]),
        (Accepted(KEY, "message", "too late"), WHOLE),
        (Accepted(KEY, "cancel"), WHOLE),
    ],
)
def test_an_accepted_request_that_took_effect_is_correct(
    accepted: Accepted, events: list[Event]
) -> None:
    assert kinds(collected(events, accepted=(accepted,))) == {}


@pytest.mark.parametrize(
    ("accepted", "events"),
    [
        (Accepted(ChatKey(KEY.app, KEY.chat), "answer", QUESTION), WAITS),
        (Accepted(KEY, "message", "Hello"), [STARTED, listens(1)]),
        (Accepted(KEY, "cancel"), WAITS),
    ],
)
def test_an_accepted_request_without_effect_is_lost(
    accepted: Accepted, events: list[Event]
) -> None:
    assert kinds(collected(events, accepted=(accepted,))) == {"accepted command lost": 1}


def test_a_chat_that_was_accepted_and_never_began_is_lost() -> None:
    assert kinds(Collected(accepted=(Accepted(KEY, "start"),))) == {"accepted command lost": 1}


def test_an_answer_that_was_rejected_at_first_is_reported() -> None:
    refused = Accepted(KEY, "answer", QUESTION, first_refused=True)
    assert kinds(collected(ENDED, accepted=(refused,))) == {"answer refused": 1}


# -- watchers -----------------------------------------------------------------------------------------


def seen(*places: int, of: list[Event] = ENDED) -> tuple[Shown, ...]:
    true = [shown_as(one.event.envelope) for one in log_of(of)]
    return tuple(true[place - 1] for place in places)


def watched(*shown: Shown, goal: int = len(ENDED)) -> Collected:
    return collected(ENDED, watchers=(Watcher(KEY, "watcher-1", shown, goal),))


def test_a_watcher_that_received_the_whole_log_is_correct() -> None:
    assert kinds(watched(*seen(*range(1, len(ENDED) + 1)))) == {}


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        (seen(1, 2, 4, 5, 6, 7), "event not shown"),
        (seen(1, 2, 2, 3, 4, 5, 6, 7), "event shown twice"),
        (seen(1, 2, 3, 4, 5), "watcher left behind"),
        ((), "watcher left behind"),
        ((*seen(1, 2, 3, 4, 5, 6), Shown(7, "something else")), "phantom event"),
        ((*seen(*range(1, 8)), Shown(8, "beyond the log")), "phantom event"),
    ],
)
def test_a_watcher_that_received_something_else_is_reported(
    shown: tuple[Shown, ...], kind: str
) -> None:
    assert kinds(watched(*shown)) == {kind: 1}


# -- tools ------------------------------------------------------------------------------------------

WITH_TOOL: list[Event] = [STARTED, speaks(), calls(TOOL), RESULT, done(), WHOLE[-1]]
"""The result is stored at second 103."""


def hit(kind: Kind, began: float, ended: float, pid: int = 0) -> Done:
    return Done(Fault(1, 0.0, kind, "it"), "it", pid, began, ended, chats=1)


def ran(*executions: Execution, done_to_it: tuple[Done, ...] = ()) -> Collected:
    dispatches = [DISPATCHED] * len(executions)
    return collected([*WITH_TOOL, *dispatches], executions=executions, done=done_to_it)


def test_a_tool_that_ran_without_a_dispatch_is_reported() -> None:
    facts = collected([*WITH_TOOL, DISPATCHED], executions=(Execution(CALL, 1, 102.0),))
    assert kinds(facts) == {}
    undispatched = collected(WITH_TOOL, executions=(Execution(CALL, 1, 102.0),))
    assert kinds(undispatched) == {"tool ran without a dispatch": 1}


def test_a_tool_that_ran_once_is_correct() -> None:
    assert kinds(ran(Execution(CALL, 1, 102.0))) == {}


@pytest.mark.parametrize(
    "fault",
    [
        hit("kill service", 102.1, 102.1, pid=1),
        hit("pause service", 101.0, 104.0, pid=1),
        hit("kill NATS node", 90.0, 99.0),
    ],
)
def test_a_tool_that_a_fault_interrupted_may_run_again_in_doubt(fault: Done) -> None:
    facts = ran(Execution(CALL, 1, 102.0), Execution(CALL, 2, 102.8), done_to_it=(fault,))
    assert kinds(facts) == {}
    assert repeated_in_doubt(facts) == 1


def test_a_tool_that_runs_again_after_its_result_was_stored_is_reported() -> None:
    fault = hit("kill service", 102.1, 102.1, pid=1)
    facts = ran(Execution(CALL, 1, 102.0), Execution(CALL, 2, 103.5), done_to_it=(fault,))
    assert kinds(facts) == {"finished tool ran again": 1}


@pytest.mark.parametrize(
    "fault",
    [
        hit("kill service", 102.1, 102.1, pid=7),
        hit("kill service", 102.9, 102.9, pid=1),
        hit("kill MongoDB", 102.1, 102.3),
    ],
)
def test_a_tool_that_runs_twice_without_a_fault_in_between_is_reported(fault: Done) -> None:
    facts = ran(Execution(CALL, 1, 102.0), Execution(CALL, 2, 102.8), done_to_it=(fault,))
    assert kinds(facts) == {"tool ran twice without a fault": 1}


def test_a_result_of_a_tool_that_never_ran_is_reported() -> None:
    assert kinds(ran()) == {"tool result without a run": 1}


# -- what follows from the log, and the processes ----------------------------------------------------


def ended(code: int, asked_to: Signals | None, *, began: bool = True) -> Ending:
    return Ending("metrics", 5, code, asked_to, at=0.0, began=began, seconds=1.0)


@pytest.mark.parametrize(
    ("field", "found", "kind"),
    [
        ("verified", "a chat: 3 events kept, 4 in the log", "verify"),
        ("audited", "a chat: pending without its owner's message", "audit"),
        ("metrics", "total_cost is 1, the log makes 2", "metrics differ"),
        ("commands_left", "mozaiks.cmd.00.a.b.start_chat", "command left"),
        ("letters", Letter("mozaiks.dlq.orchestrator.cmd", "given up"), "dead letter"),
        ("not_ready", "metrics waits for nats", "not ready after healing"),
        ("endings", ended(3, None), "process ended by itself"),
        ("endings", ended(1, SIGTERM), "unclean stop"),
        ("endings", ended(-SIGTERM, SIGTERM), "unclean stop"),
    ],
)
def test_findings_are_formatted(field: str, found: object, kind: str) -> None:
    more: dict[str, Any] = {field: (found,)}
    assert kinds(collected(**more)) == {kind: 1}


@pytest.mark.parametrize(
    "ending",
    [
        ended(-SIGKILL, SIGKILL),
        ended(0, SIGTERM),
        ended(-SIGTERM, SIGTERM, began=False),
    ],
)
def test_a_process_that_exits_as_requested_is_correct(ending: Ending) -> None:
    assert kinds(collected(endings=(ending,))) == {}
