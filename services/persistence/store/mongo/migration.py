"""Moves the documents of layout 3 to the collections of layout 4: nothing needs the log for that."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence

from pymongo import ASCENDING
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from contracts.ids import AppId, ChatId, ChatKey
from services.persistence.store.mongo.bulk_writes import insert_missing
from services.persistence.store.mongo.client import Record
from services.persistence.store.mongo.documents import (
    STATE_ID,
    ArchivedMessage,
    ChatMessage,
    ChatSession,
    PersistenceState,
    archive_record,
    ordered_id,
)

log = logging.getLogger(__name__)

EVENTS = "chat_events"
"""Layout 3: the archive, with one document for each event."""
MESSAGES = "chat_messages"
"""Layout 3: transcripts, with an index beside `_id`."""
RENAMED = {
    EVENTS: ArchivedMessage.Settings.name,
    MESSAGES: ChatMessage.Settings.name,
}
OLDER_INDEXES = ("app_chat", "app_user", "app_user_updated", "app_workflow_created")
"""Of sessions, in layout 3 and in earlier releases of layout 4. A release that has them makes them again."""
PAGE = 500
_IN_ORDER = [("app_id", ASCENDING), ("chat_id", ASCENDING), ("seq", ASCENDING)]

Convert = Callable[[Sequence[Record]], Record]


async def has_older_collections(database: AsyncDatabase[Record]) -> bool:
    """Whether there are collections of layout 3. Raises the driver's errors."""
    return not RENAMED.keys().isdisjoint(await database.list_collection_names())


async def move_older_documents(database: AsyncDatabase[Record]) -> None:
    """Moves what there is of layout 3; repeated, interrupted or by two processes, with the same result.

    A collection is dropped once all of its documents are in the new one. Raises the driver's errors,
    StoreUnavailableError.
    """
    existing = set(await database.list_collection_names())
    moved: dict[str, str] = {}
    for name, convert in ((EVENTS, _archived_message), (MESSAGES, _message)):
        if name in existing:
            documents = await _move(database[name], database[RENAMED[name]], convert)
            await database[name].drop()
            moved[name] = RENAMED[name]
            log.warning("documents are moved", extra={"to": moved[name], "documents": documents})
    if moved:
        await _rename_in_state(database)


async def _move(
    source: AsyncCollection[Record], target: AsyncCollection[Record], convert: Convert
) -> int:
    """Returns how many documents the target got."""
    count = 0
    page: list[Record] = []
    async for group in _groups(source):
        page.append(convert(group))
        count += 1
        if len(page) == PAGE:
            await insert_missing(target, page)
            page = []
    await insert_missing(target, page)
    return count


async def _groups(source: AsyncCollection[Record]) -> AsyncIterator[list[Record]]:
    """The documents in the order of their events; those of one message of the log together."""
    group: list[Record] = []
    async for document in source.find(batch_size=PAGE).sort(_IN_ORDER):
        if not _is_whole(document):
            log.warning("a damaged document is left out", extra={"id": str(document["_id"])})
            continue
        if group and not _is_of_same_message(group[-1], document):
            yield group
            group = []
        group.append(document)
    if group:
        yield group


def _is_whole(document: Record) -> bool:
    keys = isinstance(document.get("app_id"), str) and isinstance(document.get("chat_id"), str)
    return keys and isinstance(document.get("seq"), int)


def _is_of_same_message(before: Record, document: Record) -> bool:
    """Only events have a position; those of one message have the same."""
    same = all(before[name] == document[name] for name in ("app_id", "chat_id"))
    together = before.get("position") == document.get("position") and "position" in document
    return same and together and bool(document["seq"] == before["seq"] + 1)


def _archived_message(group: Sequence[Record]) -> Record:
    first = group[0]
    lines = [bytes(document["raw"]) for document in group]
    return archive_record(_key(first), first["seq"], first["position"], lines)


def _message(group: Sequence[Record]) -> Record:
    (document,) = group
    return {**document, "_id": ordered_id(_key(document), document["seq"])}


def _key(document: Record) -> ChatKey:
    return ChatKey(AppId(document["app_id"]), ChatId(document["chat_id"]))


async def drop_older_indexes(database: AsyncDatabase[Record]) -> None:
    """Once the indexes that replace them are there. Raises the driver's errors."""
    sessions = database[ChatSession.Settings.name]
    for name in await sessions.index_information():
        if name in OLDER_INDEXES:
            await sessions.drop_index(name)


async def _rename_in_state(database: AsyncDatabase[Record]) -> None:
    """Layout 3 becomes layout 4, so that nothing is filled again; older ones stay as they are."""
    state = database[PersistenceState.Settings.name]
    saved = await state.find_one({"_id": STATE_ID, "layout": 3})
    if saved is None:
        return
    listed = await (await database.list_collections()).to_list()
    ids = {one["name"]: str(one["info"].get("uuid", "")) for one in listed}
    known = {RENAMED.get(name, name): id_ for name, id_ in saved["collections"].items()}
    known |= {name: ids.get(name, "") for name in RENAMED.values()}
    filled = sorted({RENAMED.get(name, name) for name in saved["filled"]})
    change = {"$set": {"layout": 4, "collections": known, "filled": filled}}
    await state.update_one({"_id": STATE_ID, "layout": 3}, change)
