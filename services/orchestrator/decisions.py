"""What becomes true when an order arrives, what follows by itself, and what a chat still waits for."""

from collections.abc import Mapping
from typing import Any

from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    AttachFile,
    CancelChat,
    Command,
    ExpireQuestion,
    ResumeChat,
    SendMessage,
    SetVariables,
    StartChat,
)
from contracts.events import Event
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    CommandGivenUp,
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
    RUNTIME,
    SELECTOR,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    VariablesChanged,
)
from contracts.ids import DeliveryId, QuestionId, delivery_of
from contracts.reserved import is_reserved
from contracts.seed import cache_seed
from services.orchestrator.patterns import (
    Circle,
    Finish,
    Next,
    Speaker,
    after_selection,
    next_speaker,
)
from services.orchestrator.state import (
    AroundChat,
    ChatState,
    Question,
    apply,
    close_selection,
    left_around,
)
from services.orchestrator.turns import Broke, Noted, Outcome, Spoke, Waits
from services.orchestrator.workflows.spec import USER, AnswerTrigger, TextTrigger, Workflow

UNAVAILABLE = Broke(
    "WORKFLOW_UNAVAILABLE", "The workflow of this chat is not available, or does not load."
)
TOO_LARGE = Broke(
    "NOT_KEPT", "A step of this chat was refused by the log: it is too large to keep."
)
EXPIRED = Broke("QUESTION_EXPIRED", "A question was not answered in time.")
GIVEN_UP = Broke("GIVEN_UP", "This chat failed again and again, and was given up.")


class FencedError(Exception):
    """A later delivery of the same command runs this chat: this one stops, whatever it was doing."""


