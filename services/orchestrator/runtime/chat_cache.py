"""Cache of folded chats: the state and log position of the chats that this process used last."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from contracts.codec import Fact
from contracts.event_log import StoredEvent
from contracts.ids import ChatKey
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.jetstream.event_log import START, Commit, Place
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState

MAX_CHATS = 512
"""Chats that are kept; any other is folded again from its first event."""
MAX_BYTES = 32 * 1024 * 1024
"""Limit of the stored events that the states are folded from: objects take several times as much."""
CHAT_BYTES = 2048
"""Size that is counted for a chat beside its events."""
_OF_RUNS = ("turn.", "run.", "human.asked", "ui.tool_requested")
"""Types of events that a run appends."""


@dataclass(frozen=True, slots=True)
class FoldedChat:
    """A chat's state after the message at `place`.

    `size` is the size of the events in bytes, with their large values. `derived` holds what else is computed from the state
    at some cost and is used again at the next turn, by whoever computes it: it is kept and evicted
    with the chat. `run_trace` is the `traceparent` of the newest event of a run. A chat that is not
    whole was read from a snapshot: it cannot be rewound (see `bounded`).
    """

    state: ChatState = field(default_factory=ChatState)
    place: Place = START
    size: int = CHAT_BYTES
    derived: dict[object, Any] = field(default_factory=dict)
    run_trace: str | None = None
    is_whole: bool = True

    def with_events(self, events: Iterable[StoredEvent]) -> "FoldedChat":
        """The chat with events that follow, before the position of their message is known.

        Raises NewerReleaseError: what was decided without an event that is not understood could
        contradict it.
        """
        state, size, trace = self.state, self.size, self.run_trace
        for one in events:
            state = _evolved(state, one)
            size += one.size
            if one.envelope.type.startswith(_OF_RUNS):
                trace = one.envelope.trace or trace
        return FoldedChat(state, self.place, size, self.derived, trace, self.is_whole)

    def at(self, place: Place) -> "FoldedChat":
        """The same at the place of the message that its last events are from."""
        return FoldedChat(self.state, place, self.size, self.derived, self.run_trace, self.is_whole)

    def after(self, commit: Commit) -> "FoldedChat":
        """The chat after the next message of its log."""
        return self.with_events(commit.events).at(commit.place)


def _evolved(state: ChatState, stored: StoredEvent) -> ChatState:
    if stored.event is None:
        envelope = stored.envelope
        kind = f"{envelope.type} version {envelope.version}"
        raise NewerReleaseError(f"event {envelope.seq} is {kind}, which this release does not know")
    return evolve(state, Fact(stored.envelope, stored.event))


class ChatCache:
    """The chats that were used last, by number and by size.

    An entry may be stale, or of a log that does not exist any more: whoever uses one must append
    with its position as the expected one, or compare it with the log.
    """

    def __init__(self, connections: Callable[[], int] = lambda: 0) -> None:
        """`connections` counts the connections to NATS so far."""
        self._connections = connections
        self._entries: OrderedDict[ChatKey, tuple[FoldedChat, int]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: ChatKey) -> FoldedChat:
        """The chat as it was last known here; without any event if it is not in the cache."""
        found = self._entries.get(key)
        if found is None:
            return FoldedChat()
        self._entries.move_to_end(key)
        return found[0]

    def is_trusted(self, key: ChatKey) -> bool:
        """Whether the chat was read or appended to over the present connection.

        Behind another connection there may be another log, which has the same positions.
        """
        found = self._entries.get(key)
        return found is not None and found[1] == self._connections()

    def put(self, key: ChatKey, chat: FoldedChat) -> None:
        """Keep a chat, unless it is known here at a later position."""
        known = self._entries.get(key)
        if known is not None and known[0].place.position > chat.place.position:
            return
        self.discard(key)
        self._entries[key] = (chat, self._connections())
        self._size += chat.size
        while len(self._entries) > MAX_CHATS or self._size > MAX_BYTES:
            self.discard(next(iter(self._entries)))

    def discard(self, key: ChatKey) -> None:
        """Forget a chat: its log is not the one that was read."""
        evicted = self._entries.pop(key, None)
        self._size -= 0 if evicted is None else evicted[0].size

    async def clear(self) -> None:
        """Forget all chats: the stream of their logs was created anew."""
        self._entries.clear()
        self._size = 0
