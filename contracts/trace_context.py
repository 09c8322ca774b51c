"""W3C Trace Context, level 2: reading a `traceparent` that a stranger sent."""

import re

MAX_CHARS = 256
"""Of a `traceparent`: later versions may be longer than the 55 characters of version 00."""
_FORMAT = re.compile(
    r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?", re.ASCII
)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16


def parse_traceparent(given: str | None) -> str | None:
    """The `traceparent` in the form of version 00; None where there is none, or none that is valid.

    The rule is that of the specification: whoever gets an invalid one begins a trace of their own.
    """
    if given is None or len(given) > MAX_CHARS:
        return None
    found = _FORMAT.fullmatch(given.strip(" \t"))
    if found is None:
        return None
    version, trace, span, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    if trace == _NO_TRACE or span == _NO_SPAN:
        return None
    return f"00-{trace}-{span}-{flags if version == '00' else _known(flags)}"


def _known(flags: str) -> str:
    """Of the flags of a later version, those that version 00 has: sampled, and random."""
    return f"{int(flags, 16) & 0b11:02x}"
