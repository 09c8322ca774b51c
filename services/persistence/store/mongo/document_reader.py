"""Reads documents of other databases on the same MongoDB server; never writes."""

from bson.errors import BSONError
from pymongo import DESCENDING
from pymongo.errors import ExecutionTimeout, InvalidName, OperationFailure

from services.persistence.store.document_query import DocumentQuery, QueryRejectedError
from services.persistence.store.mongo.client import Client, Record, translated_errors


class MongoDocumentReader:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def newest(self, query: DocumentQuery) -> Record | None:
        own: Record = {"app_id": {"$eq": query.app}}
        # $eq: a value that looks like an operator is compared as data.
        conditions = ({name: {"$eq": value}} for name, value in query.equal.items())
        projection = dict.fromkeys(query.roots, 1) or None
        with translated_errors():
            try:
                collection = self._client[query.database][query.collection]
                return await collection.find_one(
                    {"$and": [own, *conditions]},
                    projection,
                    sort=[("_id", DESCENDING)],
                    max_time_ms=query.milliseconds,
                )
            except ExecutionTimeout as slow:
                raise QueryRejectedError(f"took longer than {query.milliseconds} ms") from slow
            except (BSONError, OverflowError, OperationFailure, InvalidName) as refused:
                why = type(refused).__name__
                raise QueryRejectedError(f"MongoDB refuses this query: {why}") from refused
