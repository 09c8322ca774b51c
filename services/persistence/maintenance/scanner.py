"""Reads everything that is stored, and finds where given texts are: the proof of an erasure."""

from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bson import encode
from nats.js.api import ObjectInfo
from pydantic_core import from_json
from pymongo.asynchronous.database import AsyncDatabase

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from contracts.subjects import InvalidSubjectError
from services.chassis.jetstream.direct_get import BEFORE_FIRST, RawMessage
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.store.mongo.client import Record, translated_errors

FILE_BYTES = 1024 * 1024
"""Read of a log file at a time."""

SCAN = "proof of an erasure"
"""The comment of the queries that read every document of every app."""


class Place(NamedTuple):
    """A message, a document, or a file, in which one of the texts is."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}  {self.name}"


@dataclass(slots=True)
class Scanned:
    """How much was read, and where the texts are."""

    places: int = 0
    bytes: int = 0
    found: list[Place] = field(default_factory=list)
    in_other_chats: int = 0
    """Places of chats in which the same was said, and that may keep it."""


class Scanner:
    """Looks for texts in UTF-8, byte for byte; raises NatsUnavailableError, StoreUnavailableError.

    `keeps` says of a chat whether it may have them, because it is another one than those erased.
    """

    def __init__(
        self, texts: Iterable[bytes], keeps: Callable[[ChatKey], bool] = lambda _: False
    ) -> None:
        self._texts = [text for text in texts if text]
        self._keeps = keeps
        self.scanned = Scanned()

    def look(self, kind: str, name: str, data: bytes, owner: ChatKey | None = None) -> None:
        """Count a place, and note it if it has one of the texts."""
        self.scanned.places += 1
        self.scanned.bytes += len(data)
        if not any(text in data for text in self._texts):
            return
        if owner is not None and self._keeps(owner):
            self.scanned.in_other_chats += 1
        else:
            self.scanned.found.append(Place(kind, name))

    async def streams(self, gateway: JetStreamGateway) -> None:
        """Every message of every stream: those behind buckets and object stores, too."""
        for info in await gateway.js.streams_info():
            name = str(info.config.name)
            messages = (
                gateway.reader.pages(name, ">", BEFORE_FIRST)
                if info.config.allow_direct
                else _one_by_one(gateway, name)
            )
            owners = await _owners_of_chunks(gateway, name)
            async for message in messages:
                where = f"{message.position} {message.subject}"
                owner = owners.get(message.subject) or owner_of(message.subject)
                self.look(f"stream {name}", where, message.data, owner)

    async def database(self, database: AsyncDatabase[Record]) -> None:
        """Every document of every collection."""
        with translated_errors():
            for name in sorted(await database.list_collection_names()):
                async for document in database[name].find({}, comment=SCAN):
                    owner = _owner_of_document(document)
                    self.look(f"collection {name}", str(document["_id"]), encode(document), owner)

    def files(self, folders: Collection[Path]) -> None:
        """Every file below these folders, such as those of logs."""
        overlap = max(map(len, self._texts), default=1) - 1
        for path in sorted(one for folder in folders for one in folder.rglob("*")):
            if path.is_file():
                self._file(path, overlap)

    def _file(self, path: Path, overlap: int) -> None:
        self.scanned.places += 1
        rest, has_text = b"", False
        with path.open("rb") as file:
            while chunk := file.read(FILE_BYTES):
                self.scanned.bytes += len(chunk)
                window = rest + chunk
                has_text = has_text or any(text in window for text in self._texts)
                rest = window[-overlap:] if overlap else b""
        if has_text:
            self.scanned.found.append(Place("file", str(path)))


def owner_of(subject: str) -> ChatKey | None:
    """The chat that a message of any stream belongs to; None where its subject names none."""
    match subject.split("."):
        case ["$KV", subjects.CHATS, app, _, chat]:
            pass
        case ["$KV", subjects.SNAPSHOTS, app, chat]:
            pass
        case ["$O", _, "M", _]:
            return _owner_of_object(subject)
        case ["mozaiks", "timer", _, app, chat, *_]:
            pass
        case ["mozaiks", "lookup", app, chat, *_]:
            pass
        case _:
            try:
                return subjects.parse(subject).key
            except InvalidSubjectError:
                return None
    try:
        return ChatKey(AppId(subjects.untoken(app)), ChatId(subjects.untoken(chat)))
    except InvalidSubjectError:
        return None


async def _owners_of_chunks(gateway: JetStreamGateway, stream: str) -> dict[str, ChatKey]:
    """The chats of the objects of an object store, by the subjects of their chunks."""
    store = stream.removeprefix(subjects.object_stream(""))
    if store == stream:
        return {}
    found: dict[str, ChatKey] = {}
    async for message in gateway.reader.pages(stream, f"$O.{store}.M.>", BEFORE_FIRST):
        owner = _owner_of_object(message.subject)
        nuid = ObjectInfo.from_response(from_json(message.data)).nuid
        if owner is not None and nuid:
            found[subjects.object_chunks(store, nuid)] = owner
    return found


def _owner_of_object(meta: str) -> ChatKey | None:
    try:
        return subjects.parse_attachment_key(subjects.object_name(meta))[0]
    except InvalidSubjectError:
        return None


def _owner_of_document(document: Mapping[str, object]) -> ChatKey | None:
    app, chat = document.get("app_id"), document.get("chat_id")
    if isinstance(app, str) and isinstance(chat, str):
        return ChatKey(AppId(app), ChatId(chat))
    return None


async def _one_by_one(gateway: JetStreamGateway, stream: str) -> AsyncIterator[RawMessage]:
    position = StreamSeq(1)
    while (message := await gateway.reader.next(stream, ">", position)) is not None:
        yield message
        position = StreamSeq(message.position + 1)


def needles(texts: Iterable[str], *, length: int = 24, limit: int = 200) -> Sequence[bytes]:
    """Pieces of texts to look for: those that are stored as they are, whatever is around them.

    A text is split where JSON escapes a character; shorter pieces than half of `length` characters
    are left out, as other chats may have them. At most `limit`, evenly over all.
    """
    found: dict[bytes, None] = {}
    for text in texts:
        for line in "".join(" " if c in '"\\' or ord(c) < 32 else c for c in text).split("  "):
            piece = line.strip()[:length]
            if len(piece) >= length // 2:
                found[piece.encode("utf-8", "ignore")] = None
    step = max(1, -(-len(found) // limit))
    return list(found)[::step]


_NOT_SAID = (
    "digest",
    "_id",
    "id",
    "prompt",
    "idempotency_key",
    "workflow_version",
    "tools_version",
)
"""Ends of the names of members that users and agents do not write."""


def said_in(value: object) -> Iterator[str]:
    """The texts in an event's body, without ids, digests and system prompts."""
    match value:
        case str():
            yield value
        case Mapping():
            for name, member in value.items():
                if not str(name).endswith(_NOT_SAID):
                    yield from said_in(member)
        case list() | tuple():
            for member in value:
                yield from said_in(member)
        case _:
            return
