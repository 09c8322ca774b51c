"""Change a manifest's text to mean another value, with its comments and its layout where possible."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from services.orchestrator.workflows.manifest.diagnostics import Entries
from services.orchestrator.workflows.manifest.reader import UnreadableError, parse
from services.orchestrator.workflows.migration.text_edits import Edit, OverlapError, apply_edits

_QUOTES = "\"'"


def converted(text: str, *, is_json: bool, value: Any) -> tuple[str, bool]:
    """The text with this value, and whether its layout is kept.

    Lists of the value may be Entries: what is left of the list in the text. If no edit by positions
    leads to the value, it is written anew, without comments.
    """
    kind = "JSON" if is_json else "YAML"
    wanted = json.loads(json.dumps(value))
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        edited = apply_edits(text, _edits(text, node, value))
        if parse(edited, "JSON" if is_json else "YAML", kind) == wanted:
            return edited, True
    except (yaml.YAMLError, UnreadableError, OverlapError, RecursionError):
        pass
    if is_json:
        return json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", False
    dumped: str = yaml.safe_dump(wanted, sort_keys=False, allow_unicode=True, width=120)
    return dumped, False


def _edits(text: str, node: yaml.Node, value: Any) -> Iterator[Edit]:
    match node, value:
        case yaml.MappingNode(), dict():
            yield from _mapping_edits(text, node, value)
        case yaml.SequenceNode(), list():
            yield from _sequence_edits(text, node, value)
        case _:
            if _value_of(text, node) != value:
                yield Edit(node.start_mark.index, _content_end(node), _scalar(value))


def _value_of(text: str, node: yaml.Node) -> Any:
    try:
        return yaml.safe_load(text[node.start_mark.index : node.end_mark.index])
    except yaml.YAMLError:
        return node


def _scalar(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _mapping_edits(text: str, node: yaml.MappingNode, value: dict[str, Any]) -> Iterator[Edit]:
    if not value and node.value:
        yield Edit(node.start_mark.index, _content_end(node), "{}")
        return
    written = [key.value for key, _ in node.value]
    renamed = dict(_renamed(written, list(value)))
    new = [key for key in value if key not in written and key not in renamed.values()]
    if new and node.value:
        yield _insertion(text, node, {key: value[key] for key in new})
    for number, (key, child) in enumerate(node.value):
        if key.value in renamed:
            start, end = key.start_mark.index, key.end_mark.index
            quoted = text[start] in _QUOTES
            yield Edit(start, end, _scalar(renamed[key.value]) if quoted else renamed[key.value])
            yield from _edits(text, child, value[renamed[key.value]])
        elif key.value in value:
            yield from _edits(text, child, value[key.value])
        else:
            spans = [(one.start_mark.index, _content_end(other)) for one, other in node.value]
            yield (
                _flow_deletion(spans, number)
                if node.flow_style
                else _key_deletion(text, spans, number)
            )


def _renamed(written: Sequence[str], wanted: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The keys that have another name at the same place."""
    if len(written) == len(wanted):
        for before, after in zip(written, wanted, strict=True):
            if before not in wanted and after not in written:
                yield before, after


def _insertion(text: str, node: yaml.MappingNode, added: dict[str, Any]) -> Edit:
    """New keys before the first one."""
    start = node.value[0][0].start_mark.index
    pairs = [
        f"{_scalar(key) if text[start] in _QUOTES else key}: {_scalar(one)}"
        for key, one in added.items()
    ]
    indent = " " * node.value[0][0].start_mark.column
    if node.flow_style:
        is_first_on_line = not text[text.rfind("\n", 0, start) + 1 : start].strip()
        separator = f",\n{indent}" if is_first_on_line else ", "
        return Edit(start, start, "".join(f"{pair}{separator}" for pair in pairs))
    return Edit(start, start, "".join(f"{pair}\n{indent}" for pair in pairs))


def _sequence_edits(text: str, node: yaml.SequenceNode, value: list[Any]) -> Iterator[Edit]:
    if not value and node.value:
        yield Edit(node.start_mark.index, _content_end(node), "[]")
        return
    numbers = value.numbers if isinstance(value, Entries) else range(len(value))
    kept = dict(zip(numbers, value, strict=True))
    for number, child in enumerate(node.value):
        if number in kept:
            yield from _edits(text, child, kept[number])
        else:
            spans = [(one.start_mark.index, _content_end(one)) for one in node.value]
            yield (
                _flow_deletion(spans, number)
                if node.flow_style
                else _entry_deletion(text, spans, number)
            )


def _flow_deletion(spans: Sequence[tuple[int, int]], number: int) -> Edit:
    """Removes an entry of `{...}` or `[...]` with the comma that it no longer needs."""
    start, end = spans[number]
    if number > 0:
        return Edit(spans[number - 1][1], end, "")
    return Edit(start, spans[1][0] if len(spans) > 1 else end, "")


def _key_deletion(text: str, spans: Sequence[tuple[int, int]], number: int) -> Edit:
    """Removes the lines of a key; the first key of an entry shares its line with the dash."""
    start, end = spans[number]
    line_start = text.rfind("\n", 0, start) + 1
    if text[line_start:start].strip() and len(spans) > number + 1:
        return Edit(start, spans[number + 1][0], "")
    return Edit(line_start, _line_end(text, end), "")


def _entry_deletion(text: str, spans: Sequence[tuple[int, int]], number: int) -> Edit:
    """Removes the lines of an entry, from its dash on."""
    start, end = spans[number]
    return Edit(text.rfind("\n", 0, start) + 1, _line_end(text, end), "")


def _line_end(text: str, end: int) -> int:
    if text[end - 1 : end] == "\n":  # a block scalar ends with its line
        return end
    return text.find("\n", end) + 1 or len(text)


def _content_end(node: yaml.Node) -> int:
    """Where the node's text ends, without comments and blank lines after it."""
    match node:
        case yaml.MappingNode() if not node.flow_style and node.value:
            return _content_end(node.value[-1][1])
        case yaml.SequenceNode() if not node.flow_style and node.value:
            return _content_end(node.value[-1])
        case _:
            return int(node.end_mark.index)