def decide(command: Command, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The events that a command brings about, none where it was told before or comes too late.

    `workflow` is the chat's, none where it cannot be loaded: then the chat fails, in words.
    """
    said = _heard(command, state, workflow)
    if not said:
        return []
    return _with_what_follows(said, state, workflow, command.command_id)


def conclude(outcome: Outcome, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The events that end a turn and begin what follows, none where the turn is over already."""
    turn = state.open
    if turn is None or state.ended:
        return []
    match outcome:
        case Waits() | Noted():
            return []
        case Broke():
            return fail(outcome, state)
        case Spoke(text) if turn.agent == SELECTOR:
            return _selected(text, close_selection(state), workflow)
        case Spoke(text, handoff):
            done = TurnCompleted(turn=turn.number, agent=turn.agent, text=text, handoff=handoff)
            set_off = [] if workflow is None else _triggered_by_text(text, state, workflow)
            return _with_what_follows([*set_off, done], state, workflow, "")


def fail(broke: Broke, state: ChatState) -> list[Event]:
    """The events that end a chat by a fault, none where it has ended or never begun."""
    if state.ended or not state.started:
        return []
    failed: list[Event] = [ChatFailed(code=broke.code, message=broke.message)]
    if (turn := state.open) is not None and turn.agent != USER:
        blamed = TurnFailed(
            turn=turn.number, agent=turn.agent, code=broke.code, message=broke.message
        )
        failed.insert(0, blamed)
    return failed


def restate(state: ChatState, workflow: Workflow) -> list[Event]:
    """That a chat goes on with other tool code than before, none where it is the same.

    A chat of a release that pinned no versions goes on with whatever there is.
    """
    now, before = workflow.version, state.tools_version
    if now is None or state.workflow_version is None or before == now.tools:
        return []
    return [ToolCodeChanged(before=before, now=now.tools)]


def claim(state: ChatState, me: DeliveryId) -> list[Event]:
    """That a delivery of the owner's message goes on with what an earlier one began.

    None where the chat is quiet, or another message owns it. Raises FencedError where a later
    delivery has claimed it.
    """
    if state.owner is None or state.owner.message != me.message:
        return []
    if is_fenced(state, me):
        raise FencedError(f"{state.runner} runs this chat")
    return [RunClaimed(runner=me.runner, attempt=me.attempt, previous=state.runner)]


def resume(command: ResumeChat, state: ChatState, me: DeliveryId) -> list[Event]:
    """That a command of the audit runs the chat from now on, whose owner's message is gone.

    None where the chat has moved on since the audit looked.
    """
    if state.owner is None or state.owner.message != command.owner:
        return []
    return [RunClaimed(runner=me.runner, attempt=me.attempt, previous=state.runner)]


def is_fenced(state: ChatState, me: DeliveryId) -> bool:
    """Whether a later delivery of the same message has appended since."""
    by = None if state.runner is None else delivery_of(state.runner)
    return by is not None and by.message == me.message and by.attempt > me.attempt


def unavailable(state: ChatState) -> list[Event]:
    """The events that end a chat whose workflow cannot be had; nothing is left to be done."""
    return [*fail(UNAVAILABLE, state), *not_called("after_chat", state)]


def give_up(command: Command, state: ChatState, me: DeliveryId) -> list[Event]:
    """The events that say that a command's message is given up, before the message goes.

    A chat that is its to run fails, with nothing left to be done; a start that was never taken in
    begins a chat that has failed. Of any other command that was not taken in it is said that it
    never will be: an earlier delivery may be about to do so.
    """
    owner = state.owner
    if owner is not None and (
        owner.message == me.message
        or (isinstance(command, ResumeChat) and owner.message == command.owner)
    ):
        return [*fail(GIVEN_UP, state), *not_called("after_chat", state)]
    match command:
        case StartChat() if not state.started:
            return [
                *_started(command, None),
                ChatFailed(code=GIVEN_UP.code, message=GIVEN_UP.message),
            ]
        case StartChat() | ResumeChat() | ExpireQuestion():
            return []
        case _ if state.ended or _is_taken_in(command, state):
            return []
        case _:
            return [CommandGivenUp(user_id=command.user_id, command=command.name)]


def too_early(command: Command, state: ChatState) -> str | None:
    """Why a command that changes nothing now may still do so later; none where it never will.

    Only what the log says for ever lets a command go: a read may have been behind.
    """
    match command:
        case StartChat() | ResumeChat() | ExpireQuestion():
            return None
        case AnswerQuestion(question_id=question) | AnswerUiTool(question_id=question):
            if state.ended or question in state.asked:
                return None
            return f"question {question} has not been asked"
        case _:
            return None if state.started else "the chat has not begun"


def _is_taken_in(command: Command, state: ChatState) -> bool:
    match command:
        case AnswerQuestion(question_id=question) | AnswerUiTool(question_id=question):
            return question in state.asked and not any(
                one.question_id == question for one in _unanswered(state)
            )
        case AttachFile(attachment_id=attached):
            return any(one.attachment_id == attached for one in state.attachments)
        case _:
            return command.command_id in state.heard


def not_called(occasion: AroundChat, state: ChatState) -> list[Event]:
    """The results of the tools before or after a chat that will not be called."""
    return [
        ToolReturned(
            turn=0,
            call=0,
            agent=RUNTIME,
            tool_call_id=call,
            name=name,
            status="not_found",
            error="The tool was not called: its workflow is not available.",
            occasion=occasion,
        )
        for call, name in left_around(occasion, state).items()
    ]


def _heard(command: Command, state: ChatState, workflow: Workflow | None) -> list[Event]:
    if state.ended or state.started == isinstance(command, StartChat):
        return []
    if command.command_id in state.heard:
        return []
    match command:
        case StartChat():
            return _started(command, workflow)
        case SendMessage(text=text):
            return [UserMessageReceived(user_id=command.user_id, text=text)]
        case AnswerQuestion(question_id=question, text=text):
            if not _is_open(state, question, HumanAsked):
                return []
            return [HumanAnswered(question_id=question, user_id=command.user_id, text=text)]
        case AnswerUiTool(question_id=question, response=given):
            if not _is_open(state, question, UiToolRequested):
                return []
            return [
                UiToolAnswered(question_id=question, user_id=command.user_id, response=given),
                *_triggered_by_answer(question, given, state, workflow),
            ]
        case ExpireQuestion(question_id=question):
            return _expired(question, state, workflow)
        case SetVariables(variables=given):
            return _set(given, state)
        case AttachFile():
            return _attached(command, state)
        case ResumeChat():
            return []  # it names no change: see `resume`
        case CancelChat(reason=reason):
            return [ChatCancelled(user_id=command.user_id, reason=reason)]


def _started(command: StartChat, workflow: Workflow | None) -> list[Event]:
    declared = {} if workflow is None else dict(workflow.variables)
    version = None if workflow is None else workflow.version
    began: list[Event] = [
        ChatStarted(
            user_id=command.user_id,
            seed=cache_seed(command.app_id, command.chat_id),
            client_request_id=command.client_request_id,
            variables={**declared, **_seeded(command), **_own(command)},
            workflow_version=None if version is None else version.manifests,
            tools_version=None if version is None else version.tools,
            before_chat=[] if workflow is None else [tool.name for tool in workflow.before_chat],
            after_chat=[] if workflow is None else [tool.name for tool in workflow.after_chat],
        )
    ]
    if command.message:
        began.append(UserMessageReceived(user_id=command.user_id, text=command.message))
    return began


def _set(given: Mapping[str, Any], state: ChatState) -> list[Event]:
    """The variables that differ from what they are; those of the runtime are nobody's to set."""
    changed = {
        name: value
        for name, value in given.items()
        if not is_reserved(name)
        and not (name in state.variables and state.variables[name] == value)
    }
    if not changed:
        return []
    return [VariablesChanged(turn=state.turns, agent=USER, changed=changed)]


def _attached(command: AttachFile, state: ChatState) -> list[Event]:
    if any(one.attachment_id == command.attachment_id for one in state.attachments):
        return []
    return [
        AttachmentUploaded(
            attachment_id=command.attachment_id,
            user_id=command.user_id,
            filename=command.filename,
            size_bytes=command.size_bytes,
            content_type=command.content_type,
            digest=command.digest,
            intent=command.intent,
            bundle_path=command.bundle_path,
        )
    ]


def _seeded(command: StartChat) -> dict[str, Any]:
    return {name: value for name, value in command.variables.items() if not is_reserved(name)}


def _own(command: StartChat) -> dict[str, Any]:
    """What the runtime itself tells every chat."""
    return {
        "workflow_name": command.workflow_name,
        "app_id": command.app_id,
        "chat_id": command.chat_id,
        "user_id": command.user_id,
    }


def _triggered_by_text(text: str, state: ChatState, workflow: Workflow) -> list[Event]:
    """The variables that an agent's words set."""
    turn = state.open
    assert turn is not None  # noqa: S101  whose turn ends here
    changed = {
        trigger.variable: trigger.value
        for trigger in workflow.triggers
        if isinstance(trigger, TextTrigger)
        and trigger.agent == turn.agent
        and trigger.matches(text)
    }
    if not changed:
        return []
    return [VariablesChanged(turn=turn.number, agent=turn.agent, changed=changed)]


def _triggered_by_answer(
    question: QuestionId, given: Mapping[str, Any], state: ChatState, workflow: Workflow | None
) -> list[Event]:
    """The variables that what the person did with a UI tool sets."""
    asked = next((q for q in _unanswered(state) if q.question_id == question), None)
    if workflow is None or not isinstance(asked, UiToolRequested):
        return []
    changed = {}
    for trigger in workflow.triggers:
        if isinstance(trigger, AnswerTrigger) and trigger.tool == asked.ui_tool_id:
            answered = _under(given, trigger.key)
            if answered is not None:
                changed[trigger.variable] = answered if trigger.value is None else trigger.value
    if not changed:
        return []
    return [VariablesChanged(turn=asked.turn, agent=asked.agent, changed=changed)]


def _under(value: Any, path: str) -> Any:
    """What lies under a dotted path, none where nothing does."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _expired(question: QuestionId, state: ChatState, workflow: Workflow | None) -> list[Event]:
    """The default answer to a question that nobody answered in time, or the end of its turn."""
    asked = next((q for q in _unanswered(state) if q.question_id == question), None)
    match asked:
        case None:
            return []
        case HumanAsked(default=str(text)):
            return [
                HumanAnswered(question_id=question, user_id=state.user, text=text, by_default=True)
            ]
        case UiToolRequested(default=dict(given)):
            return [
                UiToolAnswered(
                    question_id=question, user_id=state.user, response=given, by_default=True
                ),
                *_triggered_by_answer(question, given, state, workflow),
            ]
        case _:
            return [QuestionExpired(question_id=question), *fail(EXPIRED, state)]


def _unanswered(state: ChatState) -> tuple[Question, ...]:
    return state.open.unanswered if state.open else ()


def _is_open(state: ChatState, question: str, kind: type[HumanAsked | UiToolRequested]) -> bool:
    return any(q.question_id == question and isinstance(q, kind) for q in _unanswered(state))


def _with_what_follows(
    events: list[Event], state: ChatState, workflow: Workflow | None, cause: str
) -> list[Event]:
    """Add the next speaker, or the end, where these events leave nobody speaking."""
    known = state
    for event in events:
        known = apply(known, event, cause=cause)
    if known.ended or known.open is not None:
        return events
    if workflow is None:
        return [*events, _gone()]
    return [*events, _follows(next_speaker(workflow, known), known)]


def _selected(answer: str, state: ChatState, workflow: Workflow | None) -> list[Event]:
    if workflow is None:
        return [_gone()]
    return [_follows(after_selection(workflow, state, answer), state)]


def _follows(next_: Next, state: ChatState) -> Event:
    match next_:
        case Speaker(agent, by):
            return SpeakerSelected(turn=state.turns + 1, agent=agent, by=by)
        case Finish(reason):
            return ChatCompleted(reason=reason, turns=state.agent_turns)
        case Circle(agents):
            message = f"These agents give the word on without a reply: {' → '.join(agents)}."
            return ChatFailed(code="HANDOFF_CYCLE", message=message)


def _gone() -> Event:
    return ChatFailed(code=UNAVAILABLE.code, message=UNAVAILABLE.message)
