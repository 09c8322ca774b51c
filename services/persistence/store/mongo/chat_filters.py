"""Filters of MongoDB for lists of a user's chats, and for a search in a chat's messages. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence

from contracts.chat_pages import ChatPlace
from contracts.events.turn import USER
from contracts.ids import AgentName
from contracts.lookups import EPOCH
from contracts.rewinds import DroppedRange
from services.persistence.store.interface import ChatFilter, StartedChats
from services.persistence.store.mongo.client import Record
from services.persistence.store.mongo.documents import chat_record_id

# As ranges: an index cannot tell null from what is missing, and each document would be fetched.
_DELETED: Record = {"deleted_at": {"$gt": EPOCH}}
_NOT_DELETED: Record = {"deleted_at": {"$not": {"$gt": EPOCH}}}
PLACES: Mapping[ChatPlace, Record] = {
    "active": {**_NOT_DELETED, "is_archived": {"$ne": True}},
    "archived": {**_NOT_DELETED, "is_archived": True},
    "deleted": _DELETED,
}


def chats_filter(wanted: ChatFilter) -> Record:
    """The sessions that are listed. Index `app_user_changed` has them in their order."""
    query: Record = {"app_id": wanted.app, "user_id": wanted.user, **PLACES[wanted.place]}
    if wanted.statuses:
        query["status"] = {"$in": list(wanted.statuses)}
    if wanted.workflows:
        query["workflow_name"] = {"$in": list(wanted.workflows)}
    return query


def started_filters(wanted: StartedChats) -> list[Record]:
    """The sessions of `wanted`, in as many parts as index `app_user_created` can tell without documents."""
    query: Record = {
        "app_id": wanted.app,
        "user_id": wanted.user,
        "workflow_name": wanted.workflow,
    }
    if (before := wanted.before) is None:
        return [query]
    place = chat_record_id(wanted.app, before.chat_id)
    at_once = {"created_at": before.created_at, "_id": {"$lt": place}}
    return [{**query, "created_at": {"$lt": before.created_at}}, {**query, **at_once}]


def shown_with_words(
    words: Sequence[str], agents: Collection[AgentName], dropped: Sequence[DroppedRange] = ()
) -> Record:
    """The messages that users see and that have all these words, in any case.

    `agents` are those whose messages are seen beside the user's, none: all; `dropped` is what was rewound.
    """
    shown: Record = {"hidden": False, "role": {"$ne": "tool"}}
    if agents:
        shown["agent"] = {"$in": [*agents, USER]}
    if dropped:
        shown["$nor"] = [{"seq": {"$gt": one.after, "$lt": one.before}} for one in dropped]
    words_ = [{"content": {"$regex": re.escape(word), "$options": "i"}} for word in words]
    return {**shown, "$and": words_} if words_ else shown
