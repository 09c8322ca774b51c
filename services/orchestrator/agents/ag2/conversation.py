"""A conversation as one agent remembers it, with AG2's events, kept and extended from turn to turn."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from operator import is_
from typing import Any, NamedTuple, Self

from ag2.events import BaseEvent

from contracts.ids import AgentName
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.domain.agent_conversation import (
    EMPTY_SIZE,
    ConversationSize,
    Message,
    closing_messages,
    first_unsummarised,
    messages_of_entry,
    opening_messages,
    others_message,
)
from services.orchestrator.domain.state import ChatState, Compacted, ConversationEntry
from services.orchestrator.domain.turn import Turn


class Remembered(NamedTuple):
    """A message, the AG2 event of it, and its part of a request's digest."""

    message: Message
    event: BaseEvent
    content: bytes

    @classmethod
    def of(cls, message: Message) -> Self:
        event = codec.event_of(message)
        return cls(message, event, codec.content_json(event))


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a model is given before the turn; it ends in a UserMessage.

    `known` are the contents of the first events, all but the last, for as long as they stay the same.
    """

    messages: Sequence[Message]
    events: Sequence[BaseEvent]
    size: ConversationSize
    known: "KnownContents"

    @classmethod
    def of(cls, messages: Sequence[Message]) -> Self:
        """A conversation that is used in one turn only."""
        size = EMPTY_SIZE
        for message in messages:
            size = size.after(message)
        return cls(messages, [codec.event_of(one) for one in messages], size, KnownContents())

    def digest(self, prompt: Sequence[str], events: Sequence[BaseEvent]) -> str:
        """As `codec.digest`, for a request that begins with this conversation."""
        return self.known.digest(prompt, events)


class KnownContents:
    """The events whose contents were hashed for a digest, and the hash of them after a prompt.

    Then the events of the turn that asks, which come after them and grow with each call.
    """

    def __init__(self) -> None:
        self.events: list[BaseEvent] = []
        self.contents: list[bytes] = []
        self._prompt = b""
        self._hash = sha256()
        self._hashed = 0
        self._turn: list[BaseEvent] = []
        self._turn_hash = self._hash.copy()

    def add(self, one: Remembered) -> None:
        self.events.append(one.event)
        self.contents.append(one.content)

    def digest(self, prompt: Sequence[str], events: Sequence[BaseEvent]) -> str:
        """As `codec.digest`; events that are the known ones are not converted and hashed again."""
        known = max(len(self.events) - 1, 0)  # the last is a request that a resumed turn repeats
        if events[:known] != self.events[:known]:  # quick: they are the same objects
            return codec.digest(prompt, events)
        beginning = b"[" + json.dumps(list(prompt), default=str).encode()
        if beginning != self._prompt:
            self._prompt, self._hash, self._hashed = beginning, sha256(beginning), 0
            self._turn, self._turn_hash = [], self._hash.copy()
        for content in self.contents[self._hashed : known]:
            self._hash.update(b", " + content)
        if self._hashed != known:
            self._hashed, self._turn, self._turn_hash = known, [], self._hash.copy()
        whole = self._hash_with_turn(events[known:]).copy()
        whole.update(b"]")
        digest: str = whole.hexdigest()
        return digest

    def _hash_with_turn(self, events: Sequence[BaseEvent]) -> Any:
        """The hash of the known events and these, of which the first were hashed for the call before."""
        hashed = len(self._turn)
        if len(events) < hashed or not all(map(is_, events, self._turn)):
            hashed, self._turn, self._turn_hash = 0, [], self._hash.copy()
        for event in events[hashed:]:
            self._turn_hash.update(b", " + codec.content_json(event))
            self._turn.append(event)
        return self._turn_hash


class AgentHistory:
    """The conversation of a chat as one agent remembers it, extended when a turn has ended.

    AG2's event of a message is the same object in every turn, so that what is computed of it can be
    used again. `seed` is the workflow's hidden first message.
    """

    def __init__(
        self, agent: AgentName, seed: str | None, shared: "SharedMessages | None" = None
    ) -> None:
        self._agent = agent
        self._seed = seed
        self._shared = SharedMessages() if shared is None else shared
        self._begun = False
        self._compacted: Compacted | None = None
        self._entries: Sequence[ConversationEntry] = ()
        self._messages: list[Message] = []
        self._size = EMPTY_SIZE
        self._known = KnownContents()

    def before_turn(self, state: ChatState) -> Conversation:
        """As `conversation_for`: the conversation before the open turn."""
        self._extend(state)
        return self._with(closing_messages(self._messages))

    def with_message(self, state: ChatState, message: Message) -> Conversation:
        """The conversation before the open turn, and a message that is not part of it."""
        self._extend(state)
        return self._with([message])

    def _with(self, added: Sequence[Message]) -> Conversation:
        size, known = self._size, self._known
        for message in added:
            size = size.after(message)
        events = [*known.events, *(codec.event_of(message) for message in added)]
        return Conversation([*self._messages, *added], events, size, known)

    def _extend(self, state: ChatState) -> None:
        if not self._is_before(state):
            self._begin(state)
        for entry in state.conversation[len(self._entries) :]:
            for one in self._shared.remembered(entry, self._agent):
                self._add(one)
        self._entries = state.conversation

    def _is_before(self, state: ChatState) -> bool:
        """Whether the conversation of a state begins with what is known here."""
        if not self._begun or state.compacted != self._compacted:
            return False
        return _begins_with(state.conversation, self._entries)

    def _begin(self, state: ChatState) -> None:
        self._begun, self._compacted = True, state.compacted
        self._entries = state.conversation[: first_unsummarised(state)]
        self._messages, self._size, self._known = [], EMPTY_SIZE, KnownContents()
        for message in opening_messages(state, self._seed):
            self._add(Remembered.of(message))

    def _add(self, one: Remembered) -> None:
        self._messages.append(one.message)
        self._size = self._size.after(one.message)
        self._known.add(one)


@dataclass(slots=True)
class SharedMessages:
    """The messages of entries that all agents but the speaker remember alike."""

    _found: dict[int, tuple[ConversationEntry, list[Remembered]]] = field(default_factory=dict)

    def remembered(self, entry: ConversationEntry, agent: AgentName) -> list[Remembered]:
        """How an agent remembers an entry."""
        message = others_message(entry, agent)
        if message is None:
            return [Remembered.of(one) for one in messages_of_entry(entry, agent)]
        found = self._found.get(id(entry))
        if found is None or found[0] is not entry:
            found = self._found[id(entry)] = (entry, [Remembered.of(message)])
        return found[1]


def _begins_with(entries: Sequence[ConversationEntry], known: Sequence[ConversationEntry]) -> bool:
    """Whether a conversation begins with known entries.

    An entry of an event that is about to be appended is another object once it is appended. Before
    an entry that is the same object there are the same entries.
    """
    if len(entries) < len(known):
        return False
    for entry, other in zip(reversed(entries[: len(known)]), reversed(known), strict=True):
        if entry is other:
            return True
        if not _is_same(entry, other):
            return False
    return True


def _is_same(entry: ConversationEntry, other: ConversationEntry) -> bool:
    """Whether two entries are of the same events."""
    if isinstance(entry, Turn) and isinstance(other, Turn):
        steps = len(entry.steps) == len(other.steps) and all(map(is_, entry.steps, other.steps))
        return steps and (entry.number, entry.agent, entry.text) == (
            other.number,
            other.agent,
            other.text,
        )
    return entry == other


def history_of(derived: dict[object, Any], agent: AgentName, seed: str | None) -> AgentHistory:
    """The history of an agent among what is derived from a chat (see `FoldedChat`)."""
    shared = derived.setdefault(SharedMessages, SharedMessages())
    key = (AgentHistory, agent, seed)
    history = derived.get(key)
    if history is None:
        history = derived[key] = AgentHistory(agent, seed, shared)
    assert isinstance(history, AgentHistory)  # noqa: S101  of this module's key
    return history
