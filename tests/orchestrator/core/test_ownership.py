"""Who runs a chat, read off its log: whoever turned it from quiet to pending, or claimed it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contracts.codec import Fact, Origin, seal
from contracts.commands import Command, ResumeChat, SetVariables
from contracts.events import Event
from contracts.events.chat import ChatFailed
from contracts.events.run import RunClaimed
from contracts.ids import DeliveryId, RunnerId, Seq, delivery_of
from services.orchestrator.decisions import (
    FencedError,
    claim,
    conclude,
    decide,
    give_up,
    is_fenced,
    resume,
    too_early,
    unavailable,
)
from services.orchestrator.state import ChatState, Owner, evolve, pending
from services.orchestrator.turns import Spoke
from services.orchestrator.workflows.spec import USER
from tests.story import CANCEL, KEY, NEWSROOM, NOON, WRITER, asked, calls, order, reply, say, start

TALKS = replace(
    NEWSROOM, agents={WRITER: replace(NEWSROOM.agents[WRITER], after_work=USER)}, max_turns=50
)
"""The writer and the user in turn."""


def grown(
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


def begun() -> ChatState:
    return grown(ChatState(), decide(start(), ChatState(), TALKS), "start", by(1))


def waiting() -> ChatState:
    """The writer has spoken, and it is the user's turn."""
    state = begun()
    return grown(state, conclude(Spoke("Hello.", None), state, TALKS), "start", by(1))


def test_the_command_that_makes_a_chat_pending_owns_it() -> None:
    assert begun().owner == Owner("start", 1)
    state = waiting()
    assert grown(state, decide(say("Hi"), state, TALKS), "say", by(7)).owner == Owner("say", 7)


def test_a_quiet_chat_has_no_owner_and_no_runner() -> None:
    for state in (ChatState(), waiting(), grown(begun(), decide(CANCEL, begun(), TALKS), "c")):
        assert pending(state) is None
        assert (state.owner, state.runner) == (None, None)


def test_other_commands_and_the_run_itself_leave_the_owner_as_it_is() -> None:
    state = grown(begun(), decide(say("Quick!"), begun(), TALKS), "say", by(7))
    assert (state.owner, state.runner) == (Owner("start", 1), by(1).runner)
    state = grown(state, [calls("tool")], "start", by(1))
    assert state.owner == Owner("start", 1)


def test_an_answer_owns_the_chat_that_waited_for_it_in_mid_turn() -> None:
    state = grown(begun(), [calls("tool"), asked()], "start", by(1))
    assert state.owner is None
    state = grown(state, decide(reply("red"), state, TALKS), "reply", by(3))
    assert state.owner == Owner("reply", 3)


def test_a_later_delivery_claims_and_fences_the_earlier_ones() -> None:
    state = begun()
    (claimed,) = claim(state, by(1, attempt=3))
    assert claimed == RunClaimed(runner=by(1, 3).runner, attempt=3, previous=by(1).runner)
    state = grown(state, [claimed], "start", by(1, 3))
    assert (state.owner, state.runner) == (Owner("start", 1), by(1, 3).runner)
    assert is_fenced(state, by(1, 2))
    with pytest.raises(FencedError):
        claim(state, by(1, 2))
    assert not is_fenced(state, by(1, 3))
    assert claim(state, by(1, 4))
    assert claim(state, by(1, 3, process="other")), "a consumer that lost its state counts again"


def test_nothing_is_claimed_of_a_quiet_chat_or_of_one_that_another_message_owns() -> None:
    assert claim(waiting(), by(1, 2)) == []
    assert claim(begun(), by(2, 2)) == []


def test_the_audit_s_command_becomes_the_owner_where_nothing_has_moved() -> None:
    resumed = ResumeChat(**order("resume"), owner=1)
    assert resume(resumed, waiting(), by(9)) == []
    assert resume(resumed.model_copy(update={"owner": 2}), begun(), by(9)) == []
    state = grown(begun(), resume(resumed, begun(), by(9)), "resume", by(9))
    assert (state.owner, state.runner) == (Owner("resume", 9), by(9).runner)


