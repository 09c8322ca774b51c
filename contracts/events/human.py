"""Questions of tools, as text or by a UI component: approvals, escalation, expiry and answers."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from contracts.envelope import Instant
from contracts.events.body import EventBody
from contracts.ids import AgentName, QuestionId, UserId
from contracts.subjects import Category

Display = Literal["inline", "artifact"]


class Audience(BaseModel):
    """Who may answer a question: these users, and every user whose token has one of these roles."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    users: list[UserId] = []
    roles: list[str] = []


class Escalation(BaseModel):
    """From `at` on, an open question may be answered by the audience `to`, too."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: Instant
    to: Audience


class Approval(BaseModel):
    """The tool call that a question asks to approve.

    `digest` is the SHA-256 of its arguments, in hex: the answer holds for these arguments. With
    `allow_always`, the answer may approve all further calls of this tool by this agent in this chat.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    tool: str
    digest: str
    allow_always: bool = False


class Doubt(BaseModel):
    """The tool call of which nobody knows whether it took effect.

    `digest` is the SHA-256 of its arguments, in hex; `attempt` is the one in doubt.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    tool: str
    digest: str
    attempt: int


class HumanAsked(EventBody):
    """`options`, if any, are answers to offer; any text is accepted.

    At `expires_at` the question is answered by `default`, or, without one, the turn fails. Without
    an `audience` the chat's user answers. With `send_links`, business events hold links that answer
    it. An `approval` whose answer is neither yes nor no is asked again, as another question, and so
    is a question about a `doubt`; its `ordinal` is the attempt that is in doubt.
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
    approval: Approval | None = None
    audience: Audience | None = None
    escalation: Escalation | None = None
    send_links: bool = False
    doubt: Doubt | None = None


class HumanAnswered(EventBody):
    """`user_id` is who answered, `role` the role by which they may, none for a named user.

    Of an approval, `approved` is the decision, none where the text is neither yes nor no; `always`
    approves further calls of the tool, too.
    """

    type: ClassVar[str] = "human.answered"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    user_id: UserId
    text: str
    by_default: bool = False
    """Whether the default answered, because nobody did in time."""
    role: str | None = None
    approved: bool | None = None
    always: bool = False


class QuestionExpired(EventBody):
    """Nobody answered in time and there is no default: the turn fails."""

    type: ClassVar[str] = "human.question_expired"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId


class QuestionEscalated(EventBody):
    """Nobody has answered for a while: from now on the audience `to` may answer, too."""

    type: ClassVar[str] = "human.question_escalated"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    to: Audience


class UiToolRequested(EventBody):
    """Asks the user by a component; `question_id` is the `event_id` that ChatUI sends back.

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
    audience: Audience | None = None
    escalation: Escalation | None = None
    send_links: bool = False


class UiToolAnswered(EventBody):
    """`user_id` is who answered, `role` the role by which they may, none for a named user."""

    type: ClassVar[str] = "ui.tool_answered"
    category: ClassVar[Category] = "ui"
    question_id: QuestionId
    user_id: UserId
    response: dict[str, Any]
    by_default: bool = False
    role: str | None = None
