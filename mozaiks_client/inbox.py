"""The inbox: open questions that wait for a user, by name or by role."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class InboxQuestion:
    """An open question of a chat of `user_id`. `subject` is the beginning of its prompt.

    `tool`, `digest` and `allow_always` are those of the call that it asks to approve, if it does.
    Times are ISO 8601.
    """

    chat_id: str
    workflow_name: str
    user_id: str
    question_id: str
    kind: str
    agent: str
    subject: str
    options: tuple[str, ...]
    tool: str | None
    digest: str | None
    allow_always: bool
    escalated: bool
    asked_at: str | None
    expires_at: str | None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """From JSON; members that a newer transport adds are ignored."""
        known = {field.name: given[field.name] for field in fields(cls)}
        return cls(**{**known, "options": tuple(given["options"])})


@dataclass(frozen=True, slots=True)
class AnswerLink:
    """Answers a question once, without a token, until `expires_at` (ISO 8601)."""

    url: str
    expires_at: str


def questions_of(page: dict[str, Any]) -> tuple[InboxQuestion, ...]:
    return tuple(InboxQuestion.of(one) for one in page["questions"])
