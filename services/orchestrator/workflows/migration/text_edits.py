"""Replace parts of a text by their positions, so that everything else stays as it is written."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replaces the characters (or bytes) from `start` to `end`; an insertion where they are equal."""

    start: int
    end: int
    text: str


class OverlapError(ValueError):
    """Two edits change the same characters."""


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Raises OverlapError."""
    parts: list[str] = []
    position = 0
    for edit in sorted(set(edits)):
        if edit.start < position:
            raise OverlapError(f"at {edit.start}")
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join((*parts, text[position:]))
