"""Texts and values that requests to several APIs are made of."""

import json
from collections.abc import Callable
from typing import Any

from services.orchestrator.agents.ag2.json_values import jsonable

EncodeData = Callable[[Any], bytes]
"""Encodes the data of a structured input."""

BEGIN = "Please begin."
"""Sent before an answer that nobody asked for: some APIs want the user to speak first."""


def argument_object(arguments: str) -> dict[str, Any]:
    """The arguments of a call as the object that some APIs want in place of its text."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    return jsonable(value) if isinstance(value, dict) else {"malformed": arguments}
