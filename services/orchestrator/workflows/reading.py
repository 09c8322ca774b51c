"""Read one section of a workflow: JSON or YAML, with or without a byte order mark or a wrapper."""

import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Literal

import yaml  # type: ignore[import-untyped]

from services.orchestrator.workflows.diagnosis import Problem, path_in

MAX_MANIFEST_BYTES = 4_000_000
MAX_VALUES = 500_000
MAX_DEPTH = 100
SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Source:
    """A section as its author wrote it; `raw` is JSON values only."""

    file: str
    raw: Any
    within: tuple[str, ...] = ()
    """The wrapper's keys, where the section is wrapped in itself."""
    data: bytes = b""

    def where(self, path: tuple[str | int, ...]) -> str:
        return ".".join((*self.within, path_in(self.raw, path)) if path else self.within)


class UnreadableError(Exception):
    """Bytes that hold no section."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.line)
        self.problem = problem


def files_of(folder: Path, stems: tuple[str, ...]) -> list[Path]:
    """The files that a section could be in, in order; more than one is a problem."""
    names = (f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return [path for name in names if (path := folder / name).exists() or path.is_symlink()]


def read(path: Path, within: Path) -> Source:
    """Raises UnreadableError."""
    try:
        if not path.resolve().is_relative_to(within.resolve()):
            raise _unreadable(path, "is a link to a file outside the workflow's folder")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise _unreadable(path, f"is larger than {MAX_MANIFEST_BYTES} bytes")
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as broken:
        raise _unreadable(path, "is not UTF-8") from broken
    except (OSError, RuntimeError) as broken:  # RuntimeError: a circle of links, up to Python 3.12
        raise _unreadable(path, getattr(broken, "strerror", None) or str(broken)) from broken
    raw = parse(text, "JSON" if path.suffix == ".json" else "YAML", path.name)
    return Source(path.name, raw, data=data)


def parse(text: str, kind: Literal["JSON", "YAML"], file: str) -> Any:
    """The values that a text holds. Raises UnreadableError."""
    try:
        found = _json(text) if kind == "JSON" else _yaml(text)
        return _plain(found, count(), depth=0)
    except yaml.MarkedYAMLError as broken:
        told = f"Invalid YAML: {broken.problem}{_line(broken.problem_mark)}"
        raise UnreadableError(Problem(file, "", told)) from broken
    except RecursionError as broken:
        raise UnreadableError(Problem(file, "", f"Invalid {kind}: nested too deep")) from broken
    except (ValueError, yaml.YAMLError) as broken:
        raise UnreadableError(Problem(file, "", f"Invalid {kind}: {broken}")) from broken


def _unreadable(path: Path, what: str) -> UnreadableError:
    return UnreadableError(Problem(path.name, "", what))


def _line(mark: yaml.Mark | None) -> str:
    return f": line {mark.line + 1} column {mark.column + 1}" if mark else ""


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_once, parse_constant=_refused)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for key, value in pairs:
        if key in whole:
            raise ValueError(f"the key {key} is there twice")
        whole[key] = value
    return whole


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


class _Loader(yaml.CSafeLoader):  # type: ignore[misc]
    """SafeLoader that takes no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  its signature
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in dict.fromkeys(keys):
            if key != "<<" and keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} is there twice", node.start_mark
                )
        whole: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return whole


def _yaml(text: str) -> Any:
    _bounded(text)
    return yaml.load(text, _Loader)  # noqa: S506  a SafeLoader


def _bounded(text: str) -> None:
    """Refuse what is nested too deep before it is composed, which recurses in C."""
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deep")


def _plain(value: Any, values: "count[int]", depth: int) -> Any:
    """The value as JSON would hold it; aliases make a small YAML large, so it is bounded."""
    if next(values) > MAX_VALUES:
        raise ValueError(f"holds more than {MAX_VALUES} values")
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    match value:
        case Mapping():
            return {_key(key): _plain(one, values, depth + 1) for key, one in value.items()}
        case list():
            return [_plain(one, values, depth + 1) for one in value]
        case float() if not math.isfinite(value):
            raise ValueError(f"{value} is no JSON value")
        case None | bool() | int() | float() | str():
            return value
        case date():
            return value.isoformat()
        case _:
            raise ValueError(f"a {type(value).__name__} is no JSON value")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ValueError(f"the key {key} must be text: put it in quotes")  # noqa: TRY004  caught as one
    return key
