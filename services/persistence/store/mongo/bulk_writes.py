"""Fenced bulk upserts: a write never replaces what is as of a later event, whoever else writes."""

from collections.abc import Sequence

from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from services.persistence.store.interface import StoreUnavailableError
from services.persistence.store.mongo.client import Record, translated_errors

Write = InsertOne[Record] | UpdateOne | ReplaceOne[Record]

_DUPLICATE_KEY = 11000


def put(record: Record) -> ReplaceOne[Record]:
    """Inserts a document, or replaces the one of the same id."""
    return ReplaceOne(_place_of(record), record, upsert=True)


def replace_older(record: Record, *, or_same: bool = False) -> UpdateOne:
    """Replaces a document as of an earlier event; `or_same`: or of the same, as that may be damaged.

    Inserts what is missing, and leaves what is newer. The condition is part of the update, not of the
    filter, by which an upsert would insert a document that is there.
    """
    newer = "$gt" if or_same else "$gte"
    is_newer = {"$and": [{"$isNumber": "$last_seq"}, {newer: ["$last_seq", record["last_seq"]]}]}
    replaced = {"$cond": [is_newer, "$$ROOT", {"$literal": record}]}
    return UpdateOne(_place_of(record), [{"$replaceWith": replaced}], upsert=True)


def _place_of(record: Record) -> Record:
    """The filter of an upsert: a sharded collection needs the shard key `app_id, chat_id` in it."""
    return {name: record[name] for name in ("_id", "app_id", "chat_id")}


async def supersede(collection: AsyncCollection[Record], records: Sequence[Record]) -> None:
    """Replaces what is older, inserts what is missing, and leaves what is newer.

    An insert that is refused says only that another process has inserted a document meanwhile, which
    may be older: those are tried once more.
    """
    refused = await write(collection, [replace_older(record) for record in records])
    await write(collection, [replace_older(records[i]) for i in refused])


async def insert_missing(collection: AsyncCollection[Record], records: Sequence[Record]) -> None:
    """Inserts documents; one whose id is there already stays untouched.

    Raises as `write`. An insert costs the server a fifth of an upsert.
    """
    await write(collection, [InsertOne(record) for record in records])


async def write(collection: AsyncCollection[Record], writes: Sequence[Write]) -> list[int]:
    """Writes all at once, in any order; the indexes of those refused as duplicates of an id.

    Raises StoreUnavailableError, and the driver's error for any other refusal.
    """
    if not writes:
        return []
    try:
        with translated_errors():
            await collection.bulk_write(writes, ordered=False)
    except BulkWriteError as partly:
        errors = partly.details["writeErrors"]
        if any(error["code"] != _DUPLICATE_KEY for error in errors):
            raise
        if partly.details["writeConcernErrors"]:
            raise StoreUnavailableError("MongoDB did not confirm a write") from partly
        return [error["index"] for error in errors]
    return []
