"""The union of all families: the list of everything that can happen."""

from typing import get_args

from contracts.events.body import EventBody as EventBody
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

Event = (
    ChatStarted
    | UserMessageReceived
    | AttachmentUploaded
    | HistoryCompacted
    | ToolCodeChanged
    | CommandGivenUp
    | ChatCompleted
    | ChatFailed
    | ChatCancelled
    | SpeakerSelected
    | ConversationProcessed
    | ModelRequested
    | ModelResponded
    | ToolInvoked
    | ToolReturned
    | TurnCompleted
    | TurnFailed
    | VariablesChanged
    | UsageRecorded
    | OutputStructured
    | HumanAsked
    | HumanAnswered
    | QuestionExpired
    | UiToolRequested
    | UiToolAnswered
    | BusinessLogged
    | RunClaimed
)

EVENT_TYPES: dict[str, type[Event]] = {event.type: event for event in get_args(Event)}
