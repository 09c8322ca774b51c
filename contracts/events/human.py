"""A tool asks the person and waits, however long, at no cost: in words or through a UI component."""

from typing import Any, ClassVar, Literal

from contracts.events.body import EventBody
from contracts.ids import AgentName, QuestionId, UserId
from contracts.subjects import Category

Display = Literal["inline", "artifact"]


class HumanAsked(EventBody):
    """`options`, if any, are answers to offer; any text is accepted."""

    type: ClassVar[str] = "human.asked"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    turn: int
    agent: AgentName
    tool_call_id: str
    ordinal: int
    prompt: str
    options: list[str] = []


class HumanAnswered(EventBody):
    type: ClassVar[str] = "human.answered"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    user_id: UserId
    text: str


class UiToolRequested(EventBody):
    """A component is to be shown and answered; `question_id` is the `event_id` that ChatUI sends back."""

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


class UiToolAnswered(EventBody):
    type: ClassVar[str] = "ui.tool_answered"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    user_id: UserId
    response: dict[str, Any]
