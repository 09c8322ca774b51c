"""A peer as a process: it runs turns when asked to, over a loopback connection with a line of JSON each.

Runs in the peers' own environment: nothing of this project is imported, and nothing that one of the
peers brings. What is asked: `{"do": "turns", "chats": [...], "turns": n}`, `{"do": "open", "chat": c}`,
`{"do": "start", "chats": [...]}`, `{"do": "heard"}`.
"""

import asyncio
import json
import re
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol

LOOPBACK = "127.0.0.1"
PROMPT = "You answer questions about bread."
QUESTION = "What is known about bread, and what of it is of use to a small bakery in a town?"
RESULT_BYTES = 200
MODEL = "stub-model"
SENT_AT = re.compile(r"\bt(\d{10,})\b")
"""As `benchmarks.load.model` writes it."""
LINE_BYTES = 1 << 20

OnText = Callable[[str], None]


def result_of(topic: str) -> str:
    """What the tool returns: RESULT_BYTES, whatever it is asked."""
    del topic
    return "x" * RESULT_BYTES


class Peer(Protocol):
    """What each peer does in its own way."""

    async def turn(self, chat: str, on_text: OnText) -> None:
        """The user says QUESTION; `on_text` gets each piece of the answer. Ends when it is stored."""

    async def start(self, chat: str) -> None:
        """Make the chat, stored, without a turn."""

    async def open(self, chat: str) -> bytes:
        """All messages of the chat, read from where they are stored, as JSON."""


class Watch:
    """When a turn's first text came, and how long paced text took to come."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.first: float | None = None
        self.lags: list[float] = []

    def on_text(self, text: str) -> None:
        now = time.monotonic_ns()
        if not text:
            return
        if self.first is None:
            self.first = now / 1e9 - self.began
        self.lags += [(now - int(sent)) / 1e9 for sent in SENT_AT.findall(text)]


class Heard:
    """The first text of turns that nobody in this process has asked for: of recovered ones."""

    first: float | None = None

    @classmethod
    def on_text(cls, text: str) -> None:
        if text and cls.first is None:
            cls.first = time.monotonic()


async def _turns(peer: Peer, chats: list[str], turns: int) -> dict[str, Any]:
    watches: list[Watch] = []

    async def converse(chat: str) -> None:
        for _ in range(turns):
            watch = Watch()
            await peer.turn(chat, watch.on_text)
            watches.append(watch)

    began = time.monotonic()
    await asyncio.gather(*map(converse, chats))
    return {
        "seconds": time.monotonic() - began,
        "began": [watch.began for watch in watches],
        "first": [watch.first for watch in watches],
        "lags": [lag for watch in watches for lag in watch.lags],
    }


async def _start(peer: Peer, chats: list[str]) -> dict[str, Any]:
    async def start(chat: str) -> float:
        began = time.monotonic()
        await peer.start(chat)
        return time.monotonic() - began

    return {"seconds": await asyncio.gather(*map(start, chats))}


async def _open(peer: Peer, chat: str) -> dict[str, Any]:
    began = time.monotonic()
    page = await peer.open(chat)
    return {"seconds": time.monotonic() - began, "bytes": len(page)}


async def _do(peer: Peer, asked: dict[str, Any]) -> dict[str, Any]:
    match asked["do"]:
        case "turns":
            return await _turns(peer, asked["chats"], asked["turns"])
        case "start":
            return await _start(peer, asked["chats"])
        case "open":
            return await _open(peer, asked["chat"])
        case "heard":
            return {"first": Heard.first}
        case other:
            raise ValueError(f"do: {other!r}; accepted: turns, start, open, heard")


async def _listen(peer: Peer, port: int) -> None:
    async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            try:
                answer = await _do(peer, json.loads(line))
            except Exception:  # noqa: BLE001  whoever asked raises it
                answer = {"error": traceback.format_exc()}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()

    server = await asyncio.start_server(on_connection, LOOPBACK, port, limit=LINE_BYTES)
    async with server:
        await server.serve_forever()


async def serve(peer: Peer) -> None:
    """Listen on the port that is the program's first argument, until the process is stopped."""
    await _listen(peer, int(sys.argv[1]))
