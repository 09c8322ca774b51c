"""Who runs a chat, derived from its log: the command that turned it from quiet to pending, or a claim."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.codec import Fact, Origin, seal
from contracts.commands import Command, EscalateQuestion, ExpireQuestion, ResumeChat, SetVariables
from contracts.events import Event
from contracts.events.chat import ChatFailed
from contracts.events.run import RunClaimed
from contracts.events.turn import ModelRequested
from contracts.ids import DeliveryId, RunnerId, Seq, delivery_of
from services.orchestrator.domain.chat_failures import fail_unavailable
from services.orchestrator.domain.decisions import conclude, decide
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.run_ownership import (
    FencedError,
    claim,
    give_up,
    is_fenced,
    reason_to_retry,
    resume,
)
from services.orchestrator.domain.state import ChatState, Owner, RunTurn, StopTurn, pending
from services.orchestrator.domain.stop_decisions import stop
from services.orchestrator.domain.turn import Turn
from services.orchestrator.domain.turn_steps import Completed
from services.orchestrator.workflows.spec import USER
from tests.story import (
    CANCEL,
    KEY,
    NEWSROOM,
    NOON,
    WRITER,
    asked,
    calls,
    order,
    reply,
    say,
    start,
    stop_answer,
)

TALKS = replace(
    NEWSROOM, agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=USER)}, max_turns=50
)
"""The writer and the user in turn."""
HURRIES = replace(TALKS, while_running="interrupt")
"""The same, where a message stops the answer."""


def after_events(
    state: ChatState, events: Sequence[Event], cause: str, by: DeliveryId | None = None
) -> ChatState:
    """The state after one decision."""
    for event in events:
        runner = None if by is None else by.runner
        origin = Origin(KEY, NEWSROOM.name, NOON, cause, runner=runner)
        fact: Fact = seal(event, Seq(state.seq + 1), origin)
        state = evolve(state, fact)
    return state


def by(message: int, attempt: int = 1, process: str = "p") -> DeliveryId:
    return DeliveryId(process, message, attempt)


def started() -> ChatState:
    return after_events(ChatState(), decide(start(), ChatState(), TALKS), "start", by(1))


def waiting() -> ChatState:
    """The writer has spoken, and it is the user's turn."""
    state = started()
    return after_events(state, conclude(Completed("Hello.", None), state, TALKS), "start", by(1))


def test_the_command_that_makes_a_chat_pending_owns_it() -> None:
    assert started().owner == Owner("start", 1)
    state = waiting()
    assert after_events(state, decide(say("Hi"), state, TALKS), "say", by(7)).owner == Owner(
        "say", 7
    )


def test_a_quiet_chat_has_no_owner_and_no_runner() -> None:
    for state in (
        ChatState(),
        waiting(),
        after_events(started(), decide(CANCEL, started(), TALKS), "c"),
    ):
        assert pending(state) is None
        assert (state.owner, state.runner) == (None, None)


def test_other_commands_and_the_run_itself_leave_the_owner_as_it_is() -> None:
    state = after_events(started(), decide(say("Quick!"), started(), TALKS), "say", by(7))
    assert (state.owner, state.runner) == (Owner("start", 1), by(1).runner)
    state = after_events(state, [calls("tool")], "start", by(1))
    assert state.owner == Owner("start", 1)


def test_an_answer_during_a_turn_owns_the_chat_that_waited_for_it() -> None:
    state = after_events(started(), [calls("tool"), asked()], "start", by(1))
    assert state.owner is None
    state = after_events(state, decide(reply("red"), state, TALKS), "reply", by(3))
    assert state.owner == Owner("reply", 3)


def test_a_later_delivery_claims_and_fences_the_earlier_ones() -> None:
    state = started()
    (claimed,) = claim(state, by(1, attempt=3))
    assert claimed == RunClaimed(runner=by(1, 3).runner, attempt=3, previous=by(1).runner)
    state = after_events(state, [claimed], "start", by(1, 3))
    assert (state.owner, state.runner) == (Owner("start", 1), by(1, 3).runner)
    assert is_fenced(state, by(1, 2))
    with pytest.raises(FencedError):
        claim(state, by(1, 2))
    assert not is_fenced(state, by(1, 3))
    assert claim(state, by(1, 4))
    assert claim(state, by(1, 3, process="other")), "a consumer that lost its state counts again"


