"""The rules that must hold after healing: pure functions of the collected facts."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from signal import SIGTERM

from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    UserMessageReceived,
)
from contracts.events.human import HumanAnswered, HumanAsked, UiToolAnswered
from contracts.events.turn import (
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
)
from contracts.ids import ChatKey, delivery_of
from services.orchestrator.domain.evolution import replay
from services.orchestrator.domain.state import ChatState, pending
from tests.chaos.facts import Accepted, Collected, Done, Execution, Logged, Watcher, shown_as
from tests.chaos.schedule import TAKES_A_NODE
from tests.chaos.workflow import TOOL

BEFORE_SECONDS = 5.0
"""A fault that ended so shortly before a call may still affect it."""
_OF_NATS = TAKES_A_NODE | {"stream full", "leader step-down"}


@dataclass(frozen=True, slots=True)
class Violation:
    """A violation: its kind, where, and what was found."""

    kind: str
    where: str
    found: str


Rule = Callable[[Collected], Iterator[Violation]]


def audit(collected: Collected) -> list[Violation]:
    return [violation for rule in RULES for violation in rule(collected)]


# -- the log ----------------------------------------------------------------------------------------


def every_chat_is_quiet(collected: Collected) -> Iterator[Violation]:
    """The chat has ended, or waits for its user."""
    for key, log in collected.logs.items():
        state = _state(log)
        if (effect := pending(state)) is not None:
            where = f"owner {state.owner}, last event {log[-1].event.envelope.type}"
            yield Violation("pending chat", _name(key), f"{effect}: {where}")
        elif not (
            state.ended
            or state.waits_for_user
            or (state.open_turn and state.open_turn.is_suspended)
        ):
            yield Violation("pending chat", _name(key), "waits for nobody and has not ended")


def logs_are_whole(collected: Collected) -> Iterator[Violation]:
    """Every message in EVENTS is valid, and every `seq` follows the one before."""
    for sentence in collected.not_counted:
        yield Violation("message that does not count", "EVENTS", sentence)
    for key, log in collected.logs.items():
        seqs = [one.event.envelope.seq for one in log]
        if seqs != list(range(1, len(log) + 1)):
            yield Violation("log not contiguous", _name(key), f"seq {seqs}")


def one_runner_at_a_time(collected: Collected) -> Iterator[Violation]:
    """After a delivery has taken over from another, that one appends nothing more."""
    for key, log in collected.logs.items():
        runs: dict[int, list[str]] = defaultdict(list)
        for one in log:
            runner = one.event.envelope.runner or ""
            by = delivery_of(one.event.envelope.runner) if one.event.envelope.runner else None
            if by is None or runs[by.message][-1:] == [runner]:
                continue
            if runner in runs[by.message]:
                seq = one.event.envelope.seq
                found = f"event {seq} by {runner} after {runs[by.message][-1]}"
                yield Violation("two runners interleaved", _name(key), found)
            runs[by.message].append(runner)


def nothing_is_recorded_twice(collected: Collected) -> Iterator[Violation]:
    """A turn begins and ends once, and so do its model calls, its tool calls and its questions."""
    for key, log in collected.logs.items():
        seen: dict[str, int] = {}
        for one in log:
            envelope = one.event.envelope
            step = _step(one.event.event)
            if step and (first := seen.setdefault(step, envelope.seq)) != envelope.seq:
                found = f"{step}: events {first} and {envelope.seq}"
                yield Violation("recorded twice", _name(key), found)


def _step(event: Event | None) -> str:
    """The identity of an event that may occur once in a chat; empty if it may be repeated."""
    match event:
        case SpeakerSelected(turn=turn) | TurnCompleted(turn=turn) | TurnFailed(turn=turn):
            return f"{event.type} of turn {turn}"
        case ModelResponded(turn=turn, call=call) | UsageRecorded(turn=turn, call=call):
            return f"{event.type} of call {turn}.{call}"
        case ToolReturned(turn=turn, tool_call_id=call):
            return f"{event.type} of {turn}.{call}"
        case HumanAsked(question_id=question) | HumanAnswered(question_id=question):
            return f"{event.type} of {question}"
        case ChatStarted() | ChatCompleted() | ChatFailed() | ChatCancelled():
            return event.type if isinstance(event, ChatStarted) else "end of the chat"
        case _:
            return ""


def no_chat_failed(collected: Collected) -> Iterator[Violation]:
    """The workflows of the run have no fault of their own."""
    for key, log in collected.logs.items():
        for one in log:
            if isinstance(one.event.event, ChatFailed):
                failed = one.event.event
                yield Violation("chat failed", _name(key), f"{failed.code}: {failed.message}")


# -- what users were promised -----------------------------------------------------------------------


def what_was_accepted_happened(collected: Collected) -> Iterator[Violation]:
    """Each accepted command is in its chat's log, unless the chat had ended before."""
    for one in collected.accepted:
        log = collected.logs.get(one.chat, ())
        if not _happened(one, log):
            found = f"{one.kind} {one.what} was accepted"
            yield Violation("accepted command lost", _name(one.chat), found)


