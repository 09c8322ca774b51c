"""The joined bytes of the older messages of conversations, so that a request does not read each again."""

from collections import OrderedDict
from collections.abc import Sequence
from operator import is_

from ag2.events import BaseEvent

RECENT = 32
"""The newest events of a request are not taken from here: those of the open turn may still change."""
MAX_BYTES = 32 * 1024 * 1024


class _Prefix:
    """The first events of a conversation; `ends[n]` is the length of `data` after event `n`."""

    __slots__ = ("data", "ends", "events")

    def __init__(self) -> None:
        self.events: list[BaseEvent] = []
        self.ends: list[int] = []
        self.data = bytearray()

    def common(self, events: Sequence[BaseEvent], limit: int) -> int:
        """How many events these begin with, the same objects, `limit` at most."""
        known = self.events[:limit]
        if all(map(is_, known, events)):
            return min(len(known), len(events))
        return next(
            n for n, (one, other) in enumerate(zip(known, events, strict=False)) if one is not other
        )

    def extend(self, count: int, events: Sequence[BaseEvent], pieces: Sequence[bytes]) -> None:
        """Keep the first `count` events, and add others with their bytes."""
        del self.events[count:], self.ends[count:]
        del self.data[self.ends[-1] if self.ends else 0 :]
        for event, piece in zip(events, pieces, strict=True):
            if piece:
                self.data += b"," + piece if self.data else piece
            self.events.append(event)
            self.ends.append(len(self.data))


class PrefixBytes:
    """By the first event of a conversation; of limited size, the least recently used is dropped first.

    Events are compared by identity, as for the digest of a request: those of finished turns are
    kept with the chat, and nothing changes them.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.size = 0
        """Bytes that are kept."""
        self._max_bytes = max_bytes
        self._prefixes: OrderedDict[int, _Prefix] = OrderedDict()

    def find(self, events: Sequence[BaseEvent]) -> tuple[int, bytes]:
        """How many of the older events are known, and their bytes with commas between them."""
        limit = max(len(events) - RECENT, 0)
        prefix = self._prefixes.get(id(events[0])) if limit else None
        if prefix is None or not (count := prefix.common(events, limit)):
            return 0, b""
        self._prefixes.move_to_end(id(events[0]))
        return count, bytes(prefix.data[: prefix.ends[count - 1]])

    def keep(self, events: Sequence[BaseEvent], known: int, pieces: Sequence[bytes]) -> None:
        """Keep the older events; `pieces` are the bytes of all those after the `known` ones."""
        limit = max(len(events) - RECENT, 0)
        if limit <= known:
            return
        key = id(events[0])
        prefix = self._prefixes.setdefault(key, _Prefix())
        self.size -= len(prefix.data)
        prefix.extend(known, events[known:limit], pieces[: limit - known])
        self.size += len(prefix.data)
        self._prefixes.move_to_end(key)
        while self.size > self._max_bytes:
            _, oldest = self._prefixes.popitem(last=False)
            self.size -= len(oldest.data)
