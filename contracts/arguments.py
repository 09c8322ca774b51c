"""The digest of a tool call's arguments, by which approvals and dispatches name what was called."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any


def digest_of(arguments: str | Mapping[str, Any]) -> str:
    """SHA-256 in hex of the arguments: of the JSON text that a model wrote, or of its values.

    Equal for texts that differ only in white space and in the order of keys.
    """
    return sha256(_canonical_text(arguments).encode("utf-8", "backslashreplace")).hexdigest()


def _canonical_text(arguments: str | Mapping[str, Any]) -> str:
    if not isinstance(arguments, str):
        return _canonical(arguments)
    try:
        return _canonical(json.loads(arguments or "{}"))
    except ValueError:
        return arguments  # a model wrote something else


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
