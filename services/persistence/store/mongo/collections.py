"""Creates the collections of a database: compressed with zstd, and clustered where that saves an index."""

import logging
from collections.abc import Mapping
from typing import Any

from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid, OperationFailure

from services.persistence.store.mongo.client import Record
from services.persistence.store.mongo.documents import (
    ArchivedMessage,
    ArchivedValue,
    ChatEffect,
    ChatMessage,
    ChatSession,
    RuntimeLogEntry,
)

log = logging.getLogger(__name__)

_EXISTS = 48
"""NamespaceExists: another process created it meanwhile."""
_ZSTD = {"storageEngine": {"wiredTiger": {"configString": "block_compressor=zstd"}}}
_CLUSTERED = {"clusteredIndex": {"key": {"_id": 1}, "unique": True}}
"""Documents are stored in the order of their `_id`, which needs no index beside them (MongoDB 5.3)."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    ArchivedMessage.Settings.name: {**_ZSTD, **_CLUSTERED},
    ArchivedValue.Settings.name: {**_ZSTD, **_CLUSTERED},
    ChatMessage.Settings.name: {**_ZSTD, **_CLUSTERED},
    ChatEffect.Settings.name: {**_ZSTD, **_CLUSTERED},
    RuntimeLogEntry.Settings.name: {**_ZSTD, **_CLUSTERED},
    ChatSession.Settings.name: _ZSTD,
}


async def create_collections(database: AsyncDatabase[Record]) -> None:
    """Creates those that are missing; existing ones stay as they are. Raises the driver's errors."""
    existing = set(await database.list_collection_names())
    for name, options in OPTIONS.items():
        if name not in existing:
            await _create(database, name, options)


async def _create(database: AsyncDatabase[Record], name: str, options: Mapping[str, Any]) -> None:
    try:
        await database.create_collection(name, check_exists=False, **options)
    except CollectionInvalid:
        return
    except OperationFailure as refused:
        if refused.code == _EXISTS:
            return
        if not options:
            raise
        # Another storage engine, or an operator who allows no options: an ordinary collection works.
        log.warning("a collection is created without options", extra={"why": str(refused)})
        await _create(database, name, {})
