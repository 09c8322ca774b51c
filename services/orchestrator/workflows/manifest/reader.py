"""Read a manifest section from a JSON or YAML file, within limits of size and depth."""

import json
import math
from collections.abc import Hashable, Mapping
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]

from services.orchestrator.workflows.manifest.diagnostics import Problem
from services.orchestrator.workflows.manifest.sections import Source

MAX_MANIFEST_BYTES = 4_000_000
MAX_VALUES = 500_000
MAX_DEPTH = 100
SUFFIXES = (".json", ".yaml", ".yml")


class UnreadableError(Exception):
    """A file that contains no valid section."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.line)
        self.problem = problem


def section_files(folder: Path, stems: tuple[str, ...]) -> list[Path]:
    """The existing files of a section, in order; more than one is a problem.

    Case does not count: some file systems do not distinguish it, and some editors change it.
    """
    names = [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.casefold() in names]
    return sorted(found, key=lambda path: (names.index(path.name.casefold()), path.name))


def read(path: Path, within: Path) -> Source:
    """The section in a file, which must be inside the folder `within`. Raises UnreadableError."""
    try:
        if not path.resolve().is_relative_to(within.resolve()):
            raise _unreadable(path, "is a link to a file outside the workflow's folder")
        if not path.is_file():
            missing = "is a link to nothing" if path.is_symlink() else "is not a regular file"
            raise _unreadable(path, missing)
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise _unreadable(path, f"is larger than {MAX_MANIFEST_BYTES} bytes")
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        raise _unreadable(path, "is not UTF-8") from broken
    except (OSError, RuntimeError) as broken:  # RuntimeError: a cycle of links, up to Python 3.12
        raise _unreadable(path, getattr(broken, "strerror", None) or str(broken)) from broken
    raw = parse(text, "JSON" if path.suffix.casefold() == ".json" else "YAML", path.name)
    return Source(path.name, raw, data=data)


def parse(text: str, kind: Literal["JSON", "YAML"], file: str) -> Any:
    """The JSON values of a text. Raises UnreadableError."""
    try:
        value = _json(text) if kind == "JSON" else _yaml(text)
        return _to_json_values(value, count(), depth=0)
    except yaml.MarkedYAMLError as broken:
        message = f"Invalid YAML: {broken.problem}{_line(broken.problem_mark)}"
        raise UnreadableError(Problem(file, "", message)) from broken
    except RecursionError as broken:
        raise UnreadableError(Problem(file, "", f"Invalid {kind}: nested too deep")) from broken
    except (ValueError, yaml.YAMLError) as broken:
        raise UnreadableError(Problem(file, "", f"Invalid {kind}: {broken}")) from broken


def _unreadable(path: Path, message: str) -> UnreadableError:
    return UnreadableError(Problem(path.name, "", message))


def _line(mark: yaml.Mark | None) -> str:
    return f": line {mark.line + 1} column {mark.column + 1}" if mark else ""


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_with_unique_keys, parse_constant=_refuse_constant)


def _with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key} is given twice")
        values[key] = value
    return values


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """SafeLoader that rejects duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  its signature
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in dict.fromkeys(keys):
            if key != "<<" and keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} is given twice", node.start_mark
                )
        values: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return values


def _yaml(text: str) -> Any:
    _check_depth(text)
    return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader


def _check_depth(text: str) -> None:
    """Reject text that is nested too deep before it is composed: composing recurses in C."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")


def _to_json_values(value: Any, values: "count[int]", depth: int) -> Any:
    """The value as JSON values; their number is limited, because aliases make a small YAML large."""
    if next(values) > MAX_VALUES:
        raise ValueError(f"has more than {MAX_VALUES} values")
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    match value:
        case Mapping():
            return {
                _key(key): _to_json_values(one, values, depth + 1) for key, one in value.items()
            }
        case list():
            return [_to_json_values(one, values, depth + 1) for one in value]
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is not a JSON value")
        case None | bool() | int() | float() | str():
            return value
        case date():
            return value.isoformat()
        case _:
            raise ValueError(f"a {type(value).__name__} is not a JSON value")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the key {key} must be a string: put it in quotes")  # noqa: TRY004  caught as one
    return key