def open_questions_are_found(collected: Collected) -> Iterator[Violation]:
    """The answer to a question that a user has received is not rejected."""
    for one in collected.accepted:
        if one.first_refused and not _ended_otherwise(collected.logs.get(one.chat, ())):
            found = f"the answer to {one.what} was refused at first"
            yield Violation("answer refused", _name(one.chat), found)


def _happened(accepted: Accepted, log: Sequence[Logged]) -> bool:
    state = _state(log)
    if not state.started:
        return False
    events = [one.event.event for one in log]
    match accepted.kind:
        case "start":
            return True
        case "cancel":
            return state.ended is not None
        case "answer":
            asked_and_answered = any(
                isinstance(event, HumanAnswered | UiToolAnswered)
                and event.question_id == accepted.what
                for event in events
            )
            return asked_and_answered or _ended_otherwise(log)
        case "message":
            said = any(
                isinstance(event, UserMessageReceived) and event.text == accepted.what
                for event in events
            )
            return said or state.ended is not None


def _ended_otherwise(log: Sequence[Logged]) -> bool:
    return _state(log).ended in ("cancelled", "failed")


# -- watchers -----------------------------------------------------------------------------------------


def watchers_saw_the_log(collected: Collected) -> Iterator[Violation]:
    """Each received the log: in order, without gaps, repeats or additions, to its end."""
    for watcher in collected.watchers:
        log = collected.logs.get(watcher.chat, ())
        where = f"{_name(watcher.chat)} {watcher.name}"
        for kind, found in _misshown(watcher, log):
            yield Violation(kind, where, found)


def _misshown(watcher: Watcher, log: Sequence[Logged]) -> Iterator[tuple[str, str]]:
    true = [shown_as(one.event.envelope) for one in log]
    last = 0
    for one in watcher.shown:
        if one.seq <= last:
            yield "event shown twice", f"event {one.seq} after {last}"
            continue
        if one.seq > last + 1:
            yield "event not shown", f"event {one.seq} after {last}"
        if one.seq > len(true):
            yield "phantom event", f"event {one.seq}, the log ends at {len(true)}"
        elif one != true[one.seq - 1]:
            yield "phantom event", f"event {one.seq} differs from the log"
        last = one.seq
    if last < max(watcher.goal, 1):
        yield "watcher left behind", f"it was shown {last} events of {watcher.goal}"


# -- tools ------------------------------------------------------------------------------------------


def finished_tools_ran_once(collected: Collected) -> Iterator[Violation]:
    """A call runs again only where a fault came between its first run and its stored result."""
    results = _results(collected)
    runs: dict[str, list[Execution]] = defaultdict(list)
    for execution in sorted(collected.executions, key=lambda one: one.at):
        runs[execution.key].append(execution)
    for key in results.keys() - runs.keys():
        yield Violation("tool result without a run", key, f"stored at {results[key]:.3f}")
    for key, executions in runs.items():
        for first, again in pairwise(executions):
            found = f"by {first.pid} at {first.at:.3f}, by {again.pid} at {again.at:.3f}"
            if (stored := results.get(key)) is not None and again.at > stored:
                yield Violation("finished tool ran again", key, f"{found}, stored {stored:.3f}")
            elif not _in_doubt(first, again, collected.done):
                yield Violation("tool ran twice without a fault", key, found)


