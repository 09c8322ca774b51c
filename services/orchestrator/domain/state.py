"""The state of one chat, folded from its events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    ToolCodeChanged,
    TurnLimitReported,
    UserMessageReceived,
    UserMessageRefused,
    UserMessagesConsumed,
)
from contracts.events.human import (
    Audience,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import ToolCall
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    Choice,
    ConversationProcessed,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    TextInterrupted,
    ToolDispatched,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    TurnStopRequested,
    UsageRecorded,
    VariablesChanged,
)
from contracts.frozen import replace
from contracts.ids import (
    AgentName,
    DeliveryId,
    QuestionId,
    RunnerId,
    Seq,
    UserId,
    WorkflowName,
    delivery_of,
)
from services.orchestrator.workflows.spec import USER

Ending = Literal["completed", "failed", "cancelled"]
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
AgentTool = tuple[AgentName, str]
"""An agent, and the name of one of its tools."""
Answer = HumanAnswered | UiToolAnswered
LifecycleOccasion = Literal["before_chat", "after_chat"]

_NO_SEQ = Seq(0)
_NO_USER = UserId("")
_NO_DELIVERY = DeliveryId("", 0, 0)
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
class Compacted:
    """The summary that models read instead of the turns up to and including `through_turn`.

    `since` is the number of the turn in which it was made.
    """

    through_turn: int
    summary: str
    since: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker's turn.

    `user_inputs` are the messages that the user sent while the turn was open, `consumed` those of
    them that the turn itself has read. `stop` is there once the user has stopped the turn.
    `business_occasions` are the occasions of its business events, `escalated` the audiences that its
    open questions have got beside their own. `dispatches` holds the newest dispatch of each tool
    call; of those in `running`, nothing is known since: neither a result nor a question that the
    tool has asked.
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
        """The text that the user saw of the model call that was stopped."""
        return "".join(one.text for one in self.interruptions if one.reason == "stopped")

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
                case ModelRequested(call=0, parts=parts) if parts:
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


ConversationEntry = UserInput | Turn


@dataclass(frozen=True, slots=True)
class RunTurn:
    """Continue the open turn, of an agent or of the selector, from the end of its log."""

    turn: int


@dataclass(frozen=True, slots=True)
class StopTurn:
    """End the open turn, which the user has stopped."""

    turn: int


@dataclass(frozen=True, slots=True)
class RunLifecycleTools:
    """Call the lifecycle tools before the first turn, or after the end of the chat."""

    occasion: LifecycleOccasion


Effect = RunTurn | StopTurn | RunLifecycleTools


@dataclass(frozen=True, slots=True)
class Owner:
    """The command whose append turned the chat from quiet to pending.

    `message` is the sequence of its message in COMMANDS: the delivery of that message runs the
    chat.
    """

    command: str
    message: int


@dataclass(frozen=True, slots=True)
class ChatState:
    """What the events of a chat add up to.

    `conversation` holds the messages of the user and the turns that ended, `open_turn` the turn in
    progress, `last_speaker` the speaker of the turn that ended last. Turns of the selector are part
    of the conversation, but only the selector reads them and `agent_turns` does not count them.

    `applied_commands` holds the ids of applied commands whose effect no other field shows,
    `asked_questions` the id of every question. `waiting` are the positions of the messages that the
    user sent while an answer was running, and that no agent has read yet. `call_requested_at` is the
    time of the newest model request. `owner` is the command whose delivery runs the
    chat, None while the chat is quiet; `runner` is the delivery of the owner's message that
    appended last.

    `before_chat` and `after_chat` name the lifecycle tools of the chat, `lifecycle_results` holds
    their results and `lifecycle_dispatches` their newest dispatches by call id.
    `resolved_variables` are the names of the variables that were changed at least once.
    `always_approved` are the tools whose calls were approved for the whole chat, with the question
    whose answer says so.
    """

    seq: Seq = _NO_SEQ
    workflow: WorkflowName | None = None
    user: UserId = _NO_USER
    seed: int = 0
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    conversation: tuple[ConversationEntry, ...] = ()
    open_turn: Turn | None = None
    last_speaker: AgentName | None = None
    turns: int = 0
    agent_turns: int = 0
    applied_commands: frozenset[str] = frozenset()
    asked_questions: frozenset[QuestionId] = frozenset()
    waiting: tuple[Seq, ...] = ()
    call_requested_at: datetime | None = None
    ended: Ending | None = None
    owner: Owner | None = None
    runner: RunnerId | None = None
    workflow_version: str | None = None
    tools_version: str | None = None
    attachments: tuple[AttachmentUploaded, ...] = ()
    compacted: Compacted | None = None
    always_approved: Mapping[AgentTool, QuestionId] = field(
        default_factory=lambda: MappingProxyType({})
    )
    before_chat: tuple[str, ...] = ()
    after_chat: tuple[str, ...] = ()
    lifecycle_results: Mapping[str, ToolReturned] = field(
        default_factory=lambda: MappingProxyType({})
    )
    lifecycle_dispatches: Mapping[str, ToolDispatched] = field(
        default_factory=lambda: _NO_DISPATCHES
    )
    resolved_variables: frozenset[str] = frozenset()

    @property
    def started(self) -> bool:
        return self.seq > 0

    @property
    def running_turn(self) -> Turn | None:
        """The open turn of an agent or of the selector, also while it waits for an answer."""
        turn = self.open_turn
        return None if self.ended or turn is None or turn.agent == USER else turn

    @property
    def waits_for_user(self) -> bool:
        return self.open_turn is not None and self.open_turn.agent == USER


def replay(facts: Iterable[Fact], state: ChatState | None = None) -> ChatState:
    """Fold a history, or its continuation."""
    updated = state or ChatState()
    for fact in facts:
        updated = evolve(updated, fact)
    return updated


def evolve(state: ChatState, fact: Fact) -> ChatState:
    """The state after one more event."""
    envelope = fact.envelope
    updated = apply(state, fact.event, cause=envelope.cause)
    owner, runner = _ownership_after(state, updated, fact)
    requested = isinstance(fact.event, ModelRequested)
    return replace(
        updated,
        seq=envelope.seq,
        workflow=envelope.workflow_name,
        owner=owner,
        runner=runner,
        call_requested_at=envelope.time if requested else state.call_requested_at,
    )


def pending(state: ChatState) -> Effect | None:
    """What the orchestrator must do for the chat; None while it is quiet.

    A quiet chat waits for a user or has ended. The result depends on the log only, not on the
    workflows that this process has loaded.
    """
    occasion: LifecycleOccasion = "after_chat" if state.ended else "before_chat"
    if remaining_lifecycle_tools(occasion, state):
        return RunLifecycleTools(occasion)
    turn = state.running_turn
    if turn is None:
        return None
    if turn.stop is not None:
        return StopTurn(turn.number)
    return None if turn.is_suspended else RunTurn(turn.number)


def remaining_lifecycle_tools(occasion: LifecycleOccasion, state: ChatState) -> dict[str, str]:
    """The lifecycle tools without a result: their names by call id."""
    names = state.before_chat if occasion == "before_chat" else state.after_chat
    if not names:
        return {}
    calls = {f"{occasion}-{number}": name for number, name in enumerate(names)}
    return {call: name for call, name in calls.items() if call not in state.lifecycle_results}


def _ownership_after(
    before: ChatState, updated: ChatState, fact: Fact
) -> tuple[Owner | None, RunnerId | None]:
    """Who runs the chat after an event: who turned it from quiet to pending, or who claimed it."""
    envelope, owner = fact.envelope, before.owner
    if pending(updated) is None:
        return None, None
    if owner is not None and envelope.runner == before.runner:
        return owner, before.runner
    delivery = delivery_of(envelope.runner or RunnerId("")) or _NO_DELIVERY
    if owner is None or isinstance(fact.event, RunClaimed):
        return Owner(envelope.cause, delivery.message), envelope.runner
    return owner, envelope.runner if delivery.message == owner.message else before.runner


def applied(state: ChatState, events: Iterable[Event], *, cause: str) -> ChatState:
    """The state after events that are about to be appended; it has no owner and workflow of them."""
    for event in events:
        state = replace(apply(state, event, cause=cause), seq=Seq(state.seq + 1))
    return state


def apply(state: ChatState, event: Event, *, cause: str) -> ChatState:
    """The state after an event that has no position in the log yet."""
    match event:
        case ChatStarted():
            return replace(
                state,
                user=event.user_id,
                seed=event.seed,
                variables=event.variables,
                workflow_version=event.workflow_version,
                tools_version=event.tools_version,
                before_chat=tuple(event.before_chat),
                after_chat=tuple(event.after_chat),
            )
        case ToolCodeChanged(now=now):
            return replace(state, tools_version=now)
        case AttachmentUploaded():
            return replace(state, attachments=(*state.attachments, event))
        case HistoryCompacted(through_turn=turn, summary=summary) as step:
            compacted = Compacted(turn, summary, since=state.turns)
            return _add_step(replace(state, compacted=compacted), step)
        case UserMessageReceived():
            return _add_user_input(
                replace(
                    state,
                    applied_commands=state.applied_commands | {cause},
                    waiting=state.waiting
                    if event.while_running is None
                    else (*state.waiting, Seq(state.seq + 1)),
                ),
                UserInput(event.text, Seq(state.seq + 1), event.while_running == "steer"),
            )
        case UserMessagesConsumed():
            return _consume(state, event)
        case UserMessageRefused(message=None):
            return replace(state, applied_commands=state.applied_commands | {cause})
        case UserMessageRefused(message=message):
            return replace(state, waiting=tuple(one for one in state.waiting if one != message))
        case SpeakerSelected():
            updated = close_selection(state)
            return replace(
                updated,
                open_turn=Turn(event.turn, event.agent, event.by),
                turns=event.turn,
                agent_turns=state.agent_turns + (event.agent not in (USER, SELECTOR)),
            )
        case CommandGivenUp():
            return replace(state, applied_commands=state.applied_commands | {cause})
        case VariablesChanged():
            remaining = {k: v for k, v in state.variables.items() if k not in event.removed}
            return replace(
                state,
                variables={**remaining, **event.changed},
                applied_commands=state.applied_commands | {cause}
                if event.agent == USER
                else state.applied_commands,
                resolved_variables=state.resolved_variables.union(event.changed, event.removed),
            )
        case TurnCompleted():
            return _close_turn(state, event.text, event.handoff)
        case TurnFailed():
            return _close_turn(state, "", None)
        case TurnStopRequested():
            return _request_stop(state, event, cause)
        case TurnStopped():
            return _stop_turn(state)
        case ChatCompleted():
            return replace(state, ended="completed", open_turn=None)
        case ChatFailed():
            return replace(state, ended="failed", open_turn=None)
        case ChatCancelled():
            return replace(state, ended="cancelled", open_turn=None)
        case ToolReturned(occasion="before_chat" | "after_chat") as result:
            return replace(
                state, lifecycle_results={**state.lifecycle_results, result.tool_call_id: result}
            )
        case ToolDispatched(occasion="before_chat" | "after_chat") as dispatch:
            return replace(
                state,
                lifecycle_dispatches={
                    **state.lifecycle_dispatches,
                    dispatch.tool_call_id: dispatch,
                },
            )
        case ToolDispatched() as dispatch:
            return _add_dispatch(state, dispatch)
        case (
            ConversationProcessed()
            | ModelRequested()
            | ModelCallFailed()
            | ModelResponded()
            | OutputStructured()
            | TextInterrupted()
            | ToolInvoked()
            | ToolReturned()
        ) as step:
            return _add_step(state, step)
        case HumanAsked() | UiToolRequested() as question:
            return _add_question(state, question)
        case HumanAnswered() | UiToolAnswered() as answer:
            return _add_answer(state, answer)
        case QuestionEscalated():
            return _add_escalation(state, event)
        case BusinessLogged():
            return _add_business_occasion(state, event.occasion)
        case UsageRecorded() | QuestionExpired() | RunClaimed() | TurnLimitReported():
            return state


def close_selection(state: ChatState) -> ChatState:
    """The state after the selector's turn; the same state if the open turn is not the selector's."""
    turn = state.open_turn
    if turn is None or turn.agent != SELECTOR:
        return state
    speaker = USER if turn.user_inputs else state.last_speaker
    return replace(
        state,
        conversation=(*state.conversation, turn, *turn.user_inputs),
        open_turn=None,
        last_speaker=speaker,
    )


def _add_user_input(state: ChatState, message: UserInput) -> ChatState:
    turn = state.open_turn
    if turn is None:
        return replace(state, conversation=(*state.conversation, message))
    if turn.agent == USER:  # it was the user's turn: the message ends it
        return replace(
            state, conversation=(*state.conversation, message), open_turn=None, last_speaker=USER
        )
    return replace(state, open_turn=replace(turn, user_inputs=(*turn.user_inputs, message)))


def _close_turn(state: ChatState, text: str, handoff: AgentName | None) -> ChatState:
    if state.open_turn is None:
        return state
    turn = replace(
        state.open_turn,
        text=text,
        handoff=handoff,
        dispatches=_NO_DISPATCHES,
        running=frozenset(),
    )
    read = [
        replace(one, read_by=turn.agent) for one in turn.user_inputs if one.seq in turn.consumed
    ]
    conversation = (*state.conversation, *read, turn, *turn.waiting_inputs)
    return replace(state, conversation=conversation, open_turn=None, last_speaker=turn.agent)


def _request_stop(state: ChatState, stop: TurnStopRequested, cause: str) -> ChatState:
    applied_commands = state.applied_commands | {cause}
    if state.open_turn is None:
        return replace(state, applied_commands=applied_commands)
    return replace(
        state,
        applied_commands=applied_commands,
        open_turn=replace(state.open_turn, stop=stop),
    )


def _stop_turn(state: ChatState) -> ChatState:
    """The turn's text is what the user saw of it last; then it is the user's turn."""
    turn = state.open_turn
    if turn is None:
        return state
    if turn.agent == SELECTOR:
        return close_selection(state)
    shown = [one.text for one in turn.responses if one.text and not one.hidden]
    stopped = _close_turn(state, turn.stopped_text or "".join(shown[-1:]), None)
    return replace(stopped, last_speaker=USER) if turn.waiting_inputs else stopped


def _consume(state: ChatState, consumed: UserMessagesConsumed) -> ChatState:
    waiting = tuple(one for one in state.waiting if one not in consumed.messages)
    turn = state.open_turn
    if turn is not None and consumed.call is not None:
        turn = replace(turn, consumed=turn.consumed.union(consumed.messages))
    return replace(state, waiting=waiting, open_turn=turn)


def _add_step(state: ChatState, step: StepEvent) -> ChatState:
    turn = state.open_turn
    if turn is None:
        return state
    if isinstance(step, ToolReturned):
        turn = replace(turn, running=turn.running - {step.tool_call_id})
    return replace(state, open_turn=replace(turn, steps=(*turn.steps, step)))


def _add_dispatch(state: ChatState, dispatch: ToolDispatched) -> ChatState:
    turn, call = state.open_turn, dispatch.tool_call_id
    if turn is None:
        return state
    dispatched = replace(
        turn, dispatches={**turn.dispatches, call: dispatch}, running=turn.running | {call}
    )
    return replace(state, open_turn=dispatched)


def _add_business_occasion(state: ChatState, occasion: str | None) -> ChatState:
    if state.open_turn is None or occasion is None:
        return state
    return replace(
        state,
        open_turn=replace(
            state.open_turn, business_occasions=state.open_turn.business_occasions | {occasion}
        ),
    )


def _add_question(state: ChatState, question: Question) -> ChatState:
    if state.open_turn is None:
        return state
    turn = state.open_turn
    asked = state.asked_questions | {question.question_id}
    if is_of_tool(question):  # the tool itself asks: it has done what comes before
        turn = replace(turn, running=turn.running - {question.tool_call_id})
    return replace(
        state,
        asked_questions=asked,
        open_turn=replace(turn, questions=(*turn.questions, question)),
    )


def is_of_tool(question: Question) -> bool:
    """Whether a tool asks itself; otherwise the runtime asks about a call of it."""
    if isinstance(question, UiToolRequested):
        return True
    return question.approval is None and question.doubt is None


def _add_answer(state: ChatState, answer: Answer) -> ChatState:
    if state.open_turn is None:
        return state
    answers = {**state.open_turn.answers, answer.question_id: answer}
    return replace(
        state,
        open_turn=replace(state.open_turn, answers=answers),
        always_approved=_always_approved(state, answer),
    )


def _always_approved(state: ChatState, answer: Answer) -> Mapping[AgentTool, QuestionId]:
    """With the tool that an answer approves for the whole chat, where the question offered that."""
    if state.open_turn is None or not isinstance(answer, HumanAnswered):
        return state.always_approved
    asked = state.open_turn.question(answer.question_id)
    approval = asked.approval if isinstance(asked, HumanAsked) else None
    if asked is None or approval is None:
        return state.always_approved
    if not (approval.allow_always and answer.always and answer.approved):
        return state.always_approved
    return {**state.always_approved, (asked.agent, approval.tool): asked.question_id}


def _add_escalation(state: ChatState, event: QuestionEscalated) -> ChatState:
    if state.open_turn is None:
        return state
    escalated = {**state.open_turn.escalated, event.question_id: event.to}
    return replace(state, open_turn=replace(state.open_turn, escalated=escalated))
