"""Search in titles and messages: all words occur, in any case, within other words, too."""

from collections.abc import Sequence

EXCERPT_CHARS = 160
BEFORE_CHARS = 40
"""Of an excerpt, before the first word that was searched for."""


def has_words(text: str, words: Sequence[str]) -> bool:
    """Whether every word occurs in a text."""
    folded = text.casefold()
    return all(word.casefold() in folded for word in words)


def excerpt_of(text: str, words: Sequence[str]) -> str:
    """The part of a text around the first of the words, in one line."""
    # A casefolded text may be longer: a place in it is near, not exact.
    folded = text.casefold()
    places = [place for word in words if (place := folded.find(word.casefold())) >= 0]
    begin = max(min(places, default=0) - BEFORE_CHARS, 0)
    part = " ".join(text[begin : begin + EXCERPT_CHARS].split())
    before, after = "…" if begin else "", "…" if begin + EXCERPT_CHARS < len(text) else ""
    return f"{before}{part}{after}"