def test_a_quiet_chat_or_one_that_another_message_owns_is_not_claimed() -> None:
    assert claim(waiting(), by(1, 2)) == []
    assert claim(started(), by(2, 2)) == []


def test_the_command_of_the_audit_becomes_the_owner_of_an_unchanged_chat() -> None:
    resumed = ResumeChat(**order("resume"), owner=1)
    assert resume(resumed, waiting(), by(9)) == []
    assert resume(resumed.model_copy(update={"owner": 2}), started(), by(9)) == []
    state = after_events(started(), resume(resumed, started(), by(9)), "resume", by(9))
    assert (state.owner, state.runner) == (Owner("resume", 9), by(9).runner)


ENDS: list[Callable[[ChatState], list[Event]]] = [
    fail_unavailable,
    lambda state: give_up(start(), state, by(1)),
]


@pytest.mark.parametrize("ends", ENDS)
def test_a_chat_that_ends_without_its_workflow_has_nothing_pending(
    ends: Callable[[ChatState], list[Event]],
) -> None:
    events = decide(start(), ChatState(), TALKS)
    events[0] = events[0].model_copy(update={"before_chat": ["open"], "after_chat": ["a", "b"]})
    state = after_events(ChatState(), events, "start", by(1))
    state = after_events(state, ends(state), "start", by(1))
    assert state.ended == "failed"
    assert pending(state) is None


def test_giving_up_a_command_fails_the_chat_only_if_the_command_owns_it() -> None:
    assert ended(give_up(start(), started(), by(1)))
    assert not ended(give_up(say("Hi"), started(), by(2)))
    assert give_up(start(), waiting(), by(1)) == []


def test_giving_up_a_start_that_was_not_applied_creates_a_failed_chat() -> None:
    state = after_events(ChatState(), give_up(start(), ChatState(), by(1)), "start", by(1))
    assert (state.ended, state.owner) == ("failed", None)
    assert decide(start(), state, TALKS) == []


def test_a_command_that_was_given_up_is_not_applied_later() -> None:
    late = say("Hi", name="late")
    state = after_events(waiting(), give_up(late, waiting(), by(4)), "late", by(4))
    assert decide(late, state, TALKS) == []
    assert give_up(late, state, by(4)) == []
    assert decide(say("Hi", name="another"), state, TALKS)


def test_giving_up_the_command_of_the_audit_fails_the_chat_that_nobody_runs() -> None:
    resumed = ResumeChat(**order("resume"), owner=1)
    assert ended(give_up(resumed, started(), by(9)))
    assert give_up(resumed.model_copy(update={"owner": 2}), started(), by(9)) == []


def test_a_command_is_dropped_only_if_it_can_never_have_an_effect() -> None:
    assert reason_to_retry(say("Hi"), ChatState())
    assert reason_to_retry(CANCEL, ChatState())
    assert reason_to_retry(reply("red"), started())
    known = after_events(started(), [calls("tool"), asked()], "start", by(1))
    answered_ = after_events(known, decide(reply("red"), known, TALKS), "reply", by(3))
    over = after_events(started(), decide(CANCEL, started(), TALKS), "cancel")
    for command, state in ((say("Hi"), started()), (reply("red"), answered_), (reply("red"), over)):
        assert reason_to_retry(command, state) is None
    assert reason_to_retry(start(), started()) is None


