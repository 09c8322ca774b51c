"""Find the answer in a model's reply: without its reasoning, code fences and words around JSON."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice

MAX_CANDIDATES = 50
"""JSON objects of one reply that are looked at."""
MAX_SEARCHED_CHARS = 200_000

_REASONING_TAG = re.compile(r"<(/?)(think|thinking|reasoning)>", re.IGNORECASE)
_REASONING_END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_REASONING_START = re.compile(r"<(?:think|thinking|reasoning)>.*$", re.DOTALL | re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f]")
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])', re.DOTALL)
"""Or a string, which is not searched."""
_FENCE = re.compile(r"```[ \t]*(?:json[c5]?\b)?(.*?)```", re.DOTALL | re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """The reply without byte order marks and without what a reasoning model thinks in tags.

    Also where the provider has removed one of the two tags: what comes before a closing one, and
    after an opening one, is reasoning.
    """
    answer = _without_tagged_parts(text.replace("\ufeff", ""))
    answer = _REASONING_START.sub("", _REASONING_END.sub("", answer))
    return answer.strip()


def _without_tagged_parts(text: str) -> str:
    """The text without each part from an opening tag to the next closing one of the same name.

    In linear time: a regular expression would look for the closing tag from every opening one.
    """
    tags = list(_REASONING_TAG.finditer(text))
    next_closing: dict[str, int] = {}
    ends: dict[int, int] = {}
    for tag in reversed(tags):
        name = tag[2].lower()
        if tag[1]:
            next_closing[name] = tag.end()
        elif name in next_closing:
            ends[tag.start()] = next_closing[name]
    kept: list[str] = []
    position = 0
    for start in sorted(ends):
        if start >= position:
            kept.append(text[position:start])
            position = ends[start]
    return "".join([*kept, text[position:]])


def json_candidates(text: str) -> Iterator[str]:
    """The parts of a reply that may be the JSON object that was asked for, the likeliest first.

    The whole of it; its code fences, the last one first, as a draft may come before the answer; then
    the objects within its text, the last one first; then what is within a JSON text, or within an
    object with one member, and last the same with the mistakes repaired that models make in JSON.
    """
    answer = without_reasoning(text)
    yield answer
    if len(answer) > MAX_SEARCHED_CHARS:
        return
    yield from reversed([match[1].strip() for match in _FENCE.finditer(answer)][-MAX_CANDIDATES:])
    objects = list(islice(_objects(answer), MAX_CANDIDATES))
    yield from reversed(objects)
    yield from _wrapped([answer, *reversed(objects)])
    repaired = _TRAILING_COMMA.sub(lambda found: found[1] or "", answer)
    if repaired != answer:
        yield from reversed(list(islice(_objects(repaired), MAX_CANDIDATES)))


def _objects(text: str) -> Iterator[str]:
    """The objects in a text; line breaks within their strings are escaped."""
    decoder = json.JSONDecoder(strict=False)
    position = text.find("{")
    attempts = 0
    while position >= 0 and attempts < 2 * MAX_CANDIDATES:
        attempts += 1
        try:
            value, end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            end = position + 1
        else:
            found = text[position:end]
            yield found if _CONTROL.search(found) is None else json.dumps(value)
        position = text.find("{", end)


def _wrapped(candidates: Iterable[str]) -> Iterator[str]:
    """What is within the first of these that is a JSON text, or an object with one member."""
    for candidate in candidates:
        try:
            value = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        match value:
            case str():
                yield from islice(_objects(value), MAX_CANDIDATES)
                return
            case dict() if len(value) == 1:
                (inner,) = value.values()
                if isinstance(inner, dict):
                    yield json.dumps(inner)
                    return
            case _:
                pass