ENDS: list[Callable[[ChatState], list[Event]]] = [
    unavailable,
    lambda state: give_up(start(), state, by(1)),
]


@pytest.mark.parametrize("ends", ENDS)
def test_a_chat_that_ends_without_its_workflow_leaves_nothing_to_be_done(
    ends: Callable[[ChatState], list[Event]],
) -> None:
    events = decide(start(), ChatState(), TALKS)
    events[0] = events[0].model_copy(update={"before_chat": ["open"], "after_chat": ["a", "b"]})
    state = grown(ChatState(), events, "start", by(1))
    state = grown(state, ends(state), "start", by(1))
    assert state.ended == "failed"
    assert pending(state) is None


def test_a_message_that_is_given_up_fails_the_chat_only_where_it_owns_it() -> None:
    assert ended(give_up(start(), begun(), by(1)))
    assert not ended(give_up(say("Hi"), begun(), by(2)))
    assert give_up(start(), waiting(), by(1)) == []


def test_a_start_that_is_given_up_before_it_was_taken_in_is_a_failed_chat() -> None:
    state = grown(ChatState(), give_up(start(), ChatState(), by(1)), "start", by(1))
    assert (state.ended, state.owner) == ("failed", None)
    assert decide(start(), state, TALKS) == []


def test_what_is_given_up_before_it_was_taken_in_never_is() -> None:
    late = say("Hi", name="late")
    state = grown(waiting(), give_up(late, waiting(), by(4)), "late", by(4))
    assert decide(late, state, TALKS) == []
    assert give_up(late, state, by(4)) == []
    assert decide(say("Hi", name="another"), state, TALKS)


def test_the_audit_s_command_that_is_given_up_fails_the_chat_that_nobody_runs() -> None:
    resumed = ResumeChat(**order("resume"), owner=1)
    assert ended(give_up(resumed, begun(), by(9)))
    assert give_up(resumed.model_copy(update={"owner": 2}), begun(), by(9)) == []


def test_a_command_is_let_go_only_where_the_log_says_that_it_changes_nothing_for_ever() -> None:
    assert too_early(say("Hi"), ChatState())
    assert too_early(CANCEL, ChatState())
    assert too_early(reply("red"), begun())
    known = grown(begun(), [calls("tool"), asked()], "start", by(1))
    answered_ = grown(known, decide(reply("red"), known, TALKS), "reply", by(3))
    over = grown(begun(), decide(CANCEL, begun(), TALKS), "cancel")
    for command, state in ((say("Hi"), begun()), (reply("red"), answered_), (reply("red"), over)):
        assert too_early(command, state) is None
    assert too_early(start(), begun()) is None


def test_a_variable_that_was_set_is_not_set_again_by_a_late_delivery() -> None:
    first = SetVariables(**order("set-1"), variables={"colour": "red"})
    second = SetVariables(**order("set-2"), variables={"colour": "blue"})
    state = waiting()
    for command in (first, second, first):
        state = grown(state, decide(command, state, TALKS), command.command_id)
    assert state.variables["colour"] == "blue"


def ended(events: Sequence[Event]) -> bool:
    return any(isinstance(event, ChatFailed) for event in events)


def test_a_runner_id_names_its_delivery_and_nothing_else_does() -> None:
    assert delivery_of(by(17, 2, "abc").runner) == by(17, 2, "abc")
    for odd in ("", "abc", "a:b:c", "a:1", "a:1:2:3", "a:-1:2", "a:1:x"):
        assert delivery_of(RunnerId(odd)) is None


# -- the protocol over the real core ----------------------------------------------------------------


@dataclass
class Held:
    """A delivery in somebody's hands: what it knows of the log, and whether it runs the chat."""

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
    held: list[Held] = field(default_factory=list)

    def state(self, upto: int | None = None) -> ChatState:
        state = ChatState()
        for event, cause, delivery in self.log[:upto]:
            state = grown(state, [event], cause, delivery)
        return state


