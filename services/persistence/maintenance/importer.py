"""Imports chats of an export: the same events, byte for byte, with their values and files."""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from contracts.codec import UnreadableMessageError
from contracts.event_log import EMPTY, Decision, StoredEvent, read_event, references
from contracts.events.chat import AttachmentUploaded
from contracts.ids import AppId, ChatId, ChatKey
from contracts.large_values import LargeValue, ValueReference
from contracts.subjects import attachment_key, branch
from contracts.verify_export import ExportFiles, manifest, opened
from services.chassis.jetstream.errors import NatsRejectedError
from services.chassis.jetstream.event_log import EventLog, PositionConflictError
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import ChatSources, IncompleteChatError, LoggedChat
from services.persistence.maintenance.value_archive import StoredValues

log = logging.getLogger(__name__)


class StoredFiles(Protocol):
    """The object store of attached files."""

    async def put(self, name: str, data: bytes) -> None: ...


@dataclass(slots=True)
class Imported:
    """What was imported: `failed` has the reason for each chat that was not."""

    chats: int = 0
    events: int = 0
    present: int = 0
    """Chats that had all these events already."""
    running: int = 0
    failed: dict[ChatKey, str] = field(default_factory=dict)


class ChatImporter:
    """Appends the events that the log lacks. An import that broke off is run again: it goes on.

    Methods raise StoreUnavailableError, NatsUnavailableError.
    """

    def __init__(
        self,
        sources: ChatSources,
        events: EventLog,
        values: StoredValues,
        files: StoredFiles,
        rebuilder: Rebuilder,
    ) -> None:
        self._sources = sources
        self._events = events
        self._values = values
        self._files = files
        self._rebuilder = rebuilder

    async def all(self, path: Path) -> Imported:
        """Imports every chat of an export that was verified, one after the other."""
        imported = Imported()
        with opened(path) as export:
            for line in manifest(export):  # origins come before their forks
                if "folder" in line:
                    await self._one(export, line, imported)
        return imported

    async def _one(self, export: ExportFiles, line: dict[str, Any], imported: Imported) -> None:
        key = ChatKey(AppId(line["app_id"]), ChatId(line["chat_id"]))
        try:
            appended = await self._chat(export, key, line["folder"])
            session = await self._rebuilder.chat(key)
        except IncompleteChatError as refused:
            imported.failed[key] = str(refused)
            return
        imported.chats += appended > 0
        imported.present += appended == 0
        imported.events += appended
        imported.running += session.status == "running"

    async def _chat(self, export: ExportFiles, key: ChatKey, folder: str) -> int:
        """How many events were appended. Raises IncompleteChatError."""
        decisions = list(decisions_of(export, key, folder))
        logged = await self._sources.logged(key)
        missing = missing_decisions(logged, decisions)
        place = logged.end.position
        for decision in missing:
            await self._store_objects(export, key, folder, decision)
            try:
                place = await self._events.append(decision, after=place)
            except PositionConflictError:
                raise IncompleteChatError("another writer has appended to it meanwhile") from None
            except NatsRejectedError as refused:
                raise IncompleteChatError(str(refused)) from refused
        return sum(len(one.events) for one in missing)

    async def _store_objects(
        self, export: ExportFiles, key: ChatKey, folder: str, decision: Decision
    ) -> None:
        """The values and the file that the events name, before the events."""
        for one in decision.events:
            for found in references(one.envelope, one.event):
                data = _content(export, f"{folder}/values/{found.digest}")
                reference = ValueReference(
                    digest=found.digest, size=found.size, media_type=found.media_type
                )
                await self._values.put(key, [LargeValue(reference, data)])
            if isinstance(one.event, AttachmentUploaded):
                name = one.event.attachment_id
                data = _content(export, f"{folder}/files/{name}")
                await self._files.put(attachment_key(key, name), data)


def decisions_of(export: ExportFiles, key: ChatKey, folder: str) -> Iterator[Decision]:
    """The messages of a chat's log, as they were stored. Raises IncompleteChatError."""
    head = EMPTY
    with (
        export.open(f"{folder}/events.jsonl") as events,
        export.open(f"{folder}/messages.jsonl") as messages,
    ):
        for message in messages:
            try:
                lines = [
                    events.readline().rstrip(b"\n") for _ in range(json.loads(message)["events"])
                ]
                if any(json.loads(line).get("sealed") for line in lines):
                    raise IncompleteChatError("its events are encrypted by a key of elsewhere")
                stored = tuple(map(read_event, lines))
            except (UnreadableMessageError, ValueError, KeyError, TypeError) as unreadable:
                raise IncompleteChatError(f"after event {head.seq}: {unreadable}") from unreadable
            decision = Decision(key, branch(stored[0].envelope.category), stored)
            if head == EMPTY and decision.forked is not None:
                head = decision.before
            if stored[0].envelope.key != key or not decision.follows(head):
                raise IncompleteChatError(f"event {head.seq + 1} is missing in the export")
            head = decision.head
            yield decision


def missing_decisions(logged: LoggedChat, exported: list[Decision]) -> list[Decision]:
    """The messages after the end of the log.

    Raises IncompleteChatError where the log has other events, or was erased.
    """
    own: list[StoredEvent] = [one.stored for one in logged.events]
    if own and own[-1].is_erasure:
        raise IncompleteChatError("this chat was erased here")
    at = 0
    for number, decision in enumerate(exported):
        if at >= len(own):
            return exported[number:]
        for one in decision.events:
            if at >= len(own) or own[at].data != one.data:
                seq = one.envelope.seq
                raise IncompleteChatError(f"event {seq} here is not the one of the export")
            at += 1
    return []


def _content(export: ExportFiles, name: str) -> bytes:
    with export.open(name) as file:
        return file.read()
