"""Whether this release can work on a MongoDB server and on the layout of a database."""

from pymongo.asynchronous.database import AsyncDatabase

from contracts.codec import UnreadableMessageError
from contracts.event_log import read_event
from services.persistence.store.interface import StoreIncompatibleError
from services.persistence.store.mongo.client import Record
from services.persistence.store.mongo.documents import (
    STATE_ID,
    ChatSession,
    PersistenceState,
)
from services.persistence.store.mongo.migration import EVENTS

OLDEST_VERSION = (6, 0)
"""The store uses nothing that MongoDB 6.0 lacks."""

LAYOUT = 4
"""The layout of the documents: since 2 events form a hash chain; since 3 sessions hold a ChatSnapshot,
and messages whose they are; since 4 the archive has a document for each message of the log, and
transcripts have a collection in their order. Layout 3 is moved (`migration`); the read models of
layout 2 are filled again from the log.
"""


def check_server_version(version: str) -> None:
    """Raises StoreIncompatibleError for a MongoDB older than OLDEST_VERSION."""
    major, minor = (int(part) for part in version.split(".")[:2])
    if (major, minor) < OLDEST_VERSION:
        raise StoreIncompatibleError(
            f"MONGODB_URI: this is MongoDB {version}; persistence needs 6.0 or newer"
        )


async def check_layout(database: AsyncDatabase[Record]) -> None:
    """Raises StoreIncompatibleError. One document of each kind is enough: no release mixes layouts.

    Reads plain records, because documents of other layouts are not valid documents.
    """
    state = await database[PersistenceState.Settings.name].find_one({"_id": STATE_ID})
    if state is not None:
        if state["layout"] > LAYOUT:
            raise StoreIncompatibleError(
                f"MONGODB_DATABASE: {database.name} is written by a newer release (layout"
                f" {state['layout']}, this one writes {LAYOUT}); start that release, or name"
                " another database"
            )
        return
    session = await database[ChatSession.Settings.name].find_one()
    event = await database[EVENTS].find_one({"seq": {"$gt": 1}})  # layout 4 always has the chain
    if (session and "last_digest" not in session) or (event and not _is_chained(event["raw"])):
        raise StoreIncompatibleError(
            f"MONGODB_DATABASE: {database.name} holds chats in the layout of an older release, which"
            " this one cannot read; name another database, or drop this one"
        )


def _is_chained(raw: bytes) -> bool:
    try:
        return read_event(raw).envelope.previous is not None
    except UnreadableMessageError:  # a damaged event is no evidence of another layout
        return True
