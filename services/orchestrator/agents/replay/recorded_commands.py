"""The commands that recorded events followed from, made again from the events."""

from collections.abc import Sequence
from typing import Any

from contracts.codec import Fact
from contracts.commands import (
    AnswerQuestion,
    AnswerUiTool,
    AttachFile,
    CancelChat,
    Command,
    EditMessage,
    EscalateQuestion,
    ExpireQuestion,
    RetryAnswer,
    RewindChat,
    SendMessage,
    SetVariables,
    StartChat,
    StopAnswer,
)
from contracts.events import Event
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatErased,
    ChatFailed,
    ChatForked,
    ChatRewound,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    RewindRefused,
    ToolCodeChanged,
    UserMessageReceived,
    UserMessageRefused,
)
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.human import (
    HumanAnswered,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    USER,
    TextInterrupted,
    ToolReturned,
    TurnFailed,
    TurnStopRequested,
    UsageRecorded,
    VariablesChanged,
)
from contracts.ids import CommandId, Seq, UserId
from contracts.reserved_variables import is_reserved
from contracts.settable_variables import why_not_settable
from services.orchestrator.domain.chat_failures import (
    EVENT_TOO_LARGE,
    GIVEN_UP,
    VALUE_LOST,
    WORKFLOW_UNAVAILABLE,
)
from services.orchestrator.domain.state import ChatState
from services.orchestrator.workflows.spec import Workflow

_OF_INFRASTRUCTURE = {
    one.code for one in (EVENT_TOO_LARGE, GIVEN_UP, VALUE_LOST, WORKFLOW_UNAVAILABLE)
}


def is_taken(event: Event, business_occasions: frozenset[str]) -> bool:
    """Whether an event is taken from the log as it is: it follows from no decision about the workflow.

    What a process did or suffered, and what a provider, a timer or the wire made of the chat.
    `business_occasions` are those of tools, which the code repeats.
    """
    match event:
        case (
            BudgetExceeded()
            | BudgetWarned()
            | ChatArchived()
            | ChatDeleted()
            | ChatErased()
            | ChatForked()
            | ChatRenamed()
            | ChatUnarchived()
            | ChatUndeleted()
            | CommandGivenUp()
            | HistoryCompacted()
            | RewindRefused()
            | RunClaimed()
            | TextInterrupted()
            | ToolCodeChanged()
            | UsageRecorded()
        ):
            return True
        case BusinessLogged(occasion=occasion):
            return occasion not in business_occasions
        case ChatFailed(code=code) | TurnFailed(code=code):
            return code in _OF_INFRASTRUCTURE
        case TurnStopRequested(by=by):
            return by not in ("stop", "message", "cancel")
        case ToolReturned(status="not_found", occasion="before_chat" | "after_chat"):
            return True
        case _:
            return False


def command_of(
    facts: Sequence[Fact], place: int, state: ChatState, workflow: Workflow
) -> Command | None:
    """The command that the event at a place of the log, and perhaps some after it, followed from.

    None for an event that no command but a turn led to.
    """
    event, envelope = facts[place].event, facts[place].envelope
    named: dict[str, Any] = {
        "command_id": CommandId(envelope.cause),
        "app_id": envelope.app_id,
        "chat_id": envelope.chat_id,
        "user_id": getattr(event, "user_id", None) or UserId(state.user),
    }
    match event:
        case ChatStarted():
            return _start(facts, place, named, event)
        case UserMessageReceived(text=text):
            return SendMessage(**named, text=text)
        case UserMessageRefused(reason="answer_running"):
            return SendMessage(**named, text="…")  # what was refused is not in the log
        case HumanAnswered(by_default=False, question_id=question):
            return AnswerQuestion(
                **named,
                question_id=question,
                text=event.text,
                role=event.role,
                approved=event.approved,
                always=event.always,
            )
        case UiToolAnswered(by_default=False, question_id=question):
            return AnswerUiTool(
                **named, question_id=question, response=event.response, role=event.role
            )
        case HumanAnswered(question_id=question) | UiToolAnswered(question_id=question):
            return ExpireQuestion(**named, question_id=question)
        case QuestionExpired(question_id=question) if not _is_stopping(state):
            return ExpireQuestion(**named, question_id=question)
        case QuestionEscalated(question_id=question):
            return EscalateQuestion(**named, question_id=question)
        case VariablesChanged(agent=agent) if agent == USER:
            return _set_variables(event, named, workflow)
        case ChatRewound():
            return _rewind(facts, place, named, event)
        case AttachmentUploaded():
            return AttachFile(**named, **event.model_dump(exclude={"user_id"}))
        case TurnStopRequested(by="stop"):
            return StopAnswer(**named)
        case TurnStopRequested(by="cancel", reason=reason):
            return CancelChat(**named, reason=reason)
        case ChatCancelled(reason=reason) if not _is_stopping(state):
            return CancelChat(**named, reason=reason)
        case _:
            return None


def _is_stopping(state: ChatState) -> bool:
    return state.open_turn is not None and state.open_turn.stop is not None


def _start(
    facts: Sequence[Fact], place: int, named: dict[str, Any], started: ChatStarted
) -> StartChat:
    envelope = facts[place].envelope
    follows = facts[place + 1] if place + 1 < len(facts) else None
    message = None
    if follows is not None and follows.envelope.cause == envelope.cause:
        message = follows.event.text if isinstance(follows.event, UserMessageReceived) else None
    return StartChat(
        **named,
        workflow_name=envelope.workflow_name,
        message=message,
        client_request_id=started.client_request_id,
        variables={
            name: value for name, value in started.variables.items() if not is_reserved(name)
        },
    )


def _rewind(
    facts: Sequence[Fact], place: int, named: dict[str, Any], rewound: ChatRewound
) -> RetryAnswer | EditMessage | RewindChat:
    named = {**named, "seen_seq": Seq(facts[place].envelope.seq - 1)}
    match rewound.kind:
        case "retry":
            return RetryAnswer(**named)
        case "rewind":
            return RewindChat(**named, to_seq=rewound.to_seq)
        case "edit":
            follows = facts[place + 1].event if place + 1 < len(facts) else None
            text = follows.text if isinstance(follows, UserMessageReceived) else "…"
            return EditMessage(**named, message=Seq(rewound.to_seq + 1), text=text)


def _set_variables(
    event: VariablesChanged, named: dict[str, Any], workflow: Workflow
) -> SetVariables:
    """With a component that may set them all: which one did is not in the log."""
    components = dict.fromkeys(one for allowed in workflow.settable.values() for one in allowed)
    for component in (None, *components):
        if all(
            why_not_settable(name, workflow.settable, component) is None for name in event.changed
        ):
            return SetVariables(**named, variables=event.changed, component=component)
    return SetVariables(**named, variables=event.changed)