class Protocol(RuleBasedStateMachine):
    """Deliveries of the same and of other messages do the real core's work in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self._names = count(1)
        self._send(start())

    def _send(self, command: Command) -> None:
        self.world.queue[len(self.world.queue) + 1] = Sent(command)

    def _catch_up(self, held: Held) -> None:
        for event, cause, delivery in self.world.log[held.known :]:
            held.state = grown(held.state, [event], cause, delivery)
            owner, me = held.state.owner, held.delivery
            if held.running and owner is not None and owner.message != me.message:
                held.lost = True
            later = delivery.message == me.message and delivery.attempt >= me.attempt
            if held.running and later and delivery != me:
                held.lost = True
        held.known = len(self.world.log)

    def _append(self, held: Held, events: Sequence[Event], cause: str) -> None:
        """As the log takes it: from somebody who knows it to its end."""
        assert held.known == len(self.world.log)
        self.world.log += [(event, cause, held.delivery) for event in events]
        self._catch_up(held)

    @rule(kind=st.sampled_from(["say", "cancel", "again"]))
    def send(self, kind: str) -> None:
        if len(self.world.queue) > 6:
            return
        match kind:
            case "say":
                self._send(say("Hi", name=f"say-{next(self._names)}"))
            case "cancel":
                self._send(CANCEL)
            case _:
                self._send(start())

    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        waiting = [n for n, sent in self.world.queue.items() if not sent.settled]
        if not waiting or len(self.world.held) > 3:
            return
        number = data.draw(st.sampled_from(waiting))
        sent = self.world.queue[number]
        sent.deliveries += 1
        process = f"p{sent.deliveries}"
        me = DeliveryId(process, number, sent.deliveries)
        self.world.held.append(Held(me, 0, ChatState()))

    @precondition(lambda self: self.world.held)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.world.held.remove(data.draw(st.sampled_from(self.world.held)))

    @precondition(lambda self: self.world.held)
    @rule(data=st.data())
    def look(self, data: st.DataObject) -> None:
        """Somebody hears of what was appended, or not yet."""
        self._catch_up(data.draw(st.sampled_from(self.world.held)))

    @precondition(lambda self: self.world.held)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.world.held))
        if held.known < len(self.world.log):  # its append would be refused: it reads, decides again
            self._catch_up(held)
        if held.lost:
            self._leave(held)
        elif held.running:
            self._run(held)
        else:
            self._take_in(held)

    def _take_in(self, held: Held) -> None:
        me, sent = held.delivery, self.world.queue[held.delivery.message]
        events = decide(sent.command, held.state, TALKS)
        self._append(held, events, sent.command.command_id)
        owner = held.state.owner
        if owner is None or owner.message != me.message:
            self._settle(held)
            return
        try:
            takeover = not events or me.attempt > 1
            claimed = claim(held.state, me) if takeover else []
        except FencedError:
            self.world.held.remove(held)
            return
        if is_fenced(held.state, me):
            self.world.held.remove(held)
            return
        self._append(held, claimed, sent.command.command_id)
        held.running = True

    def _run(self, held: Held) -> None:
        cause = self.world.queue[held.delivery.message].command.command_id
        if pending(held.state) is None:
            self._settle(held)
            return
        self._append(held, conclude(Spoke("Done.", None), held.state, TALKS), cause)

    def _leave(self, held: Held) -> None:
        owner = held.state.owner
        if owner is not None and owner.message != held.delivery.message:
            self._settle(held)
        else:
            self.world.held.remove(held)

    def _settle(self, held: Held) -> None:
        self.world.queue[held.delivery.message].settled = True
        self.world.held.remove(held)

    @invariant()
    def a_pending_chat_always_has_an_unacknowledged_message_its_owners(self) -> None:
        state = self.world.state()
        if pending(state) is not None:
            assert state.owner is not None
            assert not self.world.queue[state.owner.message].settled

    @invariant()
    def who_was_fenced_appends_no_more(self) -> None:
        newest: DeliveryId | None = None
        state = ChatState()
        for event, cause, delivery in self.world.log:
            if newest is not None and delivery.message == newest.message:
                assert delivery.attempt >= newest.attempt
            state = grown(state, [event], cause, delivery)
            if isinstance(event, RunClaimed):
                newest = delivery
            elif state.owner is None:
                newest = None


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