@pytest.mark.parametrize("timer", [ExpireQuestion, EscalateQuestion])
def test_a_timer_is_retried_while_its_question_may_still_be_asked(
    timer: type[ExpireQuestion | EscalateQuestion],
) -> None:
    command = timer(**order("timer"), question_id=asked().question_id)
    asking = after_events(started(), [calls("tool")], "start", by(1))
    for may_ask in (ChatState(), started(), asking):  # a log may be read from a node that is behind
        assert reason_to_retry(command, may_ask)
    known = after_events(asking, [asked()], "start", by(1))
    over = after_events(asking, decide(CANCEL, asking, TALKS), "cancel")
    deleted = replace(asking, is_deleted=True)
    erased = replace(asking, is_erased=True)
    another_turn = after_events(
        asking, conclude(Completed("Hi", None), asking, TALKS), "start", by(1)
    )
    for never in (known, over, deleted, erased, another_turn):
        assert reason_to_retry(command, never) is None


def test_a_variable_that_was_set_is_not_set_again_by_a_late_delivery() -> None:
    first = SetVariables(**order("set-1"), variables={"ui_colour": "red"})
    second = SetVariables(**order("set-2"), variables={"ui_colour": "blue"})
    state = waiting()
    for command in (first, second, first):
        state = after_events(state, decide(command, state, TALKS), command.command_id)
    assert state.variables["ui_colour"] == "blue"


def ended(events: Sequence[Event]) -> bool:
    return any(isinstance(event, ChatFailed) for event in events)


def test_a_runner_id_identifies_its_delivery() -> None:
    assert delivery_of(by(17, 2, "abc").runner) == by(17, 2, "abc")
    for odd in ("", "abc", "a:b:c", "a:1", "a:1:2:3", "a:-1:2", "a:1:x"):
        assert delivery_of(RunnerId(odd)) is None


def asked_of_model(turn: Turn) -> ModelRequested:
    """While the model answers, a cancellation is completed by the runner."""
    return ModelRequested(turn=turn.number, call=0, agent=turn.agent, prompt=[], digest="d")


# -- the ownership protocol with the real decisions ----------------------------------------------------------------


@dataclass
class InFlight:
    """A delivery in progress: what it has read of the log, and whether it runs the chat."""

    delivery: DeliveryId
    known: int
    state: ChatState
    lost: bool = False
    running: bool = False


@dataclass
class Sent:
    """A message of the queue."""

    command: Command
    deliveries: int = 0
    settled: bool = False


@dataclass
class World:
    """One chat, its log and its queue."""

    log: list[tuple[Event, str, DeliveryId]] = field(default_factory=list)
    queue: dict[int, Sent] = field(default_factory=dict)
    in_flight: list[InFlight] = field(default_factory=list)

    def state(self, upto: int | None = None) -> ChatState:
        state = ChatState()
        for event, cause, delivery in self.log[:upto]:
            state = after_events(state, [event], cause, delivery)
        return state


