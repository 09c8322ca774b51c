"""One speaker's turn, folded from the events between its selection and its end."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from contracts.events.chat import HistoryCompacted, UserMessagesConsumed
from contracts.events.human import (
    Audience,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import ToolCall
from contracts.events.turn import (
    Choice,
    ConversationProcessed,
    InterruptionReason,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    TextInterrupted,
    ToolDispatched,
    ToolInvoked,
    ToolReturned,
    TurnStopRequested,
)
from contracts.frozen import replace
from contracts.ids import AgentName, QuestionId, Seq, UserId

StepEvent = (
    ConversationProcessed
    | HistoryCompacted
    | ModelRequested
    | ModelCallFailed
    | ModelResponded
    | OutputStructured
    | TextInterrupted
    | ToolInvoked
    | ToolReturned
)
Question = HumanAsked | UiToolRequested
Answer = HumanAnswered | UiToolAnswered

_NO_SEQ = Seq(0)
_STOPPED = frozenset[InterruptionReason](("stopped", "budget"))
_NO_DISPATCHES: Mapping[str, ToolDispatched] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class UserInput:
    """A message of the user, at position `seq` of the chat.

    `read_by` is the agent into whose turn it was taken while the turn was running: that agent
    remembers it as part of the turn.
    """

    text: str
    seq: Seq = field(default=_NO_SEQ, compare=False)
    steers: bool = False
    read_by: AgentName | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker's turn.

    `user_inputs` are the messages that the user sent while the turn was open, `consumed` those of
    them that the turn itself has read. `stop` is there once the user or a budget has stopped the turn.
    `business_occasions` are the occasions of its business events, `escalated` the audiences that its
    open questions have got beside their own. `dispatches` holds the newest dispatch of each tool
    call; of those in `running`, nothing is known since: neither a result nor a question that the
    tool has asked.

    A turn that a rewind has opened again, at `reopened_at`, skips the numbers of the model calls that
    were dropped: `skipped_calls` of them.
    """

    number: int
    agent: AgentName
    by: Choice
    steps: tuple[StepEvent, ...] = ()
    questions: tuple[Question, ...] = ()
    answers: Mapping[QuestionId, Answer] = field(default_factory=lambda: MappingProxyType({}))
    escalated: Mapping[QuestionId, Audience] = field(default_factory=lambda: MappingProxyType({}))
    user_inputs: tuple[UserInput, ...] = ()
    consumed: frozenset[Seq] = frozenset()
    stop: TurnStopRequested | None = None
    business_occasions: frozenset[str] = frozenset()
    dispatches: Mapping[str, ToolDispatched] = field(default_factory=lambda: _NO_DISPATCHES)
    running: frozenset[str] = frozenset()
    text: str = ""
    handoff: AgentName | None = None
    reopened_at: Seq | None = None
    skipped_calls: int = 0

    @property
    def next_call(self) -> int:
        """The number of the next model call."""
        return len(self.responses) + self.skipped_calls

    @property
    def first_call(self) -> int:
        """The number of the model call that began the turn, or is to begin it."""
        requests = self.requests
        return requests[0].call if requests else self.next_call

    @property
    def waiting_inputs(self) -> tuple[UserInput, ...]:
        """The messages that wait for the end of the turn, or for its next model call."""
        return tuple(one for one in self.user_inputs if one.seq not in self.consumed)

    @property
    def steering_inputs(self) -> tuple[UserInput, ...]:
        """The messages that enter the turn with its next model call after a tool."""
        return tuple(one for one in self.waiting_inputs if one.steers)

    @property
    def open_request(self) -> ModelRequested | None:
        """The model request without an outcome, of which text may have been shown."""
        for step in reversed(self.steps):
            match step:
                case ModelRequested():
                    return step
                case ModelResponded() | ModelCallFailed():
                    return None
                case _:
                    pass
        return None

    @property
    def interruptions(self) -> tuple[TextInterrupted, ...]:
        return tuple(step for step in self.steps if isinstance(step, TextInterrupted))

    @property
    def stopped_text(self) -> str:
        """The text that the user saw of the model call that the user or a budget has stopped."""
        return "".join(one.text for one in self.interruptions if one.reason in _STOPPED)

    @property
    def unfinished_calls(self) -> tuple[tuple[int, ToolCall], ...]:
        """The calls of the last response without a result, with the number of the model call."""
        if not self.responses:
            return ()
        last, results = self.responses[-1], self.tool_results
        return tuple((last.call, call) for call in last.tool_calls if call.id not in results)

    @property
    def requests(self) -> tuple[ModelRequested, ...]:
        return tuple(step for step in self.steps if isinstance(step, ModelRequested))

    @property
    def trigger(self) -> ModelRequested | None:
        """The request that began the turn, with what is new to the model.

        None before it, and once a summary replaces the conversation of a turn without response.
        """
        for step in reversed(self.steps):
            match step:
                case ModelRequested(call=call, parts=parts) if parts and call == self.first_call:
                    return step
                case HistoryCompacted() if not self.responses:
                    return None
                case _:
                    pass
        return None

    @property
    def failed_call(self) -> ModelCallFailed | None:
        """The failure of the newest model request, if nothing has been done about it yet."""
        for step in reversed(self.steps):
            match step:
                case ModelCallFailed():
                    return step
                case ModelRequested() | ModelResponded() | HistoryCompacted():
                    return None
                case _:
                    pass
        return None

    @property
    def failures(self) -> tuple[ModelCallFailed, ...]:
        """The requests since the last response that led to none."""
        since: list[ModelCallFailed] = []
        for step in reversed(self.steps):
            match step:
                case ModelResponded():
                    break
                case ModelCallFailed():
                    since.insert(0, step)
                case _:
                    pass
        return tuple(since)

    @property
    def responses(self) -> tuple[ModelResponded, ...]:
        return tuple(step for step in self.steps if isinstance(step, ModelResponded))

    @property
    def tool_results(self) -> dict[str, ToolReturned]:
        """The tool results of the turn by the id of the call that each answers."""
        return {step.tool_call_id: step for step in self.steps if isinstance(step, ToolReturned)}

    @property
    def invocations(self) -> tuple[ToolInvoked, ...]:
        """The tool calls that the runtime made, not a model."""
        return tuple(step for step in self.steps if isinstance(step, ToolInvoked))

    @property
    def output(self) -> OutputStructured | None:
        """The structured output of the reply, once it was validated."""
        return next((step for step in self.steps if isinstance(step, OutputStructured)), None)

    @property
    def processed(self) -> ConversationProcessed | None:
        """The conversation before the turn as hooks changed it, None if they changed nothing.

        Also None once a summary replaces the conversation that they changed.
        """
        for step in reversed(self.steps):
            match step:
                case ConversationProcessed():
                    return step
                case HistoryCompacted():
                    return None
                case _:
                    pass
        return None

    def question(self, question: QuestionId) -> Question | None:
        """The question with this id that was asked in the turn."""
        return next((one for one in self.questions if one.question_id == question), None)

    def admits(self, asked: Question, owner: UserId, user: UserId, role: str | None) -> bool:
        """Whether a user may answer a question of the turn, by name or by a role of theirs."""
        audiences = (asked.audience, self.escalated.get(asked.question_id))
        named = (asked.audience is None and user == owner) or any(
            one is not None and user in one.users for one in audiences
        )
        return named or any(one is not None and role in one.roles for one in audiences)

    @property
    def unanswered(self) -> tuple[Question, ...]:
        """The open questions, in the order they were asked."""
        return tuple(q for q in self.questions if q.question_id not in self.answers)

    @property
    def is_suspended(self) -> bool:
        """Whether every open tool call waits for an answer of the user."""
        if not self.unanswered:
            return False
        last = self.responses[-1] if self.responses else None
        asking = {question.tool_call_id for question in self.unanswered}
        results = self.tool_results
        calls = [] if last is None else [call.id for call in last.tool_calls]
        calls += [call.tool_call_id for call in self.invocations]
        open_calls = [call for call in calls if call not in results]
        return bool(open_calls) and all(call in asking for call in open_calls)


