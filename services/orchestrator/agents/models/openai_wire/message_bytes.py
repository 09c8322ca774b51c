"""The bytes of a conversation's messages, kept as long as the events from which they are made."""

from collections import deque
from collections.abc import Hashable
from typing import NamedTuple
from weakref import ref

from ag2.events import BaseEvent

from services.orchestrator.agents.models.openai_wire.prefix_bytes import PrefixBytes

MAX_BYTES = 64 * 1024 * 1024


class _EventRef(ref[BaseEvent]):
    """A weak reference that knows its key when its event is gone."""

    __slots__ = ("key",)

    key: int


class _Entry(NamedTuple):
    event: _EventRef
    content: Hashable
    data: bytes


class MessageBytes:
    """A cache by event object, of limited size; the oldest entry is dropped first.

    AG2's events can be changed and cannot be hashed. So an entry is found by the object's identity,
    is dropped after the object, and counts only while the object has the content that it had.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.size = 0
        """Bytes that are kept."""
        self.prefixes = PrefixBytes()
        """The bytes of the older messages of whole conversations."""
        self._max_bytes = max_bytes
        self._entries: dict[int, _Entry] = {}
        # An event may end in a tool's thread, so its entry is dropped later, in ours.
        self._ended: deque[_EventRef] = deque()

    def get(self, event: BaseEvent, content: Hashable) -> bytes | None:
        """The bytes of an event that still has this content."""
        entry = self._entries.get(id(event))
        if entry is None or entry[0]() is not event or entry[1] != content:
            return None
        return entry[2]

    def put(self, event: BaseEvent, content: Hashable, data: bytes) -> None:
        """Keep the bytes of an event; `content` is all that they are made of."""
        key = id(event)
        self._drop_ended()
        self._drop(key)
        if len(data) > self._max_bytes:
            return
        event_ref = _EventRef(event, self._ended.append)
        event_ref.key = key
        self._entries[key] = _Entry(event_ref, content, data)
        self.size += len(data)
        while self.size > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop_ended(self) -> None:
        while self._ended:
            ended = self._ended.popleft()
            entry = self._entries.get(ended.key)
            if entry is not None and entry.event is ended:
                self._drop(ended.key)

    def _drop(self, key: int) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= len(entry.data)