def no_tool_ran_without_a_dispatch(collected: Collected) -> Iterator[Violation]:
    """Each run of a call follows an event of its own: no append, no call."""
    dispatched = Counter(
        one.event.event.idempotency_key
        for log in collected.logs.values()
        for one in log
        if isinstance(one.event.event, ToolDispatched)
    )
    runs = Counter(execution.key for execution in collected.executions)
    for key, count in runs.items():
        if count > dispatched[key]:
            found = f"{count} runs, {dispatched[key]} dispatches"
            yield Violation("tool ran without a dispatch", key, found)


def repeated_in_doubt(collected: Collected) -> int:
    """How many runs of the tool were repeats after a fault that left the first one in doubt."""
    keys = {execution.key for execution in collected.executions}
    return len(collected.executions) - len(keys)


def _in_doubt(first: Execution, again: Execution, done: Sequence[Done]) -> bool:
    return any(
        (one.pid == first.pid or one.fault.kind in _OF_NATS)
        and one.began < again.at
        and one.ended > first.at - BEFORE_SECONDS
        for one in done
    )


def _results(collected: Collected) -> dict[str, float]:
    """When each result of the counted tool was stored, by the key of its call."""
    return {
        f"{key.app}:{key.chat}:{result.turn}:{result.tool_call_id}": one.stored
        for key, log in collected.logs.items()
        for one in log
        if isinstance(result := one.event.event, ToolReturned)
        and result.name == TOOL
        and result.status == "ok"
    }


# -- what follows from the log, and the processes ----------------------------------------------------


def followers_equal_the_log(collected: Collected) -> Iterator[Violation]:
    kinds = {
        "verify": collected.verified,
        "audit": collected.audited,
        "metrics differ": collected.metrics,
    }
    for kind, sentences in kinds.items():
        for sentence in sentences:
            yield Violation(kind, "all", sentence)


def nothing_is_left_over(collected: Collected) -> Iterator[Violation]:
    for subject in collected.commands_left:
        yield Violation("command left", subject, "is unacknowledged long after the last fault")
    for letter in collected.letters:
        yield Violation("dead letter", letter.subject, letter.reason)


def processes_are_well(collected: Collected) -> Iterator[Violation]:
    """They exit only when they are stopped or killed, with 0 where stopped, and become ready."""
    for one in collected.endings:
        where = f"{one.service} (pid {one.pid})"
        if one.asked is None:
            yield Violation("process ended by itself", where, f"exit code {one.code}")
        elif one.asked == SIGTERM and one.code != 0 and one.began:
            found = f"exit code {one.code} {one.seconds:.1f} s after SIGTERM"
            yield Violation("unclean stop", where, found)
    for sentence in collected.not_ready:
        yield Violation("not ready after healing", "all", sentence)


RULES: tuple[Rule, ...] = (
    every_chat_is_quiet,
    logs_are_whole,
    one_runner_at_a_time,
    nothing_is_recorded_twice,
    no_chat_failed,
    what_was_accepted_happened,
    open_questions_are_found,
    watchers_saw_the_log,
    finished_tools_ran_once,
    no_tool_ran_without_a_dispatch,
    followers_equal_the_log,
    nothing_is_left_over,
    processes_are_well,
)


def open_questions(log: Sequence[Logged]) -> list[str]:
    """The questions of a chat that wait for an answer."""
    answered = {
        one.event.event.question_id
        for one in log
        if isinstance(one.event.event, HumanAnswered | UiToolAnswered)
    }
    asked = [one.event.event for one in log if isinstance(one.event.event, HumanAsked)]
    return [str(one.question_id) for one in asked if one.question_id not in answered]


def _state(log: Sequence[Logged]) -> ChatState:
    return replay(fact for one in log if (fact := one.fact) is not None)


def _name(key: ChatKey) -> str:
    return f"{key.app}/{key.chat}"
