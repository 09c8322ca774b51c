"""Rows of a user's list of chats."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ListedChat:
    """A chat of the list; `status` is running, waiting, completed, failed or cancelled.

    `excerpt` is the part of a message that has the words searched for, where the title has them not.
    Times are ISO 8601.
    """

    chat_id: str
    workflow_name: str
    status: str
    title: str
    created_at: str
    last_updated_at: str
    last_sequence: int
    archived: bool
    deleted: bool
    excerpt: str | None

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """From JSON; members that a newer transport adds are ignored."""
        return cls(**{field.name: given[field.name] for field in fields(cls)})
