"""References to documents in other databases: built from the manifest, with placeholders in queries."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.orchestrator.workflows.manifest.models.variables import (
    DatabaseSource,
    ReferenceSource,
    VariablesManifest,
)
from services.orchestrator.workflows.spec import DataReference

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


class UnknownPlaceholderError(Exception):
    """A placeholder whose value is not known yet."""


def build_references(variables: VariablesManifest) -> tuple[DataReference, ...]:
    """The references of all variables whose source is `data_reference` or `database`."""
    return tuple(
        DataReference(
            name=variable.name,
            database=source.database_name,
            collection=source.collection,
            query=source.query,
            fields=tuple(source.fields),
            default=source.default,
            refresh=source.refresh_strategy,
        )
        for variable in variables.definitions
        if isinstance(source := variable.source, ReferenceSource | DatabaseSource)
    )


def is_field_name(name: str) -> bool:
    """Whether a query key names a field, possibly dotted, and not a database operator."""
    return all(part and not part.startswith("$") and "\0" not in part for part in name.split("."))


def placeholders(query: Any) -> Iterable[tuple[str, str]]:
    """Every placeholder `{{kind.path}}` of a query, as kind and path."""
    match query:
        case str():
            for inside in _PLACEHOLDER.findall(query):
                kind, _, path = inside.partition(".")
                yield kind, path
        case Mapping():
            for value in query.values():
                yield from placeholders(value)
        case list():
            for value in query:
                yield from placeholders(value)
        case _:
            return


def fill_placeholders(query: Any, known: Mapping[str, Mapping[str, Any]]) -> Any:
    """The query with its placeholders replaced by values.

    A string that is one placeholder becomes the value with its type; within a longer string the
    value becomes text. Raises UnknownPlaceholderError.
    """
    match query:
        case str() if whole := _PLACEHOLDER.fullmatch(query):
            return _value(whole[1], known)
        case str():
            return _PLACEHOLDER.sub(lambda found: str(_value(found[1], known)), query)
        case Mapping():
            return {key: fill_placeholders(value, known) for key, value in query.items()}
        case list():
            return [fill_placeholders(value, known) for value in query]
        case _:
            return query


def _value(inside: str, known: Mapping[str, Mapping[str, Any]]) -> Any:
    value: Any = known
    for part in inside.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        raise UnknownPlaceholderError(f"{inside} has no value")
    return value
