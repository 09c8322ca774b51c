"""Clients that talk without a pause: python -m benchmarks.load.clients CHATS SECONDS ADDRESS...

Each client has a chat of its own over a WebSocket, sends a message, and sends the next one when it
has the whole answer. The first line on the standard output is `ready`, when every chat has had one
turn; the measured time begins with a line on the standard input. The last line is a JSON object:
the turns that ended in that time, the seconds, and each turn's milliseconds to its first chunk.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter

import httpx
from websockets.asyncio.client import ClientConnection, connect

from benchmarks.load.model import LAST_WORD
from benchmarks.load.workflow import NAME
from contracts.ids import new_message_id

APP = "acme"
QUESTION = "What is known about bread, and what of it is of use to a small bakery in a town?"
WARM_UP_SECONDS = 120.0
ENDING = LAST_WORD.encode()
USERS_TURN = b'"selected_speaker":"user"'


class FailedTurnError(Exception):
    """A turn ended without an answer: a rate would mean nothing."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The last line: whole turns in so many seconds, and when the first chunk of each came."""

    turns: int
    seconds: float
    first_chunk_ms: list[float]


class Talk:
    """What the clients share."""

    def __init__(self) -> None:
        self.warm = asyncio.Semaphore(0)
        self.counts = False
        self.first_chunk_ms: list[float] = []

    def record(self, sent: float, first: float) -> None:
        if self.counts:
            self.first_chunk_ms.append(round(1000 * (first - sent), 1))


async def _start(http: httpx.AsyncClient, address: str, user: str) -> str:
    answer = await http.post(
        f"{address}/api/chats/{APP}/{NAME}/start",
        json={"user_id": user, "client_request_id": user, "message": QUESTION},
    )
    answer.raise_for_status()
    return str(answer.json()["chat_id"])


async def _answered(socket: ClientConnection) -> float:
    """Read the answer and that it is the user's turn again; returns when its first text came."""
    first = 0.0
    while True:
        frame = await socket.recv(decode=False)
        if b'"chat.print"' in frame or ENDING in frame:
            first = first or perf_counter()
        elif b'"chat.select_speaker"' in frame and USERS_TURN in frame and first:
            return first
        elif b'"chat.error"' in frame or b'"chat.run_complete"' in frame:
            raise FailedTurnError(frame.decode())


async def _talk(address: str, user: str, talk: Talk) -> None:
    """One client, until it is cancelled. Raises FailedTurnError."""
    async with httpx.AsyncClient() as http:
        chat = await _start(http, address, user)
    path = f"{address.replace('http', 'ws', 1)}/ws/{NAME}/{APP}/{chat}/{user}?after=0"
    message = json.dumps({"type": "user.input.submit", "chat_id": chat, "text": QUESTION})
    async with connect(path, compression=None, ping_interval=None) as socket:
        await _answered(socket)
        talk.warm.release()
        while True:
            sent = perf_counter()
            await socket.send(message)
            talk.record(sent, await _answered(socket))


async def _measured(talk: Talk, chats: int, seconds: float) -> Answered:
    async with asyncio.timeout(WARM_UP_SECONDS):
        for _ in range(chats):
            await talk.warm.acquire()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    talk.counts, began = True, perf_counter()
    await asyncio.sleep(seconds)
    return Answered(len(talk.first_chunk_ms), perf_counter() - began, talk.first_chunk_ms)


async def main(chats: int, seconds: float, addresses: Sequence[str]) -> None:
    talk = Talk()
    measured = asyncio.create_task(_measured(talk, chats, seconds))
    talking = [
        asyncio.create_task(_talk(addresses[number % len(addresses)], new_message_id(), talk))
        for number in range(chats)
    ]
    done, _ = await asyncio.wait([measured, *talking], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()  # raises what ended a client
    print(json.dumps(asdict(await measured)), flush=True)
    for task in talking:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
