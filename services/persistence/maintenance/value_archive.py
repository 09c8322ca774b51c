"""Archives the large values that events refer to, verifies them, and restores those that NATS has lost."""

import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

from contracts import encryption
from contracts.event_log import references
from contracts.ids import ChatKey
from contracts.large_values import LargeValue, ValueReference
from services.chassis.jetstream.value_store import ValueLostError
from services.persistence.domain.comparison import MissingValue
from services.persistence.store.interface import ArchivedEvent, Store

log = logging.getLogger(__name__)


class StoredValues(Protocol):
    """The object store of large values; see `ValueStore`."""

    async def get(self, key: ChatKey, digest: str) -> bytes: ...

    async def put(self, key: ChatKey, values: Iterable[LargeValue]) -> object: ...


class ValueArchive:
    """Every method raises StoreUnavailableError, NatsUnavailableError."""

    def __init__(self, store: Store, values: StoredValues) -> None:
        self._store = store
        self._values = values

    async def add(self, events: Sequence[ArchivedEvent]) -> None:
        """Archive the values of these events, before the events; a lost one is logged."""
        for key, reference in _references(events):
            try:
                data = await self._values.get(key, reference.digest)
            except ValueLostError as lost:
                log.warning("a large value is not archived", extra={"why": str(lost)})
            else:
                await encryption.ensure(key)
                sealed = encryption.seal_bytes(key, reference.digest, data)
                await self._store.archive_value(key, LargeValue(reference, sealed))

    async def restore(self, events: Sequence[ArchivedEvent]) -> None:
        """Store the archived values of these events in NATS, where they are not there."""
        for key, reference in _references(events):
            try:
                await self._values.get(key, reference.digest)
            except ValueLostError:
                data = await self._store.archived_value(key, reference.digest)
                if data is None:
                    extra = {"app": key.app, "chat": key.chat, "digest": reference.digest}
                    log.warning("a large value is not in the archive", extra=extra)
                elif (whole := await self._opened(key, reference.digest, data)) is not None:
                    await self._values.put(key, [LargeValue(reference, whole)])

    async def _opened(self, key: ChatKey, digest: str, archived: bytes) -> bytes | None:
        await encryption.load(key)
        return encryption.open_bytes(key, digest, archived)

    async def missing(self, events: Sequence[ArchivedEvent]) -> list[MissingValue]:
        """Which values of these events are not in NATS, or not in the archive."""
        found: list[MissingValue] = []
        for event in events:
            for key, reference in _references([event]):
                seq, digest = event.envelope.seq, reference.digest
                if await self._store.archived_value(key, digest) is None:
                    found.append(MissingValue("archive", seq, digest))
                try:
                    await self._values.get(key, digest)
                except ValueLostError:
                    found.append(MissingValue("log", seq, digest))
        return found


def _references(events: Iterable[ArchivedEvent]) -> list[tuple[ChatKey, ValueReference]]:
    return [
        (
            one.envelope.key,
            ValueReference(digest=found.digest, size=found.size, media_type=found.media_type),
        )
        for one in events
        for found in references(one.envelope, one.stored.event)
    ]
