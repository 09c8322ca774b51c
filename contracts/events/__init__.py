"""The union of all events."""

from typing import get_args

from contracts.events.body import EventBody as EventBody
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatForked,
    ChatRewound,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    RewindRefused,
    ToolCodeChanged,
    TurnLimitReported,
    UserMessageReceived,
    UserMessageRefused,
    UserMessagesConsumed,
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
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
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

Event = (
    ChatStarted
    | ChatForked
    | UserMessageReceived
    | UserMessagesConsumed
    | UserMessageRefused
    | AttachmentUploaded
    | HistoryCompacted
    | ToolCodeChanged
    | CommandGivenUp
    | TurnLimitReported
    | ChatCompleted
    | ChatFailed
    | ChatCancelled
    | ChatRenamed
    | ChatArchived
    | ChatUnarchived
    | ChatDeleted
    | ChatUndeleted
    | ChatErased
    | ChatRewound
    | RewindRefused
    | SpeakerSelected
    | ConversationProcessed
    | ModelRequested
    | ModelCallFailed
    | ModelResponded
    | ToolInvoked
    | ToolDispatched
    | ToolReturned
    | TextInterrupted
    | TurnStopRequested
    | TurnStopped
    | TurnCompleted
    | TurnFailed
    | VariablesChanged
    | UsageRecorded
    | OutputStructured
    | HumanAsked
    | HumanAnswered
    | QuestionEscalated
    | QuestionExpired
    | UiToolRequested
    | UiToolAnswered
    | BusinessLogged
    | RunClaimed
    | BudgetWarned
    | BudgetExceeded
)

EVENT_TYPES: dict[str, type[Event]] = {event.type: event for event in get_args(Event)}
