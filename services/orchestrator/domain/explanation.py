"""What a chat waits for and why: an account for operators, for every state that the core can be in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from contracts.codec import Fact
from contracts.deltas import WaitReported
from contracts.events.chat import ChatCancelled, ChatCompleted, ChatFailed
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolDispatched,
    ToolInvoked,
    ToolReturned,
    TurnFailed,
)
from contracts.explanation import (
    MAX_NODES,
    CauseNode,
    ChatAccount,
    ErrorExplained,
    OpenCallExplained,
    OpenQuestionExplained,
    ProviderWait,
    RunnerExplained,
    WaitsFor,
)
from contracts.ids import AgentName, ChatKey, QuestionId, delivery_of
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import (
    ChatState,
    RunLifecycleTools,
    RunTurn,
    StopTurn,
    pending,
    remaining_lifecycle_tools,
)
from services.orchestrator.domain.turn import Question, Turn


@dataclass(slots=True)
class _Node:
    """A node of the tree while it is built."""

    node: CauseNode
    children: "list[_Node]" = field(default_factory=list)


@dataclass(slots=True)
class Story:
    """What is kept of a log, event by event, beside the state: times, the last failure, the causes.

    `add` takes facts in their order. Of the tree the newest MAX_NODES nodes are kept. The times of
    questions and calls stay when they are answered: a rewind may open them again.
    """

    state: ChatState = field(default_factory=ChatState)
    last: Fact | None = None
    ending: str = ""
    error: ErrorExplained | None = None
    asked_at: dict[QuestionId, datetime] = field(default_factory=dict)
    dispatched_at: dict[str, datetime] = field(default_factory=dict)
    _commands: list[_Node] = field(default_factory=list)
    _turn: _Node | None = None
    _call: _Node | None = None
    _nodes: int = 0

    def add(self, fact: Fact) -> None:
        """Take the next event. Raises what `evolve` raises."""
        self.state, self.last = evolve(self.state, fact), fact
        self._note_times(fact)
        self._note_cause(fact)

    def _note_times(self, fact: Fact) -> None:
        envelope, event = fact.envelope, fact.event
        match event:
            case HumanAsked() | UiToolRequested():
                self.asked_at[event.question_id] = envelope.time
            case ToolDispatched():
                self.dispatched_at[event.tool_call_id] = envelope.time
            case TurnFailed():
                self.error = _error(fact, event.code, event.message, event.detail)
            case ModelCallFailed():
                self.error = _error(fact, event.code, event.message)
            case ChatFailed():
                self.ending = event.code
                if self.error is None or self.error.code != event.code:
                    self.error = _error(fact, event.code, event.message)
            case ChatCompleted() | ChatCancelled():
                self.ending = event.reason
            case _:
                pass

    def _note_cause(self, fact: Fact) -> None:
        envelope, event = fact.envelope, fact.event
        if not self._commands or self._commands[-1].node.name != envelope.cause:
            self._begin_command(fact)
        match event:
            case SpeakerSelected(agent=agent, turn=turn):
                self._turn = self._place(
                    self._commands[-1], fact, "turn", f"turn {turn} of {agent}"
                )
                self._call = None
            case ModelRequested(call=call):
                self._call = self._place(self._turn, fact, "model_call", f"model call {call}")
            case ModelResponded(finish_reason=reason):
                self._end(self._call, reason or "answered")
            case ModelCallFailed(code=code):
                self._end(self._call, code)
            case (
                ToolDispatched(name=name, tool_call_id=call)
                | ToolInvoked(name=name, tool_call_id=call)
            ):
                if self._tool(call) is None:
                    self._place(self._call or self._turn, fact, "tool_call", f"{name} ({call})")
            case ToolReturned(tool_call_id=call, status=status):
                self._end(self._tool(call), status)
            case HumanAsked(question_id=question) | UiToolRequested(question_id=question):
                self._place(
                    self._tool(event.tool_call_id) or self._turn, fact, "question", question
                )
            case TurnFailed(code=code):
                self._place(self._turn, fact, "failure", code)
            case RunClaimed(runner=runner):
                self._place(self._commands[-1], fact, "takeover", runner)
            case _:
                pass

    def _begin_command(self, fact: Fact) -> None:
        node = CauseNode(
            kind="command",
            name=fact.envelope.cause,
            seq=fact.envelope.seq,
            time=fact.envelope.time,
            outcome=fact.envelope.type,
        )
        self._commands.append(_Node(node))
        self._nodes += 1
        while self._nodes > MAX_NODES and len(self._commands) > 1:
            self._nodes -= _size(self._commands.pop(0))

    def _place(self, parent: _Node | None, fact: Fact, kind: str, name: str) -> _Node:
        data = {"kind": kind, "name": name, "seq": fact.envelope.seq, "time": fact.envelope.time}
        child = _Node(CauseNode.model_validate(data))
        siblings = (parent or self._commands[-1]).children
        siblings.append(child)
        self._nodes += 1
        if len(siblings) > MAX_NODES:
            self._nodes -= _size(siblings.pop(0))
        return child

    def _tool(self, call: str) -> _Node | None:
        """The newest node of a tool call of the running turn."""
        places = [one for one in (self._call, self._turn) if one is not None]
        nodes = (node for place in places for node in reversed(place.children))
        end = f"({call})"
        return next(
            (n for n in nodes if n.node.kind == "tool_call" and n.node.name.endswith(end)), None
        )

    @staticmethod
    def _end(node: _Node | None, outcome: str) -> None:
        if node is not None:
            node.node = node.node.model_copy(update={"outcome": outcome})

    def causes(self) -> list[CauseNode]:
        """The tree: commands, and below each what it led to."""
        return [_frozen(command) for command in self._commands]


def story_of(facts: Iterable[Fact]) -> Story:
    """The story of a whole log."""
    story = Story()
    for fact in facts:
        story.add(fact)
    return story


def account(key: ChatKey, story: Story, wait: WaitReported | None = None) -> ChatAccount:
    """The account of a chat. `wait` is the last one that was shown.

    `runner.message_is_stored`, `processes` and `holds_message` are not in the log: they stay empty.
    """
    state, last = story.state, story.last
    if last is None:
        return ChatAccount(app_id=key.app, chat_id=key.chat, sentence="This chat has no event.")
    turn = state.running_turn
    waits_for, sentence = _waits(state, story)
    provider_wait = _provider_wait(last, turn, wait) if waits_for == "model" else None
    if provider_wait is not None:
        sentence += (
            f" The provider is asked again at {_at(provider_wait.next_attempt_at)}, attempt "
            f"{provider_wait.attempt} of {provider_wait.attempts}, after {provider_wait.code}."
        )
    return ChatAccount(
        app_id=key.app,
        chat_id=key.chat,
        workflow_name=state.workflow,
        user_id=state.user,
        last_seq=state.seq,
        waits_for=waits_for,
        since=last.envelope.time,
        sentence=sentence,
        agent=None if turn is None else turn.agent,
        turn=None if turn is None else turn.number,
        questions=[] if turn is None else [_question(one, story) for one in turn.unanswered],
        calls=[] if turn is None else _open_calls(turn, story.dispatched_at),
        last_error=story.error,
        provider_wait=provider_wait,
        runner=_runner(state),
        causes=story.causes(),
    )


def _waits(state: ChatState, story: Story) -> tuple[WaitsFor, str]:
    """What the chat waits for, in one word and in a sentence."""
    since = _at(story.last.envelope.time) if story.last is not None else ""
    if state.is_erased:
        return "nothing", f"It was erased at {since}."
    if state.is_deleted:
        return "nothing", "Its user has deleted it; it is erased after the time of grace."
    turn = state.running_turn
    match pending(state):
        case RunLifecycleTools(occasion):
            names = ", ".join(remaining_lifecycle_tools(occasion, state).values())
            return "lifecycle_tools", f"It runs the tools {names} ({occasion}) since {since}."
        case StopTurn(number):
            return "stop", f"Turn {number} was stopped at {since} and is being ended."
        case RunTurn(number):
            agent = turn.agent if turn is not None else AgentName("")
            return _running(turn, f"turn {number} of {agent}", since)
        case None:
            pass
    if turn is not None:
        return "answers", _waits_for_answers(turn, story)
    if state.resumable:
        code = "" if story.error is None else f" ({story.error.code}: {story.error.message})"
        return (
            "retry",
            f"It was stopped by an error{code} at {since}: a message or a retry goes on.",
        )
    if state.ended is not None:
        reason = f" ({story.ending})" if story.ending else ""
        return "nothing", f"It has ended: {state.ended}{reason} at {since}."
    if state.waits_for_user:
        return "user_message", f"It waits for a message of its user since {since}."
    return "user_message", f"It is quiet since {since}: a message of its user goes on."


def _running(turn: Turn | None, name: str, since: str) -> tuple[WaitsFor, str]:
    if turn is not None and turn.open_request is not None:
        call = turn.open_request.call
        return "model", f"It waits for the model's answer to call {call} of {name} since {since}."
    asking = set() if turn is None else {one.tool_call_id for one in turn.unanswered}
    names = (
        []
        if turn is None
        else [call.tool_name for call in _open_calls(turn, {}) if call.tool_call_id not in asking]
    )
    if names:
        return "tools", f"It runs {', '.join(names)} in {name} since {since}."
    return "turn", f"It runs {name} since {since}."


def _waits_for_answers(turn: Turn, story: Story) -> str:
    asked = turn.unanswered
    first = story.asked_at.get(asked[0].question_id)
    since = "" if first is None else f" since {_at(first)}"
    expiring = sorted(one.expires_at for one in asked if one.expires_at is not None)
    until = f"; the first expires at {_at(expiring[0])}" if expiring else ""
    many = "an answer" if len(asked) == 1 else f"{len(asked)} answers"
    return f"It waits for {many} to {turn.agent}{since}{until}."


def _question(question: Question, story: Story) -> OpenQuestionExplained:
    audience, escalation = question.audience, question.escalation
    return OpenQuestionExplained(
        question_id=question.question_id,
        agent=question.agent,
        tool_call_id=question.tool_call_id,
        asked_at=story.asked_at[question.question_id],
        expires_at=question.expires_at,
        escalates_at=None if escalation is None else escalation.at,
        users=[story.state.user] if audience is None else list(audience.users),
        roles=[] if audience is None else list(audience.roles),
    )


def _open_calls(turn: Turn, dispatched_at: Mapping[str, datetime]) -> list[OpenCallExplained]:
    """The calls without a result, of the model and of the runtime."""
    results = turn.tool_results
    found = {call.id: call.name for _, call in turn.unfinished_calls}
    found |= {
        one.tool_call_id: one.name for one in turn.invocations if one.tool_call_id not in results
    }
    return [
        OpenCallExplained(
            tool_call_id=call,
            tool_name=name,
            attempt=turn.dispatches[call].attempt if call in turn.dispatches else 0,
            dispatched_at=dispatched_at.get(call),
        )
        for call, name in found.items()
    ]


def _provider_wait(last: Fact, turn: Turn | None, wait: WaitReported | None) -> ProviderWait | None:
    """The wait, unless it is one of before the last event, or of another turn."""
    if wait is None or turn is None or wait.turn != turn.number:
        return None
    if wait.until is None or wait.until < last.envelope.time:
        return None
    return ProviderWait(
        code=wait.code,
        seconds=wait.seconds,
        attempt=wait.attempt,
        attempts=wait.attempts,
        next_attempt_at=wait.until,
    )


def _runner(state: ChatState) -> RunnerExplained | None:
    if state.owner is None:
        return None
    delivery = None if state.runner is None else delivery_of(state.runner)
    return RunnerExplained(
        command=state.owner.command,
        message=state.owner.message,
        process=None if delivery is None else delivery.process,
        attempt=None if delivery is None else delivery.attempt,
    )


def _error(fact: Fact, code: str, message: str, detail: str | None = None) -> ErrorExplained:
    return ErrorExplained(
        seq=fact.envelope.seq, time=fact.envelope.time, code=code, message=message, detail=detail
    )


def _frozen(node: _Node) -> CauseNode:
    return node.node.model_copy(update={"children": [_frozen(one) for one in node.children]})


def _size(node: _Node) -> int:
    return 1 + sum(_size(one) for one in node.children)


def _at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
