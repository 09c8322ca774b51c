"""Names of tools: those that every provider accepts, and those that a model meant."""

import re
from collections.abc import Iterable

MAX_CHARS = 64
UNNAMED = "unnamed"

_ACCEPTED = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_REFUSED_CHARS = re.compile(r"[^a-zA-Z0-9_-]+")
_SEPARATORS = re.compile(r"[.:/]+")
_TEMPLATE_TOKEN = re.compile(r"<\|[^<>|]*\|>|</?(?:function|tool|tool_call)[=>]|>")
"""What belongs to a model's chat template, as in `look<|channel|>commentary` and `<function=look>`."""
_NUMBER = re.compile(r":\d+\Z")
"""Kimi's models number their calls: `functions.look:0`."""


def accepted_name(name: str) -> str:
    """The name as every provider accepts it back, by OpenAI's pattern `[a-zA-Z0-9_-]{1,64}`."""
    if _ACCEPTED.fullmatch(name):
        return name
    return _REFUSED_CHARS.sub("_", name.strip()).strip("_")[:MAX_CHARS] or UNNAMED


def resolve_name(name: str, offered: Iterable[str]) -> str:
    """The offered tool that a model meant, if that is one only; otherwise the name as accepted.

    Models add spaces, prefixes such as `functions.`, numbers, and tokens of their chat templates.
    """
    tools = set(offered)
    if name in tools:
        return name
    own = _own_name(name)
    for spelled in (name.strip(), own):
        if spelled in tools:
            return spelled
    parts = [_own_name(_NUMBER.sub("", part.strip())) for part in _TEMPLATE_TOKEN.split(name)]
    spellings = {_folded(one) for one in (name, own, *filter(None, parts))}
    meant = {tool for tool in tools if _folded(tool) in spellings}
    return meant.pop() if len(meant) == 1 else accepted_name(name)


def _own_name(name: str) -> str:
    """The name without its prefixes."""
    return _SEPARATORS.split(name.strip())[-1].strip()


def _folded(name: str) -> str:
    return accepted_name(name).casefold()
