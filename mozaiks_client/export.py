"""Exports of chats: what a verified export holds."""

from dataclasses import dataclass
from pathlib import Path

from contracts.verify_export import chats_of, problems_of
from mozaiks_client.errors import DamagedExportError

MAX_PROBLEMS = 20
"""Lines of a DamagedExportError."""


@dataclass(frozen=True, slots=True)
class ExportedChat:
    """A chat of an export, whose events form an unbroken chain up to event `last_seq`.

    `last_digest` is that event's: it is also in the chat's meta, which proves that nothing is missing.
    """

    chat_id: str
    last_seq: int
    last_digest: str


def verified(path: Path) -> list[ExportedChat]:
    """The chats of an export. Raises DamagedExportError, OSError."""
    problems: list[str] = []
    for problem in problems_of(path):
        problems.append(problem)
        if len(problems) == MAX_PROBLEMS:
            break
    if problems:
        raise DamagedExportError("\n".join(problems))
    return [
        ExportedChat(one["chat_id"], one["last_seq"], one["last_digest"]) for one in chats_of(path)
    ]
