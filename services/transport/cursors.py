"""What a client says of itself in its query: where it stands, and how much it wants to see."""

from contracts.ids import Seq
from services.transport.refusals import malformed

LONGEST = 15
"""Digits of a cursor: more than any chat has events, less than a JSON number can hold."""


def required(text: str | None, field: str) -> str:
    """Raises RefusalError."""
    if not text:
        raise malformed(field, "is required in the query")
    return text


def cursor(text: str, field: str) -> Seq:
    """The seq of the last event that a client has. Raises RefusalError."""
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST):
        raise malformed(field, "must be the seq of the last event seen, or 0")
    return Seq(int(text))


def wants_everything(text: str | None) -> bool:
    """Whether every event is asked for as it is stored. Raises RefusalError."""
    if text not in (None, "", "0", "1"):
        raise malformed("events", "must be 0 or 1")
    return text == "1"


def seconds(text: str, field: str, most: float) -> float:
    """A time to wait. Raises RefusalError."""
    try:
        asked = float(text)
    except ValueError:
        asked = -1.0
    if not 0 <= asked <= most:  # what is no number at all fails this, too
        raise malformed(field, f"must be a number of seconds from 0 to {most:g}")
    return asked


def count(text: str | None, field: str, usual: int, most: int) -> int:
    """How many at the most. Raises RefusalError."""
    if text is None:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= LONGEST and 1 <= int(text) <= most):
        raise malformed(field, f"must be a whole number from 1 to {most}")
    return int(text)
