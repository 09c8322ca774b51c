"""Initial values of context variables: from the manifest, the environment or a file."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.orchestrator.workflows.manifest.models.variables import (
    ComputedSource,
    ConfigSource,
    DatabaseSource,
    FileSource,
    ReferenceSource,
    StateSource,
    StaticSource,
    UnsupportedSource,
    VariableManifest,
)
from services.orchestrator.workflows.manifest.reader import UnreadableError, parse

MAX_FILE_BYTES = 200_000
"""A chat's first event contains its variables, and the size of a NATS message is limited."""


class VariableValueError(Exception):
    """The source of a variable has no valid value."""


def initial_value(variable: VariableManifest, folder: Path, environment: Mapping[str, str]) -> Any:
    """The value of a variable when a chat starts. Raises VariableValueError."""
    match variable.source:
        case StaticSource(value=value, default=default):
            return default if value is None else value
        case ConfigSource() as source:
            return _environment_value(source, variable.type, environment)
        case FileSource() as source:
            return _file_value(source, folder)
        case StateSource(default=default) | ComputedSource(default=default):
            return default
        case (
            ReferenceSource(default=default)
            | DatabaseSource(default=default)
            | UnsupportedSource(default=default)
        ):
            return default


def _environment_value(
    source: ConfigSource, kind: str | None, environment: Mapping[str, str]
) -> Any:
    text = environment.get(source.env_var)
    if text is None and source.required:
        raise VariableValueError(f"the environment variable {source.env_var} is not set")
    return source.default if text is None else _converted(text, kind, source.env_var)


def _converted(text: str, kind: str | None, name: str) -> Any:
    read = _READERS.get((kind or "string").casefold(), str)
    try:
        return read(text)
    except ValueError as invalid:
        raise VariableValueError(
            f"the environment variable {name} is not a valid {kind}"
        ) from invalid


def _boolean(text: str) -> bool:
    if (word := text.strip().casefold()) in ("true", "1", "yes", "on"):
        return True
    if word in ("false", "0", "no", "off", ""):
        return False
    raise ValueError(word)


_READERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("bool", "boolean"), _boolean),
    **dict.fromkeys(("int", "integer"), int),
    **dict.fromkeys(("float", "number"), float),
    **dict.fromkeys(("dict", "object", "list", "array", "json"), json.loads),
}


def _file_value(source: FileSource, folder: Path) -> Any:
    try:
        path = (folder / source.path).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise VariableValueError(f"{source.path} is outside the workflow's folder")
        if not path.is_file():
            if source.required:
                raise VariableValueError(f"there is no file {source.path}")
            return source.default
        if path.stat().st_size > MAX_FILE_BYTES:
            raise VariableValueError(f"{source.path} is larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text(encoding=source.encoding)
        match source.format:
            case "text":
                return text
            case "json":
                return parse(text.removeprefix("\ufeff"), "JSON", source.path)
            case "yaml":
                return parse(text.removeprefix("\ufeff"), "YAML", source.path)
    except UnreadableError as broken:
        raise VariableValueError(broken.problem.line) from broken
    except LookupError as broken:
        raise VariableValueError(f"there is no encoding {source.encoding}") from broken
    except (OSError, ValueError, RuntimeError) as broken:
        raise VariableValueError(f"{source.path} is not readable as {source.encoding}") from broken
