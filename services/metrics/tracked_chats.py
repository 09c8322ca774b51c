"""The chats that metrics knows by name: of bounded number, and how long running ones have been silent."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import count
from typing import NamedTuple

from contracts.ids import ChatKey
from services.metrics.observations import ChatMetrics, Label

CHATS = 1000
"""Quiet chats that have a snapshot of their own; of older ones only the totals are kept."""
RUNNING = 5000
"""Running chats that have one, and whose last event's time is known."""


class RunningChat(NamedTuple):
    """A chat that waits for the runtime, and when its last event came."""

    label: Label
    last_event: datetime


class _Tracked(NamedTuple):
    """A chat, and the number of its last change among those of all chats."""

    change: int
    chat: ChatMetrics


class TrackedChats:
    """Snapshots of chats. Ended ones are evicted first, then waiting ones, running ones last."""

    def __init__(self, most_chats: int = CHATS, most_running: int = RUNNING) -> None:
        self._most_chats = most_chats
        self._most_running = most_running
        self._ended: dict[ChatKey, _Tracked] = {}  # each in the order of their last change
        self._waiting: dict[ChatKey, _Tracked] = {}
        self._running: dict[ChatKey, _Tracked] = {}
        self._changes = count()
        self.running: dict[ChatKey, RunningChat] = {}
        """Running chats, also those without a snapshot; of more than fit, those that ran first."""
        self.has_evicted = False

    def __len__(self) -> int:
        return len(self._ended) + len(self._waiting) + len(self._running)

    def __iter__(self) -> Iterator[ChatMetrics]:
        """The one that changed last first."""
        found = (*self._ended.values(), *self._waiting.values(), *self._running.values())
        return (one.chat for one in sorted(found, key=lambda one: -one.change))

    def __contains__(self, key: ChatKey) -> bool:
        return self.get(key) is not None

    def get(self, key: ChatKey) -> ChatMetrics | None:
        found = self._running.get(key) or self._waiting.get(key) or self._ended.get(key)
        return None if found is None else found.chat

    def put(self, chat: ChatMetrics, label: Label) -> None:
        """Keep a chat as of its last event; evicts others where there is no room."""
        key = chat.key
        for group in (self._running, self._waiting, self._ended):
            group.pop(key, None)
        self._group(chat)[key] = _Tracked(next(self._changes), chat)
        if chat.status != "running":
            self.running.pop(key, None)
        elif key in self.running or len(self.running) < self._most_running:
            self.running[key] = RunningChat(label, chat.last_updated_at)
        self._evict()

    def load(self, chats: Iterable[ChatMetrics], *, has_evicted: bool) -> None:
        """Replace the snapshots; the first is the one that changed last."""
        self.clear()
        for chat in reversed(list(chats)):
            self._group(chat)[chat.key] = _Tracked(next(self._changes), chat)
        self.has_evicted = has_evicted

    def clear(self) -> None:
        for group in (self._ended, self._waiting, self._running, self.running):
            group.clear()
        self.has_evicted = False

    def _group(self, chat: ChatMetrics) -> "dict[ChatKey, _Tracked]":
        if chat.status == "running":
            return self._running
        return self._waiting if chat.status == "waiting" else self._ended

    def _evict(self) -> None:
        quiet = len(self._ended) + len(self._waiting)
        # Where few chats run, their room is for quiet ones: altogether there are `most_chats`.
        if quiet and len(self) > self._most_chats:
            oldest = self._ended or self._waiting
        elif len(self._running) > max(self._most_running, self._most_chats):
            oldest = self._running
        else:
            return
        del oldest[next(iter(oldest))]
        self.has_evicted = True
