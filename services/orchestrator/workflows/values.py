"""What context variables are before anyone speaks: written, configured, or read from a file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.orchestrator.workflows.manifest import (
    ComputedSource,
    ConfigSource,
    DatabaseSource,
    DistantSource,
    FileSource,
    ReferenceSource,
    StateSource,
    StaticSource,
    VariableManifest,
)
from services.orchestrator.workflows.reading import UnreadableError, parse

MAX_FILE_BYTES = 200_000
"""A chat's first event holds its variables, and a message on the wire has a bound."""


class NoValueError(Exception):
    """A variable whose source gives it no value."""


def value_of(variable: VariableManifest, folder: Path, environment: Mapping[str, str]) -> Any:
    """Raises NoValueError."""
    match variable.source:
        case StaticSource(value=value, default=default):
            return default if value is None else value
        case ConfigSource() as source:
            return _configured(source, variable.type, environment)
        case FileSource() as source:
            return _read(source, folder)
        case StateSource(default=default) | ComputedSource(default=default):
            return default
        case (
            ReferenceSource(default=default)
            | DatabaseSource(default=default)
            | DistantSource(default=default)
        ):
            return default


def _configured(source: ConfigSource, kind: str | None, environment: Mapping[str, str]) -> Any:
    text = environment.get(source.env_var)
    if text is None and source.required:
        raise NoValueError(f"the environment variable {source.env_var} is not set")
    return source.default if text is None else _typed(text, kind, source.env_var)


def _typed(text: str, kind: str | None, name: str) -> Any:
    read = _READERS.get((kind or "string").casefold(), str)
    try:
        return read(text)
    except ValueError as broken:
        raise NoValueError(f"the environment variable {name} holds no {kind}") from broken


def _truth(text: str) -> bool:
    if (word := text.strip().casefold()) in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off", ""):
        return False
    raise ValueError(word)


_READERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("bool", "boolean"), _truth),
    **dict.fromkeys(("int", "integer"), int),
    **dict.fromkeys(("float", "number"), float),
    **dict.fromkeys(("dict", "object", "list", "array", "json"), json.loads),
}


def _read(source: FileSource, folder: Path) -> Any:
    try:
        path = (folder / source.path).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise NoValueError(f"{source.path} lies outside the workflow's folder")
        if not path.is_file():
            if source.required:
                raise NoValueError(f"there is no file {source.path}")
            return source.default
        if path.stat().st_size > MAX_FILE_BYTES:
            raise NoValueError(f"{source.path} is larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding=source.encoding)
        match source.format:
            case "text":
                return text
            case "json":
                return parse(text.removeprefix("\ufeff"), "JSON", source.path)
            case "yaml":
                return parse(text.removeprefix("\ufeff"), "YAML", source.path)
    except UnreadableError as broken:
        raise NoValueError(broken.problem.line) from broken
    except LookupError as broken:
        raise NoValueError(f"there is no encoding {source.encoding}") from broken
    except (OSError, ValueError, RuntimeError) as broken:
        raise NoValueError(f"{source.path} is not readable as {source.encoding}") from broken
