"""Search texts for the regular expressions of manifests, within a time limit."""

import regex

MATCH_SECONDS = 0.1
"""How long one search may take: it runs in the event loop that all chats share."""
_PROBE_SECONDS = 0.02
_PROBES = tuple(
    unit * (2_000 // len(unit)) + end
    for unit in ("a", "a ", "0", " ", "ab", "a,", "\n")
    for end in ("!", "\x00")
)
"""Texts on which a backtracking search takes longest: long repetitions that do not match at the end."""


class InvalidPatternError(ValueError):
    """The text is no regular expression; the message says why."""


def check_syntax(pattern: str) -> None:
    """Raises InvalidPatternError."""
    try:
        regex.compile(pattern)
    except regex.error as invalid:
        raise InvalidPatternError(str(invalid)) from invalid


def is_found(pattern: str, text: str) -> bool:
    """Whether the pattern is found in a text; not where the search takes longer than MATCH_SECONDS."""
    try:
        return regex.search(pattern, text, timeout=MATCH_SECONDS) is not None
    except TimeoutError:
        return False


def may_be_slow(pattern: str) -> bool:
    """Whether a search takes very long on one of some texts that make backtracking expensive."""
    try:
        for probe in _PROBES:
            regex.search(pattern, probe, timeout=_PROBE_SECONDS)
    except TimeoutError:
        return True
    return False
