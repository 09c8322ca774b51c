"""Ids of tool calls as every provider accepts them back, unique within a turn."""

import re
from collections.abc import Set
from itertools import count

MAX_CHARS = 40
"""OpenAI's limit."""

_REFUSED_CHARS = re.compile(r"[^a-zA-Z0-9_-]")


def unique_call_id(given: str, call: int, used: Set[str]) -> str:
    """The id that a provider gave, if it is accepted and not used; else one that is made of it.

    Some providers count from 0 in every response: then the number of the model `call` is added.
    """
    own = _REFUSED_CHARS.sub("_", given)
    if 0 < len(own) <= MAX_CHARS and own not in used:
        return own
    suffixes = (f"_{call}" if number == 1 else f"_{call}_{number}" for number in count(1))
    ids = (f"{own[: MAX_CHARS - len(suffix)]}{suffix}" for suffix in suffixes)
    return next(one for one in ids if one not in used)
