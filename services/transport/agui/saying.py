"""Messages as they are said to a client that may have a part of them already."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ag_ui.core import (
    BaseEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
)

from contracts.ids import ChatId
from contracts.live import TextStreamed
from services.transport.agui import naming
from services.transport.agui.pieces import Words
from services.transport.speech import Call, call_of

Events = list[BaseEvent]


@dataclass(frozen=True, slots=True)
class _Open:
    """A message as the client has it, and as the attempt that goes on has it so far."""

    call: Call
    id: str
    client: str
    attempt: str = ""


class TornError(Exception):
    """The client has words that were not said in the end: another attempt replaced them."""


class Saying:
    """The message of the open model call, and whole ones: no word twice."""

    def __init__(self, chat: ChatId, known: Mapping[str, str]) -> None:
        self._chat = chat
        self._known = known
        self._open: _Open | None = None

    def chunk(self, chunk: TextStreamed) -> Events:
        """A chunk from the beginning is another attempt's: what it repeats is not said again."""
        call, now, begun = call_of(chunk), self._open, Events()
        if now is None or now.call != call:
            now = self._begun(call)
            begun = [*self.end(), TextMessageStartEvent(message_id=now.id, name=chunk.agent)]
        attempt = now.attempt[: chunk.offset] + chunk.text
        fresh = _beyond(now.client, attempt)
        self._open = replace(now, client=now.client + fresh, attempt=attempt)
        return begun + _content(now.id, fresh)

    def _begun(self, call: Call) -> _Open:
        name = naming.spoken(self._chat, call.turn, call.call)
        return _Open(call, name, self._known.get(name, ""))

    def whole(self, words: Words) -> Events:
        """A message that is complete. Raises TornError."""
        now = self._open
        if now is None or now.id != words.id:
            return self._at_once(words)
        _must_go_on(now.client, words)
        return [*_content(now.id, _beyond(now.client, words.text)), *self.end()]

    def _at_once(self, words: Words) -> Events:
        client = self._known.get(words.id)
        if client is not None and (client == words.text or words.role == "user"):
            return []
        _must_go_on(client or "", words)
        start = TextMessageStartEvent(message_id=words.id, role=words.role, name=words.name)
        fresh = _content(words.id, _beyond(client or "", words.text))
        return [start, *fresh, TextMessageEndEvent(message_id=words.id)]

    def end(self) -> Events:
        """Whatever is being said is said no further."""
        left, self._open = self._open, None
        return [] if left is None else [TextMessageEndEvent(message_id=left.id)]


def _must_go_on(client: str, words: Words) -> None:
    if not words.text.startswith(client):
        raise TornError


def _content(message: str, text: str) -> Events:
    return [TextMessageContentEvent(message_id=message, delta=text)] if text else []


def _beyond(client: str, whole: str) -> str:
    """What the client still lacks; nothing where it has more, or something else."""
    return whole[len(client) :] if whole.startswith(client) else ""
