"""Watches every command to MongoDB: one that reads or changes documents of tenants names their app."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from pymongo.monitoring import CommandListener, CommandStartedEvent

from services.persistence.maintenance.backups import BACKUP
from services.persistence.maintenance.scanner import SCAN

Json = Mapping[str, Any]

WATCHED = {
    "find": "filter",
    "count": "query",
    "distinct": "query",
    "findAndModify": "query",
}
"""Commands with one filter, and where it is."""
TEST_DATABASES = ("test_",)
"""Databases of the product in tests; others belong to workflows, whose reader is tested by itself."""


@dataclass(frozen=True)
class SpanningQuery:
    """A query without `app_id`, and why it may be."""

    command: str
    collection: str
    reason: str
    keys: frozenset[str] = frozenset()
    """What its filter has, no more and no less."""


SPANNING = [
    SpanningQuery("find", "persistence_state", "holds nothing of a tenant", frozenset({"_id"})),
    SpanningQuery(
        "find", "persistence_state", "moves the state of layout 3", frozenset({"_id", "layout"})
    ),
    SpanningQuery(
        "update", "persistence_state", "holds nothing of a tenant", frozenset({"_id", "layout"})
    ),
    SpanningQuery("update", "persistence_state", "holds nothing of a tenant", frozenset({"_id"})),
    SpanningQuery(
        "findAndModify", "persistence_state", "holds nothing of a tenant", frozenset({"_id"})
    ),
    SpanningQuery("find", "event_archive", "maintenance lists the chats of all apps"),
    SpanningQuery(
        "find", "event_archive", "maintenance lists the chats of all apps", frozenset({"_id"})
    ),
    SpanningQuery("find", "chat_sessions", "maintenance reads the sessions of all apps"),
    SpanningQuery("find", "transcript_messages", "whether the collection is empty, at the start"),
    SpanningQuery(
        "find", "chat_sessions", "erasure finds what is due in all apps", frozenset({"erasable_at"})
    ),
    SpanningQuery("find", "chat_events", "layout 3 is moved or refused", frozenset()),
    SpanningQuery("find", "chat_events", "layout 3 is moved or refused", frozenset({"seq"})),
    SpanningQuery("find", "chat_messages", "layout 3 is moved", frozenset()),
]
"""Every query that spans apps."""


class QueryWatch(CommandListener):
    """Keeps what does not name an app, and the commands since `clear`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.violations: list[str] = []
        self.commands: list[dict[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        if not event.database_name.startswith(TEST_DATABASES):
            return
        command = dict(event.command)
        with self._lock:
            self.commands.append({"$db": event.database_name, **command})
            self.violations += violations(event.command_name, command)

    def succeeded(self, _: object) -> None: ...

    def failed(self, _: object) -> None: ...

    def clear(self) -> None:
        with self._lock:
            self.violations.clear()
            self.commands.clear()


def violations(name: str, command: Json) -> Iterator[str]:
    """The filters of a command that name no app and are no exception."""
    collection = str(command.get(name, ""))
    if command.get("comment") in (SCAN, BACKUP):
        return  # the proof of an erasure and a backup read whatever there is of any app
    for query in filters(name, command):
        if not names_app(query) and not is_exception(name, collection, query):
            yield f"{name} {collection}: {dict(query)} names no app_id"
    for update in command.get("updates", ()):
        is_sharded = update.get("upsert") and collection != "persistence_state"
        if is_sharded and not {"app_id", "chat_id"} <= update["q"].keys():
            yield f"upsert {collection}: {dict(update['q'])} does not name the shard key"


def filters(name: str, command: Json) -> list[Json]:
    """What a command selects documents by."""
    match name:
        case "update":
            return [one["q"] for one in command["updates"]]
        case "delete":
            return [one["q"] for one in command["deletes"]]
        case "aggregate":
            first: Json = next(iter(command["pipeline"]), {})
            return [first.get("$match", {})]
        case _ if name in WATCHED:
            return [command.get(WATCHED[name], {})]
        case _:
            return []


def names_app(query: Json) -> bool:
    return "app_id" in query or any(names_app(one) for one in query.get("$and", ()))


def is_exception(name: str, collection: str, query: Json) -> bool:
    return any(
        (one.command, one.collection, one.keys) == (name, collection, frozenset(query))
        for one in SPANNING
    )


def plans(explained: Any) -> Iterator[str]:
    """The stages of an explained command, wherever they are."""
    if isinstance(explained, Mapping):
        if isinstance(explained.get("stage"), str):
            yield explained["stage"]
        for name, inner in explained.items():
            if name not in ("rejectedPlans", "command"):
                yield from plans(inner)
    elif isinstance(explained, Sequence) and not isinstance(explained, str | bytes):
        for inner in explained:
            yield from plans(inner)
