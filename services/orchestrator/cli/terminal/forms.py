"""Read what the user answers in the terminal: texts, chosen options, and the values of components."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.orchestrator.cli.terminal.asks import Ask, Component, Message, Question

Read = Callable[[str], str]
"""Asks for a line by a prompt. Raises EOFError where there is none."""
Write = Callable[[str], None]

_NOT_SHOWN = frozenset({"choices", "fields", "workflow_name", "display", "mode"})
"""Members of a payload that say how it is shown."""


@dataclass(frozen=True, slots=True)
class Field:
    """A value that a component asks for: one of `choices`, or a text where it has none."""

    name: str
    choices: tuple[Any, ...] = ()


def fields_of(payload: Mapping[str, Any]) -> list[Field]:
    """The form that a payload describes by `choices` and `fields`, as in the console; else empty."""
    choices, names = payload.get("choices"), payload.get("fields")
    chosen = choices.items() if isinstance(choices, Mapping) else ()
    found = [Field(name, tuple(one)) for name, one in chosen if isinstance(one, list) and one]
    return [*found, *(Field(str(name)) for name in (names if isinstance(names, list) else ()))]


def shown_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a component shows, without its form."""
    return {key: value for key, value in payload.items() if key not in _NOT_SHOWN}


def read_answer(ask: Ask, read: Read, write: Write) -> str | dict[str, Any]:
    """The text of a message or an answer, or the values of a component. Raises EOFError."""
    match ask:
        case Message():
            return _text(read, "> ")
        case Question(options=options):
            return str(chosen(_text(read, "> "), options))
        case Component(payload=payload):
            fields = fields_of(payload)
            return _form(fields, read, write) if fields else _json_object(read, write)


def _text(read: Read, prompt: str) -> str:
    while not (text := read(prompt).strip()):
        pass
    return text


def chosen(text: str, options: Sequence[Any]) -> Any:
    """The option that a text names, by itself or by its number from 1; else the text."""
    named = [one for one in options if word_of(one).casefold() == text.casefold()]
    if named:
        return named[0]
    if text.isascii() and text.isdigit() and 0 < int(text) <= len(options):
        return options[int(text) - 1]
    return text


def word_of(value: Any) -> str:
    """How a choice is written: booleans as `yes` and `no`, texts as they are, others as JSON."""
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def _form(fields: Iterable[Field], read: Read, write: Write) -> dict[str, Any]:
    """The values of a form; a text that is left empty is left out."""
    answer: dict[str, Any] = {}
    for field in fields:
        if field.choices:
            answer[field.name] = _choice(field, read, write)
        elif text := read(f"{field.name} (may be empty)> ").strip():
            answer[field.name] = text
    return answer


def _choice(field: Field, read: Read, write: Write) -> Any:
    words = " / ".join(map(word_of, field.choices))
    while True:
        value = chosen(_text(read, f"{field.name} ({words})> "), field.choices)
        if any(value is one for one in field.choices):
            return value
        write(f"{field.name}: accepted are {words}, or a number from 1 to {len(field.choices)}\n")


def _json_object(read: Read, write: Write) -> dict[str, Any]:
    while True:
        try:
            answer = json.loads(read("JSON> ").strip() or "{}")
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
        write('A component is answered with a JSON object, such as {"approved": true}.\n')
