"""Cache of chat projections: the view of any chat, brought up to date by reading its newest events."""

import asyncio
from collections import OrderedDict

from pydantic_core import to_json

from contracts.chat_snapshot import ChatSnapshot
from contracts.event_log import Head, StoredEvent
from contracts.events.chat import AttachmentUploaded, ChatForked, ChatStarted
from contracts.events.human import UiToolRequested
from contracts.frozen import replace
from contracts.ids import ChatKey, Seq
from services.chassis.consumers.fair_queue import Shares
from services.chassis.consumers.slots import FairSlots
from services.chassis.jetstream.event_log import START, Commit, EventLog, Place
from services.transport.delivery.stored_snapshots import StoredSnapshots
from services.transport.protocol.chat_projection import ChatView, Component, apply
from services.transport.protocol.log_positions import LogPositions
from services.transport.protocol.recent_view import RecentFold
from services.transport.protocol.stored_values import payload_of

MAX_CHATS = 512
"""Chats that are kept; any other is folded again from its first event."""
MAX_BYTES = 16 * 1024 * 1024
"""Limit of the event bodies that the views retain: the payload of a component may be a megabyte."""
LONG_CHAT = 300
"""Events from which a snapshot is asked for: fewer are read as quickly."""
READERS = Shares(limit=16, per_app=4)
"""Chats that are read at the same time, in all and of one app: more wait for their app's turn, so that
requests for the long chats of one app do not fill the event loop."""
PROJECTION_BYTES = 1024
"""Size that is counted for a view beside these bodies."""


class ProjectionCache:
    """Folds chats on demand; the least recently used are evicted."""

    def __init__(self, events: EventLog, snapshots: StoredSnapshots | None = None) -> None:
        self._events = events
        self._snapshots = snapshots
        self._readers = FairSlots(READERS)
        self._entries: OrderedDict[ChatKey, tuple[ChatView, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: ChatKey) -> ChatView | None:
        """The view of a chat after the last event of its log; None where there is no such chat.

        Raises NatsUnavailableError.
        """
        view, size = self._entries.get(key, (None, PROJECTION_BYTES))
        if view is not None and not view.is_whole:
            view, size = None, PROJECTION_BYTES
        return await self._read_on(key, view, size)

    async def get_known(self, key: ChatKey, seq: Seq | None) -> ChatView | None:
        """The view after event `seq`, None: the newest, or a later one; None for a chat that this
        process does not know. It may not be whole. Raises NatsUnavailableError.
        """
        entry = self._entries.get(key)
        if entry is None or (seq is not None and seq <= entry[0].last_seq):
            return None if entry is None else entry[0]
        return await self._read_on(key, *entry)

    async def get_recent(self, key: ChatKey, events: int) -> ChatView | None:
        """As `get`, for who shows the newest events: of a long chat that is not cached, the view may
        not be whole. Raises NatsUnavailableError.
        """
        if key not in self._entries and (recent := await self._recent(key, events)) is not None:
            self._store(key, recent, PROJECTION_BYTES + _size_of(recent))
        entry = self._entries.get(key)
        return await (self.get(key) if entry is None else self._read_on(key, *entry))

    async def _read_on(self, key: ChatKey, view: ChatView | None, size: int) -> ChatView | None:
        async with self._readers.using(key.app):
            return await self._fold_on(key, view, size)

    async def _fold_on(self, key: ChatKey, view: ChatView | None, size: int) -> ChatView | None:
        place = START if view is None else view.place
        async for commit in self._events.read(key, after=place):
            place = commit.place
            for stored in commit.events:
                view = _apply(view, stored)
                size += len(stored.data) if _is_retained(stored) else 0
            if view is not None and commit.events:
                view.positions.add(commit.events[0].envelope.seq, place.position)
        if view is None:
            return None
        view = replace(view, place=place)
        self._store(key, view, size)
        return view

    async def _recent(self, key: ChatKey, events: int) -> ChatView | None:
        """A view from the snapshot that persistence stores; None where a read of the log is needed.

        The log proves the snapshot: its digests lead from the events before it to what it names. Whose
        the chat is, is read in the log.
        """
        if self._snapshots is None or await self._events.last_seq(key) < LONG_CHAT:
            return None
        found, first = await asyncio.gather(self._snapshots.find(key), self._events.first(key))
        snapshot = None if found is None else found.snapshot
        if found is None or snapshot is None or not _is_of(snapshot, key, first):
            return None
        known = Place(found.position, Head(snapshot.last_seq, found.digest))
        cursor, fold, place = Seq(max(snapshot.last_seq - events, 0)), RecentFold(snapshot), known
        positions = LogPositions()
        async for commit in self._events.read_from(key, cursor, known=known):
            place = commit.place
            for stored in commit.events:
                fold.add(stored)
            if commit.events:
                positions.add(commit.events[0].envelope.seq, place.position)
        if fold.view is None or not fold.is_complete:
            return None
        view = replace(fold.view, place=place, positions=positions)
        return await self._with_artifact(view, cursor)

    async def _with_artifact(self, view: ChatView, cursor: Seq) -> ChatView | None:
        """The view with the payload of its artifact, where that was opened before the cursor."""
        artifact = view.last_artifact
        if artifact is None or artifact.seq > cursor or view.is_whole:
            return view
        part = self._events.read_part(view.key, artifact.seq, artifact.seq, known=view.place)
        async for commit in part:
            for stored in commit.events:
                event = stored.event
                if stored.envelope.seq == artifact.seq and isinstance(event, UiToolRequested):
                    shown = {artifact.question_id: Component(event.ui_tool_id, event.display)}
                    return replace(
                        view,
                        artifact_payload=payload_of(stored.envelope, event),
                        components={**view.components, **shown},
                    )
        return None

    def _store(self, key: ChatKey, view: ChatView, size: int) -> None:
        self._evict(key)
        self._entries[key] = (view, size)
        self._bytes += size
        while len(self._entries) > MAX_CHATS or self._bytes > MAX_BYTES:
            self._evict(next(iter(self._entries)))

    def _evict(self, key: ChatKey) -> None:
        evicted = self._entries.pop(key, None)
        self._bytes -= 0 if evicted is None else evicted[1]


def _is_of(snapshot: ChatSnapshot, key: ChatKey, first: Commit | None) -> bool:
    started = None if first is None else first.events[0].event
    return isinstance(started, ChatStarted | ChatForked) and (snapshot.key, snapshot.user_id) == (
        key,
        started.user_id,
    )


def _size_of(view: ChatView) -> int:
    return len(to_json(view.artifact_payload))


def _is_retained(stored: StoredEvent) -> bool:
    """Whether a view keeps the body of the event."""
    return isinstance(stored.event, UiToolRequested | AttachmentUploaded)


def _apply(view: ChatView | None, stored: StoredEvent) -> ChatView | None:
    if view is None:
        if not isinstance(stored.event, ChatStarted):
            return None
        view = ChatView.before(stored.envelope)
    return apply(view, stored.envelope, stored.event)
