"""What a manifest says of data elsewhere: which document, and what of the chat it is found by."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.orchestrator.workflows.manifest import (
    DatabaseSource,
    ReferenceSource,
    VariablesManifest,
)
from services.orchestrator.workflows.spec import DataReference

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


class NoSuchValueError(Exception):
    """A placeholder that stands for nothing yet."""


def references_of(variables: VariablesManifest) -> tuple[DataReference, ...]:
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


def is_field(name: str) -> bool:
    """Whether it names a field, dotted perhaps, and no operator of a database."""
    return all(part and not part.startswith("$") and "\0" not in part for part in name.split("."))


def placeholders(query: Any) -> Iterable[tuple[str, str]]:
    """Every `{{kind.path}}` of a query, as its kind and its path."""
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


def filled(query: Any, known: Mapping[str, Mapping[str, Any]]) -> Any:
    """The query with its placeholders replaced: one alone by the value as it is, else as text.

    Raises NoSuchValueError.
    """
    match query:
        case str() if whole := _PLACEHOLDER.fullmatch(query):
            return _value(whole[1], known)
        case str():
            return _PLACEHOLDER.sub(lambda found: str(_value(found[1], known)), query)
        case Mapping():
            return {key: filled(value, known) for key, value in query.items()}
        case list():
            return [filled(value, known) for value in query]
        case _:
            return query


def _value(inside: str, known: Mapping[str, Mapping[str, Any]]) -> Any:
    value: Any = known
    for part in inside.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        raise NoSuchValueError(f"{inside} has no value")
    return value
