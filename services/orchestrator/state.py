"""What is known of a chat, folded from its events, one after the other."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
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
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    Choice,
    ConversationProcessed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
    VariablesChanged,
)
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
Step = (
    ConversationProcessed
    | ModelRequested
    | ModelResponded
    | OutputStructured
    | ToolInvoked
    | ToolReturned
)
Question = HumanAsked | UiToolRequested
Answer = HumanAnswered | UiToolAnswered
AroundChat = Literal["before_chat", "after_chat"]

_NONE = Seq(0)
_NOBODY = UserId("")
_NO_DELIVERY = DeliveryId("", 0, 0)


@dataclass(frozen=True, slots=True)
class Said:
    """A message of the person."""

    text: str


@dataclass(frozen=True, slots=True)
class Compacted:
    """What stands, for models, for everything up to and including a turn; since which turn it does."""

    through_turn: int
    summary: str
    since: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One speaker's turn.

    `said` is what the person threw in while it went on, `logged` the occasions of its business
    events.
    """

    number: int
    agent: AgentName
    by: Choice
    steps: tuple[Step, ...] = ()
    questions: tuple[Question, ...] = ()
    answers: Mapping[QuestionId, Answer] = field(default_factory=lambda: MappingProxyType({}))
    said: tuple[Said, ...] = ()
    logged: frozenset[str] = frozenset()
    text: str = ""
    handoff: AgentName | None = None

    @property
    def requests(self) -> tuple[ModelRequested, ...]:
        return tuple(step for step in self.steps if isinstance(step, ModelRequested))

    @property
    def responses(self) -> tuple[ModelResponded, ...]:
        return tuple(step for step in self.steps if isinstance(step, ModelResponded))

    @property
    def returned(self) -> dict[str, ToolReturned]:
        """The tool results of the turn by the id of the call that each answers."""
        return {step.tool_call_id: step for step in self.steps if isinstance(step, ToolReturned)}

    @property
    def invoked(self) -> tuple[ToolInvoked, ...]:
        """The calls that the runtime made of its own accord."""
        return tuple(step for step in self.steps if isinstance(step, ToolInvoked))

    @property
    def output(self) -> OutputStructured | None:
        """The reply, once it has been found to meet the agent's model."""
        return next((step for step in self.steps if isinstance(step, OutputStructured)), None)

    @property
    def processed(self) -> ConversationProcessed | None:
        """The conversation before the turn as hooks left it, where they did anything."""
        return next((s for s in self.steps if isinstance(s, ConversationProcessed)), None)

    @property
    def unanswered(self) -> tuple[Question, ...]:
        """The questions that still wait, in the order they were asked."""
        return tuple(q for q in self.questions if q.question_id not in self.answers)

    @property
    def waits(self) -> bool:
        """Whether every tool call that is still open waits for a person."""
        if not self.unanswered:
            return False
        last = self.responses[-1] if self.responses else None
        asking = {question.tool_call_id for question in self.unanswered}
        done = self.returned
        calls = [] if last is None else [call.id for call in last.tool_calls]
        calls += [call.tool_call_id for call in self.invoked]
        open_still = [call for call in calls if call not in done]
        return bool(open_still) and all(call in asking for call in open_still)


Line = Said | Turn


@dataclass(frozen=True, slots=True)
class RunTurn:
    """Let the agent of the open turn, or the selector, go on from wherever its log ends."""

    turn: int


@dataclass(frozen=True, slots=True)
class CallAround:
    """Call what the workflow has called before its first turn, or when all is over."""

    occasion: AroundChat


Effect = RunTurn | CallAround


@dataclass(frozen=True, slots=True)
class Owner:
    """The command whose append turned the chat from quiet to pending, and the message it came in.

    `message` is the message's sequence in COMMANDS: its delivery runs the chat.
    """

    command: str
    message: int


@dataclass(frozen=True, slots=True)
class ChatState:
    """`lines` is the conversation so far, `open` the turn in progress, `spoke` whose turn ended last.

    The selector's turns are lines that it alone remembers; they do not count as agents' turns.

    `heard` holds the commands that were taken in, as far as nothing else tells, `asked`
    every question that ever was. `owner` is whose delivery runs the chat,
    none while it is quiet, and `runner` the delivery of the owner's message that appended last.
    `before_chat` and `after_chat` name the tools that are called around the chat, `around` holds
    their results by call id, and `settled` every variable that was changed at least once.
    """

    seq: Seq = _NONE
    workflow: WorkflowName | None = None
    user: UserId = _NOBODY
    seed: int = 0
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    lines: tuple[Line, ...] = ()
    open: Turn | None = None
    spoke: AgentName | None = None
    turns: int = 0
    agent_turns: int = 0
    heard: frozenset[str] = frozenset()
    asked: frozenset[QuestionId] = frozenset()
    ended: Ending | None = None
    owner: Owner | None = None
    runner: RunnerId | None = None
    workflow_version: str | None = None
    tools_version: str | None = None
    attachments: tuple[AttachmentUploaded, ...] = ()
    compacted: Compacted | None = None
    before_chat: tuple[str, ...] = ()
    after_chat: tuple[str, ...] = ()
    around: Mapping[str, ToolReturned] = field(default_factory=lambda: MappingProxyType({}))
    settled: frozenset[str] = frozenset()

    @property
    def started(self) -> bool:
        return self.seq > 0

    @property
    def waits_for_user(self) -> bool:
        return self.open is not None and self.open.agent == USER


def replay(facts: Iterable[Fact], state: ChatState | None = None) -> ChatState:
    """Fold a history, or its continuation."""
    known = state or ChatState()
    for fact in facts:
        known = evolve(known, fact)
    return known


