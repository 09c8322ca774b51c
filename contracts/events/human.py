"""A tool asks the person and waits, however long, at no cost: in words or through a UI component."""

from typing import Any, ClassVar, Literal

from contracts.envelope import Instant
from contracts.events.body import EventBody
from contracts.ids import AgentName, QuestionId, UserId
from contracts.subjects import Category

Display = Literal["inline", "artifact"]


class HumanAsked(EventBody):
    """`options`, if any, are answers to offer; any text is accepted.

    At `expires_at` the question is answered by `default`, or, without one, the turn fails.
    """

    type: ClassVar[str] = "human.asked"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    turn: int
    agent: AgentName
    tool_call_id: str
    ordinal: int
    prompt: str
    options: list[str] = []
    expires_at: Instant | None = None
    default: str | None = None


class HumanAnswered(EventBody):
    type: ClassVar[str] = "human.answered"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    user_id: UserId
    text: str
    by_default: bool = False
    """Whether nobody answered in time."""


class QuestionExpired(EventBody):
    """Nobody answered in time, and there was no default: what comes next is the end of the turn."""

    type: ClassVar[str] = "human.question_expired"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId


class UiToolRequested(EventBody):
    """A component is to be shown and answered; `question_id` is the `event_id` that ChatUI sends back.

    At `expires_at` it is answered by `default`, or, without one, the turn fails.
    """

    type: ClassVar[str] = "ui.tool_requested"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    turn: int
    agent: AgentName
    tool_call_id: str
    ordinal: int
    ui_tool_id: str
    component: str
    display: Display = "inline"
    payload: dict[str, Any] = {}
    expires_at: Instant | None = None
    default: dict[str, Any] | None = None


class UiToolAnswered(EventBody):
    type: ClassVar[str] = "ui.tool_answered"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    user_id: UserId
    response: dict[str, Any]
    by_default: bool = False
