"""The MongoDB client: how it is configured, whether it has a server, and its errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from services.persistence.store.interface import StoreUnavailableError
from services.persistence.store.mongo.access import AUTHENTICATION_FAILED

UNREACHABLE_MILLISECONDS = 2000
"""How long a server may be unreachable before an operation gives up."""
OPERATION_MILLISECONDS = 20_000
"""How long one operation may take on a server that answers."""

Record = dict[str, Any]
"""A document as the driver reads and writes it."""
Client = AsyncMongoClient[Record]


def build_client(uri: str, **options: Any) -> Client:
    """A client that gives up on an unreachable server after two seconds, and notices its return as fast.

    A write succeeds once it is in the journal of most members: what persistence acknowledges to
    JetStream must survive a killed mongod, which by default loses the last tenth of a second, and the
    loss of the primary. The majority has to be named: with `journal` alone one member is enough.
    `options` are the driver's own.
    """
    return AsyncMongoClient(
        uri,
        **options,
        tz_aware=True,
        appname="mozaiks-persistence",
        w="majority",
        journal=True,
        serverSelectionTimeoutMS=UNREACHABLE_MILLISECONDS,
        connectTimeoutMS=UNREACHABLE_MILLISECONDS,
        heartbeatFrequencyMS=UNREACHABLE_MILLISECONDS,
        socketTimeoutMS=OPERATION_MILLISECONDS,
    )


def why_unavailable(client: Client) -> str | None:
    """The reason if the driver's monitor last saw no writable server, else None; sends nothing."""
    if client.topology_description.has_writable_server():
        return None
    return "MongoDB is unavailable"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raises StoreUnavailableError for the driver's connection errors and timeouts.

    Also for a refused password: the server has a new one, and the file is about to have it.
    """
    try:
        yield
    except PyMongoError as error:
        if isinstance(error, ConnectionFailure) or error.timeout or _is_refused(error):
            raise StoreUnavailableError(f"MongoDB: {type(error).__name__}") from error
        raise


def _is_refused(error: PyMongoError) -> bool:
    return isinstance(error, OperationFailure) and error.code == AUTHENTICATION_FAILED