def with_step(turn: Turn, step: StepEvent) -> Turn:
    """The turn after one more step; a call that returns is no longer running."""
    if isinstance(step, ToolReturned):
        turn = replace(turn, running=turn.running - {step.tool_call_id})
    return replace(turn, steps=(*turn.steps, step))


def with_dispatch(turn: Turn, dispatch: ToolDispatched) -> Turn:
    """The turn after one of its tool calls was dispatched."""
    call = dispatch.tool_call_id
    return replace(
        turn, dispatches={**turn.dispatches, call: dispatch}, running=turn.running | {call}
    )


def with_question(turn: Turn, question: Question) -> Turn:
    """The turn after it asked a question."""
    if is_of_tool(question):  # the tool itself asks: it has done what comes before
        turn = replace(turn, running=turn.running - {question.tool_call_id})
    return replace(turn, questions=(*turn.questions, question))


def with_answer(turn: Turn, answer: Answer) -> Turn:
    """The turn after one of its questions was answered."""
    return replace(turn, answers={**turn.answers, answer.question_id: answer})


def with_escalation(turn: Turn, event: QuestionEscalated) -> Turn:
    """The turn after more users may answer one of its questions."""
    return replace(turn, escalated={**turn.escalated, event.question_id: event.to})


def with_business_occasion(turn: Turn, occasion: str | None) -> Turn:
    """The turn after a business event of it."""
    if occasion is None:
        return turn
    return replace(turn, business_occasions=turn.business_occasions | {occasion})


def with_consumed(turn: Turn, consumed: UserMessagesConsumed) -> Turn:
    """The turn after messages of the user entered it; the same one if they begin the next."""
    if consumed.call is None:
        return turn
    return replace(turn, consumed=turn.consumed.union(consumed.messages))


def reopened(turn: Turn, newest: Turn | None, seq: Seq) -> Turn:
    """The turn as a rewind at position `seq` opens it again; `newest` is what had become of it."""
    made = turn.next_call
    if newest is not None:
        made = max([made, newest.next_call, *(one.call + 1 for one in newest.requests)])
    return replace(turn, reopened_at=seq, skipped_calls=made - len(turn.responses))


def repeatable_id(own: str, rewind: Seq | None, known: Collection[str]) -> str:
    """The id of a call that the runtime makes: a known one, else one that was never used before.

    `rewind` is the position of a rewind after which the call may be made once more.
    """
    if rewind is None or own in known:
        return own
    again = f"{own}-r"
    return next((one for one in known if one.startswith(again)), f"{again}{rewind}")


def invocation_id(turn: Turn, own: str) -> str:
    """The id of a call that the runtime makes in a turn, which may have been opened again."""
    return repeatable_id(own, turn.reopened_at, [one.tool_call_id for one in turn.invocations])


def closed(turn: Turn, text: str, handoff: AgentName | None) -> Turn:
    """The turn at its end."""
    return replace(turn, text=text, handoff=handoff, dispatches=_NO_DISPATCHES, running=frozenset())


def is_of_tool(question: Question) -> bool:
    """Whether a tool asks itself; otherwise the runtime asks about a call of it."""
    if isinstance(question, UiToolRequested):
        return True
    return question.approval is None and question.doubt is None
