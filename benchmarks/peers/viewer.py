"""A user of the product in a chat of their own, over a WebSocket: sends a message, reads until it is their turn."""

import json
import time
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection

from benchmarks.load.clients import QUESTION
from benchmarks.load.model import FIRST_WORD, SENT_AT

_TEXT = (b'{"type":"chat.print"', b'{"type":"chat.text"')
_ANSWER = FIRST_WORD.encode()
_SPEAKER = b'{"type":"chat.select_speaker"'
_USER_SPEAKS = b'"selected_speaker":"user"'
_FAILED = b'{"type":"chat.error"'


class FailedTurnError(Exception):
    """The turn ended without an answer: the figure would mean nothing."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn as its user saw it; seconds."""

    began: float
    """When the message was sent, on the monotonic clock of this machine."""
    first: float
    """Until the first text."""
    lags: list[float]
    """Of paced text, from the model to the user."""
    events: int
    """How many the turn added to the chat's log."""


@dataclass(slots=True)
class Viewer:
    """Connected, with everything read that has happened so far."""

    chat: str
    user: str
    socket: ClientConnection
    seq: int = 0
    seen: set[bytes] = field(default_factory=set)

    async def turn(self) -> Turn:
        """Raises FailedTurnError."""
        began, before = time.monotonic(), self.seq
        await self.send()
        first = 0.0
        lags: list[float] = []
        while True:
            frame = await self.socket.recv(decode=False)
            now = time.monotonic_ns()
            if frame.startswith(_TEXT):
                if not first and _ANSWER in frame:
                    first = now / 1e9 - began
                lags += [(now - sent) / 1e9 for sent in self.new_times(frame)]
            elif frame.startswith(_SPEAKER) and _USER_SPEAKS in frame:
                self.seq = seq_of(frame)
                return Turn(began, first, lags, self.seq - before)
            elif frame.startswith(_FAILED):
                raise FailedTurnError(frame.decode())

    async def send(self) -> None:
        message = {"type": "user.input.submit", "chat_id": self.chat, "text": QUESTION}
        await self.socket.send(json.dumps(message))

    async def next_text(self, sent_after: float = 0.0) -> float:
        """When text came that the model sent after this moment; monotonic seconds."""
        while True:
            frame = await self.socket.recv(decode=False)
            now = time.monotonic()
            if any(sent / 1e9 > sent_after for sent in self.new_times(frame)):
                return now

    async def until_own_turn(self) -> None:
        while True:
            frame = await self.socket.recv(decode=False)
            if frame.startswith(_SPEAKER) and _USER_SPEAKS in frame:
                self.seq = seq_of(frame)
                return

    def new_times(self, frame: bytes) -> list[int]:
        """Times of sending that came for the first time: the whole text repeats them at the end."""
        new = [sent for sent in SENT_AT.findall(frame) if sent not in self.seen]
        self.seen.update(new)
        return [int(sent) for sent in new]


def seq_of(frame: bytes) -> int:
    return int(frame.rpartition(b'"seq":')[2].rstrip(b"}"))
