"""What the log of the process says about a chat: begin, end, failure, takeover, questions, business events.

No line quotes what a user, a model or a tool has said; a business event's message is its author's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts import encryption
from contracts.events import Event
from contracts.events.business import BusinessLogged, Level
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    CommandGivenUp,
    ToolCodeChanged,
    TurnLimitReported,
    UserMessageRefused,
)
from contracts.events.human import HumanAsked, QuestionEscalated, QuestionExpired, UiToolRequested
from contracts.events.run import RunClaimed
from contracts.events.turn import ModelCallFailed, TurnFailed, TurnStopped


@dataclass(frozen=True, slots=True)
class LogLine:
    level: Level
    message: str
    fields: dict[str, object] = field(default_factory=dict)


def log_lines(events: Iterable[Event], workflow: str) -> list[LogLine]:
    """The lines of the events that an operator wants to see, in their order."""
    return [line for event in events if (line := _line(event, workflow)) is not None]


def _line(event: Event, workflow: str) -> LogLine | None:
    match event:
        case ChatStarted():
            return _info("chat started", workflow=workflow, version=event.workflow_version)
        case ChatCompleted():
            return _info("chat ended", workflow=workflow, reason=event.reason, turns=event.turns)
        case ChatCancelled():
            return _info("chat cancelled", workflow=workflow)
        case ChatFailed():
            return _warning("chat failed", workflow=workflow, code=event.code)
        case TurnFailed():
            return _warning("turn failed", agent=event.agent, turn=event.turn, code=event.code)
        case ModelCallFailed():
            return _warning("model call of no use", agent=event.agent, code=event.code)
        case TurnStopped():
            return _info("turn stopped", agent=event.agent, turn=event.turn, by=event.by)
        case TurnLimitReported():
            return _info("turn limit", turns=event.turns, max_turns=event.max_turns)
        case RunClaimed():
            return _warning("run taken over", attempt=event.attempt, previous=event.previous)
        case CommandGivenUp():
            return _warning("command given up", command=event.command)
        case UserMessageRefused():
            return _info("message refused", reason=event.reason)
        case ToolCodeChanged():
            return _info("chat goes on with newer tool code", workflow=workflow)
        case HumanAsked() | UiToolRequested():
            return _info("question asked", agent=event.agent, turn=event.turn)
        case QuestionEscalated():
            return _info("question escalated", question=event.question_id)
        case QuestionExpired():
            return _info("question expired", question=event.question_id)
        case BusinessLogged():
            fields: dict[str, object] = {"event": event.log_event_type}
            if not encryption.is_on():  # a log is no place for what is encrypted elsewhere
                fields["text"] = event.message
            return LogLine(event.level, "business event", fields)
        case _:
            return None


def _info(message: str, **fields: object) -> LogLine:
    return LogLine("info", message, fields)


def _warning(message: str, **fields: object) -> LogLine:
    return LogLine("warning", message, fields)