class Protocol(RuleBasedStateMachine):
    """Deliveries of equal and of different messages run the real decisions in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self._names = count(1)
        self._send(start())

    def _send(self, command: Command) -> None:
        self.world.queue[len(self.world.queue) + 1] = Sent(command)

    def _catch_up(self, in_flight: InFlight) -> None:
        for event, cause, delivery in self.world.log[in_flight.known :]:
            in_flight.state = after_events(in_flight.state, [event], cause, delivery)
            owner, own = in_flight.state.owner, in_flight.delivery
            if in_flight.running and owner is not None and owner.message != own.message:
                in_flight.lost = True
            later = delivery.message == own.message and delivery.attempt >= own.attempt
            if in_flight.running and later and delivery != own:
                in_flight.lost = True
        in_flight.known = len(self.world.log)

    def _append(self, in_flight: InFlight, events: Sequence[Event], cause: str) -> None:
        """Append as the log does: only from a delivery that has read it to its end."""
        assert in_flight.known == len(self.world.log)
        self.world.log += [(event, cause, in_flight.delivery) for event in events]
        self._catch_up(in_flight)

    @rule(kind=st.sampled_from(["say", "cancel", "stop", "interrupt", "again"]))
    def send(self, kind: str) -> None:
        if len(self.world.queue) > 6:
            return
        match kind:
            case "say":
                self._send(say("Hi", name=f"say-{next(self._names)}"))
            case "cancel":
                self._send(CANCEL)
            case "stop":
                self._send(stop_answer(name=f"stop-{next(self._names)}"))
            case "interrupt":
                self._send(say("Hurry", name=f"interrupt-{next(self._names)}"))
            case _:
                self._send(start())

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        waiting = [n for n, sent in self.world.queue.items() if not sent.settled]
        if not waiting or len(self.world.in_flight) > 3:
            return
        number = data.draw(st.sampled_from(waiting))
        sent = self.world.queue[number]
        sent.deliveries += 1
        process = f"p{sent.deliveries}"
        delivery = DeliveryId(process, number, sent.deliveries)
        self.world.in_flight.append(InFlight(delivery, 0, ChatState()))

    @precondition(lambda self: self.world.in_flight)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.world.in_flight.remove(data.draw(st.sampled_from(self.world.in_flight)))

    @precondition(lambda self: self.world.in_flight)
    @rule(data=st.data())
    def read_log(self, data: st.DataObject) -> None:
        """A delivery reads what was appended."""
        self._catch_up(data.draw(st.sampled_from(self.world.in_flight)))

    @precondition(lambda self: self.world.in_flight)
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        in_flight = data.draw(st.sampled_from(self.world.in_flight))
        if in_flight.known < len(self.world.log):
            self._catch_up(in_flight)  # its append would conflict: it reads, and decides again
        if in_flight.lost:
            self._leave(in_flight)
        elif in_flight.running:
            self._run(in_flight)
        else:
            self._apply_command(in_flight)

    def _apply_command(self, in_flight: InFlight) -> None:
        delivery, sent = in_flight.delivery, self.world.queue[in_flight.delivery.message]
        hurry = sent.command.command_id.startswith("interrupt")
        events = decide(sent.command, in_flight.state, HURRIES if hurry else TALKS)
        self._append(in_flight, events, sent.command.command_id)
        if not events and reason_to_retry(sent.command, in_flight.state) is not None:
            self.world.in_flight.remove(in_flight)  # returned to the queue, not acknowledged
            return
        owner = in_flight.state.owner
        if owner is None or owner.message != delivery.message:
            self._settle(in_flight)
            return
        try:
            takeover = not events or delivery.attempt > 1
            claimed = claim(in_flight.state, delivery) if takeover else []
        except FencedError:
            self.world.in_flight.remove(in_flight)
            return
        if is_fenced(in_flight.state, delivery):
            self.world.in_flight.remove(in_flight)
            return
        self._append(in_flight, claimed, sent.command.command_id)
        in_flight.running = True

    def _run(self, in_flight: InFlight) -> None:
        cause = self.world.queue[in_flight.delivery.message].command.command_id
        state = in_flight.state
        turn = state.running_turn
        match pending(state):
            case None:
                self._settle(in_flight)
            case StopTurn():
                self._append(in_flight, stop(state, TALKS), cause)
            case RunTurn() if turn is not None and turn.open_request is None:
                self._append(in_flight, [asked_of_model(turn)], cause)
            case _:
                done = conclude(Completed("Done.", None), state, TALKS)
                self._append(in_flight, done, cause)

    def _leave(self, in_flight: InFlight) -> None:
        owner = in_flight.state.owner
        if owner is not None and owner.message != in_flight.delivery.message:
            self._settle(in_flight)
        else:
            self.world.in_flight.remove(in_flight)

    def _settle(self, in_flight: InFlight) -> None:
        self.world.queue[in_flight.delivery.message].settled = True
        self.world.in_flight.remove(in_flight)

    @invariant()
    def a_pending_chat_always_has_the_unacknowledged_message_of_its_owner(self) -> None:
        state = self.world.state()
        if pending(state) is not None:
            assert state.owner is not None
            assert not self.world.queue[state.owner.message].settled

    @invariant()
    def a_fenced_delivery_appends_nothing(self) -> None:
        newest: DeliveryId | None = None
        state = ChatState()
        for event, cause, delivery in self.world.log:
            if newest is not None and delivery.message == newest.message:
                assert delivery.attempt >= newest.attempt
            state = after_events(state, [event], cause, delivery)
            if isinstance(event, RunClaimed):
                newest = delivery
            elif state.owner is None:
                newest = None


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
