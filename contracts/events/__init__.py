"""The union of all families: the list of everything that can happen."""

from typing import get_args

from contracts.events.body import EventBody as EventBody
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import (
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
    VariablesChanged,
)

Event = (
    ChatStarted
    | UserMessageReceived
    | ChatCompleted
    | ChatFailed
    | ChatCancelled
    | SpeakerSelected
    | ModelRequested
    | ModelResponded
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
)

EVENT_TYPES: dict[str, type[Event]] = {event.type: event for event in get_args(Event)}
