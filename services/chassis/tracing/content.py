"""The text of prompts and answers as attributes of spans, where the operator has switched that on."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from services.chassis.secrets import process_redactor

MAX_CHARS = 16_384
"""Of one attribute: what goes beyond it is left out, oldest messages first."""
MAX_PART_CHARS = 4096


def as_json(value: Any) -> str:
    """A value as JSON without known secrets, cut where it is longer than an attribute may be."""
    text = process_redactor().without_any(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"


def as_messages(messages: Iterable[Mapping[str, Any]]) -> str:
    """Messages in the form of the GenAI conventions, as a JSON array: the newest ones that fit."""
    kept: list[str] = []
    size = 2
    for message in reversed(list(messages)):
        text = process_redactor().without_any(json.dumps(message, ensure_ascii=False, default=str))
        size += len(text) + 2
        if size > MAX_CHARS:
            break
        kept.append(text)
    return f"[{', '.join(reversed(kept))}]"


def text_part(text: str) -> dict[str, str]:
    """A part of a message, cut where it is too long."""
    cut = text if len(text) <= MAX_PART_CHARS else f"{text[: MAX_PART_CHARS - 1]}…"
    return {"type": "text", "content": cut}
