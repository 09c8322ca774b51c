"""Snapshots of folded chats in a bucket: a long chat is resumed from one and the events after it."""

import asyncio
import logging
import zlib
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from prometheus_client import CollectorRegistry, Counter
from pydantic_core import from_json, to_json

import contracts
from contracts import encryption, subjects
from contracts.event_log import Head
from contracts.ids import ChatKey, Seq, StreamSeq
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_log import Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator import domain
from services.orchestrator.domain.bounded_state import bounded
from services.orchestrator.domain.state_codec import NoStateError, decode, encode
from services.orchestrator.runtime.chat_cache import CHAT_BYTES, FoldedChat

log = logging.getLogger(__name__)

EVERY_EVENTS = 500
"""A chat has so many more events when its next snapshot is written; shorter chats have none."""
MAX_BYTES = 8 * 1024 * 1024
"""Of a snapshot before it is compressed."""
SECONDS = 5.0
"""How long a read or a write may take: without it the log is read."""
FORMAT = 1
HEADER_BYTES = 1_024
"""What a message of NATS has beside the value."""
_PLACE = "snapshot"
"""What its ciphertext is bound to, beside the chat, where chats are encrypted."""
_KEPT = "snapshot"
"""The key, among what is derived from a chat, of the event that its newest snapshot is of."""


class ChatSnapshots:
    """The snapshots of all chats, over one connection. No method raises for what a snapshot lacks.

    A snapshot is a guess: who reads one must read the log after its place, which proves that it is of
    this log. One of other code, of a newer format, of another chat or too large is not used.
    """

    def __init__(
        self, gateway: JetStreamGateway, registry: CollectorRegistry | None = None
    ) -> None:
        self._gateway = gateway
        self._writes = Counter(
            "mozaiks_chat_snapshots",
            "Snapshots of chats, by what became of them",
            ["outcome"],
            registry=registry,
        )

    async def read(self, key: ChatKey) -> FoldedChat | None:
        """The newest snapshot of a chat; None where there is none that can be used."""
        try:
            async with asyncio.timeout(SECONDS):
                bucket = await self._gateway.key_values.bucket(subjects.SNAPSHOTS)
                entry = await bucket.get(subjects.chat_tokens(key))
                await encryption.load(key)
        except KeyNotFoundError:
            return None
        except (NatsError, NatsUnavailableError, TimeoutError, OSError) as error:
            self._note("unread", key, error)
            return None
        try:
            data = encryption.open_bytes(key, _PLACE, entry.value or b"")
            found = await asyncio.to_thread(opened, data or b"", key)
        except ValueError as error:
            self._note("unusable", key, error)
            return None
        if found is not None:
            found.derived[_KEPT] = found.state.seq
        return found

    async def keep(self, key: ChatKey, chat: FoldedChat) -> None:
        """Write a snapshot of a quiet chat if it has EVERY_EVENTS more events than the one before."""
        state = chat.state
        if state.seq - chat.derived.get(_KEPT, 0) < EVERY_EVENTS or state.is_erased:
            return
        chat.derived[_KEPT] = state.seq
        try:
            data = await asyncio.to_thread(sealed, key, chat)
            await encryption.ensure(key)
            data = encryption.seal_bytes(key, _PLACE, data)
            if len(data) > self._gateway.nc.max_payload - HEADER_BYTES:
                self._note("too_large", key, f"{len(data):,} bytes")
                return
            async with asyncio.timeout(SECONDS):
                bucket = await self._gateway.key_values.bucket(subjects.SNAPSHOTS)
                await bucket.put(subjects.chat_tokens(key), data)
        except (NoStateError, NatsError, NatsUnavailableError, TimeoutError, OSError) as error:
            self._note("unwritten", key, error)
        else:
            self._writes.labels("written").inc()

    def note_other_log(self, key: ChatKey) -> None:
        """A snapshot was not of the log that was read after it."""
        self._note("of_another_log", key, "the log does not go on from it")

    def _note(self, outcome: str, key: ChatKey, why: object) -> None:
        self._writes.labels(outcome).inc()
        log.warning(
            "a snapshot of a chat is not used",
            extra={"app": key.app, "chat": key.chat, "outcome": outcome, "why": str(why)},
        )


@cache
def code_digest() -> str:
    """SHA-256, in hex, of the code that folds events: a state of other code is another state."""
    whole = sha256()
    for package in (contracts, domain):
        for file in sorted(_sources(package)):
            whole.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def _sources(package: ModuleType) -> Iterator[Path]:
    for folder in package.__path__:
        yield from Path(folder).rglob("*.py")


def sealed(key: ChatKey, chat: FoldedChat) -> bytes:
    """The stored form of a chat's bounded state. Raises NoStateError, also where it is too large."""
    record = {
        "format": FORMAT,
        "code": code_digest(),
        "app": key.app,
        "chat": key.chat,
        "position": chat.place.position,
        "seq": chat.place.head.seq,
        "digest": chat.place.head.digest,
        "trace": chat.run_trace,
        "state": encode(bounded(chat.state)),
    }
    data = to_json(record)
    if len(data) > MAX_BYTES:
        raise NoStateError(f"{len(data):,} bytes, {MAX_BYTES:,} are kept")
    return zlib.compress(data, level=1)


def opened(data: bytes, key: ChatKey) -> FoldedChat | None:
    """The chat of a stored snapshot; None where it is of other code or of another format.

    Raises NoStateError for what is no snapshot of the chat.
    """
    record, size = _record(data)
    if (record.get("format"), record.get("code")) != (FORMAT, code_digest()):
        return None
    if (record.get("app"), record.get("chat")) != key:
        raise NoStateError("app, chat: not those of the key")
    match record:
        case {
            "position": int() as position,
            "seq": int() as seq,
            "digest": str() as digest,
            "trace": str() | None as trace,
            "state": dict() as encoded,
        }:
            state = decode(encoded)
        case _:
            raise NoStateError("no snapshot")
    if state.seq != seq:
        raise NoStateError("seq: not that of the state")
    place = Place(StreamSeq(position), Head(Seq(seq), digest))
    return FoldedChat(state, place, CHAT_BYTES + size, run_trace=trace, is_whole=False)


def _record(data: bytes) -> tuple[dict[str, Any], int]:
    """The content of a snapshot, and its size in bytes."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(data, MAX_BYTES + 1)
        found = from_json(text)
    except (zlib.error, ValueError) as broken:
        raise NoStateError(f"no snapshot: {type(broken).__name__}") from broken
    if not isinstance(found, dict):
        raise NoStateError("no snapshot")
    return found, len(text)
