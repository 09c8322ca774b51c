"""Queries of workflows for documents of other databases: what is allowed, and which value is returned.

A workflow reads only the sources that DATA_REFERENCE_DATABASES names, only documents of its own app,
and selects them by equality alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from contracts.ids import AppId
from contracts.lookups import DataRequested

MAX_VALUE_BYTES = 200_000
"""A value becomes part of an event, whose message has a size limit."""
MAX_CONDITIONS = 50
QUERY_MILLISECONDS = 2000
"""How long one query may take on a server that answers."""

_SERVER_DATABASES = ("admin", "config", "local")


class QueryRejectedError(Exception):
    """A query that is not executed; the message says why, without any data."""


@dataclass(frozen=True, slots=True)
class DocumentQuery:
    """Selects the newest of an app's documents in which these fields have these values.

    `roots` are the first parts of the paths of the wanted fields; empty: the whole document.
    """

    app: AppId
    database: str
    collection: str
    equal: Mapping[str, Any]
    roots: tuple[str, ...] = ()
    milliseconds: int = QUERY_MILLISECONDS


class DocumentReader(Protocol):
    async def newest(self, query: DocumentQuery) -> dict[str, Any] | None:
        """The document, None if there is none.

        Raises StoreUnavailableError, and QueryRejectedError where the database refuses the query.
        """


@dataclass(frozen=True, slots=True)
class AllowedSources:
    """Databases and single collections (`database.collection`) that workflows may read.

    `own` is the runtime's own database, which they may never read.
    """

    named: frozenset[str]
    own: str

    def allow(self, database: str, collection: str) -> bool:
        if database in (self.own, *_SERVER_DATABASES) or collection.startswith("system."):
            return False
        return database in self.named or f"{database}.{collection}" in self.named


def allowed_sources(setting: str, own: str) -> AllowedSources:
    """The sources of a comma-separated setting."""
    names = (name.strip() for name in setting.split(","))
    return AllowedSources(frozenset(name for name in names if name), own)


def build_query(request: DataRequested, sources: AllowedSources) -> DocumentQuery:
    """The query that answers a request. Raises QueryRejectedError for one that is not allowed."""
    if not sources.allow(request.database, request.collection):
        source = f"{request.database}.{request.collection}"
        raise QueryRejectedError(f"{source} is not among DATA_REFERENCE_DATABASES")
    if len(request.query) > MAX_CONDITIONS:
        raise QueryRejectedError(f"query: has more than {MAX_CONDITIONS} conditions")
    for name in (*request.query, *request.fields):
        _reject_operator(name)
    return DocumentQuery(
        app=request.app_id,
        database=request.database,
        collection=request.collection,
        equal=request.query,
        roots=tuple(dict.fromkeys(name.partition(".")[0] for name in request.fields)),
    )


def _reject_operator(name: str) -> None:
    if any(not part or part.startswith("$") or "\0" in part for part in name.split(".")):
        raise QueryRejectedError(f"query: {name!r:.60} is not a field name")


def select_value(document: Mapping[str, Any], fields: Iterable[str]) -> Any:
    """The value of the one field, an object of several, or the document, as JSON values.

    Raises QueryRejectedError for a value of more than MAX_VALUE_BYTES.
    """
    wanted = list(fields)
    if len(wanted) == 1:
        found: Any = _at(document, wanted[0])
    else:
        found = {name: _at(document, name) for name in wanted} if wanted else document
    encoded = to_json(found, fallback=str, bytes_mode="base64", inf_nan_mode="null")
    if len(encoded) > MAX_VALUE_BYTES:
        raise QueryRejectedError(
            f"the value has {len(encoded)} bytes, at most {MAX_VALUE_BYTES} are allowed"
        )
    return from_json(encoded)


def _at(value: Any, path: str) -> Any:
    """The value at a dotted path; of a list, the values in each of its elements."""
    first, _, rest = path.partition(".")
    match value:
        case Mapping():
            inner = value.get(first)
            return _at(inner, rest) if rest else inner
        case list():
            return [_at(one, path) for one in value]
        case _:
            return None