def evolve(state: ChatState, fact: Fact) -> ChatState:
    """What is known after one more event."""
    envelope = fact.envelope
    known = apply(state, fact.event, cause=envelope.cause)
    owner, runner = _held(state, known, fact)
    return replace(
        known, seq=envelope.seq, workflow=envelope.workflow_name, owner=owner, runner=runner
    )


def pending(state: ChatState) -> Effect | None:
    """What the chat waits for from us; none while it is quiet: it waits for a user, or for nothing.

    A property of the log alone, whatever this process has loaded.
    """
    occasion: AroundChat = "after_chat" if state.ended else "before_chat"
    if left_around(occasion, state):
        return CallAround(occasion)
    turn = state.open
    if state.ended or turn is None or turn.agent == USER or turn.waits:
        return None
    return RunTurn(turn.number)


def left_around(occasion: AroundChat, state: ChatState) -> dict[str, str]:
    """The tools that are still to be called before or after a chat: their names by call id."""
    names = state.before_chat if occasion == "before_chat" else state.after_chat
    if not names:
        return {}
    calls = {f"{occasion}-{number}": name for number, name in enumerate(names)}
    return {call: name for call, name in calls.items() if call not in state.around}


def _held(before: ChatState, known: ChatState, fact: Fact) -> tuple[Owner | None, RunnerId | None]:
    """Who runs the chat after an event: whoever turned it from quiet to pending, or claimed it."""
    envelope, owner = fact.envelope, before.owner
    if pending(known) is None:
        return None, None
    if owner is not None and envelope.runner == before.runner:
        return owner, before.runner
    by = delivery_of(envelope.runner or RunnerId("")) or _NO_DELIVERY
    if owner is None or isinstance(fact.event, RunClaimed):
        return Owner(envelope.cause, by.message), envelope.runner
    return owner, envelope.runner if by.message == owner.message else before.runner


def apply(state: ChatState, event: Event, *, cause: str) -> ChatState:
    """What an event says, before it has a place in the log."""
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
        case HistoryCompacted(through_turn=turn, summary=summary):
            return replace(state, compacted=Compacted(turn, summary, since=state.turns))
        case UserMessageReceived():
            return _hear(replace(state, heard=state.heard | {cause}), Said(event.text))
        case SpeakerSelected():
            known = close_selection(state)
            return replace(
                known,
                open=Turn(event.turn, event.agent, event.by),
                turns=event.turn,
                agent_turns=state.agent_turns + (event.agent not in (USER, SELECTOR)),
            )
        case CommandGivenUp():
            return replace(state, heard=state.heard | {cause})
        case VariablesChanged():
            kept = {k: v for k, v in state.variables.items() if k not in event.removed}
            return replace(
                state,
                variables={**kept, **event.changed},
                heard=state.heard | {cause} if event.agent == USER else state.heard,
                settled=state.settled.union(event.changed, event.removed),
            )
        case TurnCompleted():
            return _close(state, event.text, event.handoff)
        case TurnFailed():
            return _close(state, "", None)
        case ChatCompleted():
            return replace(state, ended="completed", open=None)
        case ChatFailed():
            return replace(state, ended="failed", open=None)
        case ChatCancelled():
            return replace(state, ended="cancelled", open=None)
        case ToolReturned(occasion="before_chat" | "after_chat") as result:
            return replace(state, around={**state.around, result.tool_call_id: result})
        case (
            ConversationProcessed()
            | ModelRequested()
            | ModelResponded()
            | OutputStructured()
            | ToolInvoked()
            | ToolReturned()
        ) as step:
            return _grow(state, step)
        case HumanAsked() | UiToolRequested() as question:
            return _ask(state, question)
        case HumanAnswered() | UiToolAnswered() as answer:
            return _answer(state, answer)
        case BusinessLogged():
            return _log(state, event.occasion)
        case UsageRecorded() | QuestionExpired() | RunClaimed():
            return state


def close_selection(state: ChatState) -> ChatState:
    """What is known once the selector has said whom it chose; nothing new where it had no turn."""
    turn = state.open
    if turn is None or turn.agent != SELECTOR:
        return state
    spoke = USER if turn.said else state.spoke
    return replace(state, lines=(*state.lines, turn, *turn.said), open=None, spoke=spoke)


def _hear(state: ChatState, said: Said) -> ChatState:
    turn = state.open
    if turn is None:
        return replace(state, lines=(*state.lines, said))
    if turn.agent == USER:  # it was the person's turn: this ends it
        return replace(state, lines=(*state.lines, said), open=None, spoke=USER)
    return replace(state, open=replace(turn, said=(*turn.said, said)))


def _close(state: ChatState, text: str, handoff: AgentName | None) -> ChatState:
    if state.open is None:
        return state
    turn = replace(state.open, text=text, handoff=handoff)
    lines = (*state.lines, turn, *turn.said)
    return replace(state, lines=lines, open=None, spoke=turn.agent)


def _grow(state: ChatState, step: Step) -> ChatState:
    if state.open is None:
        return state
    return replace(state, open=replace(state.open, steps=(*state.open.steps, step)))


def _log(state: ChatState, occasion: str | None) -> ChatState:
    if state.open is None or occasion is None:
        return state
    return replace(state, open=replace(state.open, logged=state.open.logged | {occasion}))


def _ask(state: ChatState, question: Question) -> ChatState:
    if state.open is None:
        return state
    asked = state.asked | {question.question_id}
    questions = (*state.open.questions, question)
    return replace(state, asked=asked, open=replace(state.open, questions=questions))


def _answer(state: ChatState, answer: Answer) -> ChatState:
    if state.open is None:
        return state
    answers = {**state.open.answers, answer.question_id: answer}
    return replace(state, open=replace(state.open, answers=answers))
