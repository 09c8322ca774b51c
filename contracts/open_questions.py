"""What a snapshot keeps of an open question, and of the artifact that is shown."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from contracts.ids import AgentName, QuestionId, Seq, UserId

QuestionKind = Literal["text", "component"]


@dataclass(frozen=True, slots=True)
class OpenQuestion:
    """A question that waits for an answer: in text, or through a UI component.

    `asks_owner` says whether the chat's user may answer; `users` and `roles` are the others who may.
    `subject` is its prompt, cut if it is long, or the name of its component. `tool`, `digest`
    and `allow_always` are those of the call that it asks to approve.
    """

    question_id: QuestionId
    kind: QuestionKind
    agent: AgentName = AgentName("")  # noqa: RUF009
    subject: str = ""
    asked_at: datetime | None = None
    expires_at: datetime | None = None
    asks_owner: bool = True
    users: tuple[UserId, ...] = ()
    roles: tuple[str, ...] = ()
    tool: str | None = None
    digest: str | None = None
    allow_always: bool = False
    options: tuple[str, ...] = ()
    escalated: bool = False

    def names(self, user: UserId, owner: UserId | None) -> bool:
        """Whether a user may answer by name, whatever their roles."""
        return user in self.users or (self.asks_owner and user == owner)

    def admits(self, user: UserId, role: str | None, owner: UserId | None) -> bool:
        """Whether a user may answer, by name or by a role of theirs."""
        return self.names(user, owner) or (role is not None and role in self.roles)


@dataclass(frozen=True, slots=True)
class ArtifactReference:
    """The artifact that was opened last and not closed since; event `seq` of the chat has its payload."""

    question_id: QuestionId
    ui_tool_id: str
    component: str
    seq: Seq
    shown_at: datetime
