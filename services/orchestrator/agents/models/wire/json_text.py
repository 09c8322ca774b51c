"""JSON of the wire, fast and tolerant: what a strict parser or encoder refuses is repaired."""

import json
import re
from typing import Any

from pydantic_core import PydanticSerializationError, from_json, to_json

from services.orchestrator.agents.ag2.json_values import map_texts, utf8

_HIGH_SURROGATES = ("\ud800", "\udbff")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTES = re.compile("[\udc80-\udcff]+")
_LAST_BYTES = re.compile(r"[\udc80-\udcff]{1,3}\Z")


def encode(value: Any) -> bytes:
    """Compact UTF-8; NaN and infinity become null, halves of surrogate pairs are joined or replaced.

    Raises PydanticSerializationError for what is not made of JSON's types.
    """
    try:
        return to_json(value, inf_nan_mode="null")
    except PydanticSerializationError:
        return to_json(map_texts(value, utf8), inf_nan_mode="null")


def arguments_text(arguments: Any) -> str:
    """The arguments of a call as JSON text: some providers send the value itself, others its text.

    What is no JSON, or is nested too deeply, stays a text that is none: then no tool is called.
    """
    match arguments:
        case None:
            return ""
        case str():
            return arguments
        case _:
            try:
                return encode(arguments).decode()
            except ValueError:
                return "nested too deeply"


def decode(data: bytes) -> Any:
    """Raises ValueError for what is not JSON.

    Providers cut their answers within a character. So strings may contain halves of surrogate pairs,
    and bytes that are not UTF-8 by themselves, each as Python's `surrogateescape`: see `joined`.
    """
    try:
        return from_json(data)
    except ValueError:
        pass
    try:
        return json.loads(data.decode(errors="surrogateescape"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def joined(text: str) -> str:
    """The text with the halves of its characters joined: of surrogate pairs, and of UTF-8's bytes.

    What has no other half is replaced.
    """
    if _SURROGATE.search(text) is None:
        return text
    pairs = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return utf8(_BYTES.sub(lambda found: _bytes_of(found[0]).decode(errors="replace"), pairs))


def unfinished(text: str) -> int:
    """How many characters at the end of a text may be the first part of a character."""
    last = text[-1:]
    if _HIGH_SURROGATES[0] <= last <= _HIGH_SURROGATES[1]:
        return 1
    found = _LAST_BYTES.search(text)
    if found is None:
        return 0
    try:
        _bytes_of(found[0]).decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return error.end - error.start
    return 0


def _bytes_of(escapes: str) -> bytes:
    return escapes.encode(errors="surrogateescape")
