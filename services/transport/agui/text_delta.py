"""Text deltas: streams messages to a client that may have the beginning already."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ag_ui.core import (
    BaseEvent,
    TextMessageContentEvent,
    TextMessageEndEvent,
    TextMessageStartEvent,
)

from contracts.deltas import TextStreamed
from contracts.ids import ChatId
from contracts.streamed_text import CallId, call_id
from services.transport.agui import ids
from services.transport.agui.messages import TextPart

Events = list[BaseEvent]


@dataclass(frozen=True, slots=True)
class _OpenMessage:
    """An open message: the text that was sent, and the text of the current attempt of the model call."""

    call: CallId
    id: str
    sent: str
    attempt: str = ""


class TextReplacedError(Exception):
    """The client has text that another attempt of the model call replaced."""


class TextDeltas:
    """Maps chunks and complete messages to text events, without sending any text twice."""

    def __init__(self, chat: ChatId, sent_texts: Mapping[str, str]) -> None:
        self._chat = chat
        self._sent_texts = sent_texts
        self._open: _OpenMessage | None = None

    def add_chunk(self, chunk: TextStreamed) -> Events:
        """A chunk at offset 0 starts another attempt; text that it repeats is not sent again."""
        call, current, opening = call_id(chunk), self._open, Events()
        if current is None or current.call != call:
            current = self._start(call)
            opening = [
                *self.end(),
                TextMessageStartEvent(message_id=current.id, name=chunk.agent),
            ]
        attempt = current.attempt[: chunk.offset] + chunk.text
        new_text = _remaining(current.sent, attempt)
        self._open = replace(current, sent=current.sent + new_text, attempt=attempt)
        return opening + _content(current.id, new_text)

    def _start(self, call: CallId) -> _OpenMessage:
        message_id = ids.model_message_id(self._chat, call.turn, call.call)
        return _OpenMessage(call, message_id, self._sent_texts.get(message_id, ""))

    def complete(self, part: TextPart) -> Events:
        """A complete message. Raises TextReplacedError."""
        current = self._open
        if current is None or current.id != part.id:
            return self._whole_message(part)
        _require_prefix(current.sent, part)
        return [*_content(current.id, _remaining(current.sent, part.text)), *self.end()]

    def _whole_message(self, part: TextPart) -> Events:
        sent = self._sent_texts.get(part.id)
        if sent is not None and (sent == part.text or part.role == "user"):
            return []
        _require_prefix(sent or "", part)
        start = TextMessageStartEvent(message_id=part.id, role=part.role, name=part.name)
        new_text = _content(part.id, _remaining(sent or "", part.text))
        return [start, *new_text, TextMessageEndEvent(message_id=part.id)]

    def forget(self, call: CallId) -> bool:
        """The text of a call begins anew, as another message; whether the client has some of it."""
        message_id = ids.model_message_id(self._chat, call.turn, call.call)
        known = message_id in self._sent_texts
        self._sent_texts = {
            key: text for key, text in self._sent_texts.items() if key != message_id
        }
        return known or (self._open is not None and self._open.call == call)

    def end(self) -> Events:
        """End the open message, if there is one."""
        closed, self._open = self._open, None
        return [] if closed is None else [TextMessageEndEvent(message_id=closed.id)]


def _require_prefix(sent: str, part: TextPart) -> None:
    if not part.text.startswith(sent):
        raise TextReplacedError


def _content(message: str, text: str) -> Events:
    return [TextMessageContentEvent(message_id=message, delta=text)] if text else []


def _remaining(sent: str, complete: str) -> str:
    """The rest of the text; nothing where the client has more, or another text."""
    return complete[len(sent) :] if complete.startswith(sent) else ""
