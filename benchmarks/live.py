"""Live: from publishing to a viewer's WebSocket, through a transport process."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol, Self

from nats.aio.client import Client
from nats.aio.msg import Msg
from websockets.asyncio.client import ClientConnection, connect

import mozaiks_client
from benchmarks import chats, stage
from benchmarks.figures import Aim, Figure, percentile
from contracts import subjects
from contracts.deltas import TextStreamed
from contracts.event_log import Decision
from contracts.ids import ChatKey
from infra.ports import LOOPBACK
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway

REPETITIONS = 7
MESSAGES = 150
WARM_UP = 100
ALL = WARM_UP + REPETITIONS * MESSAGES
LOST_SECONDS = 60.0
AIM = Aim(ratio=3)
OPENING: chats.Group = [chats.STARTED, chats.selected(1), chats.requested(1)]


class WrongFrameError(Exception):
    """A frame that is not the published message's: the figure would mean nothing."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it goes out, and what the frame that shows it must hold."""

    subject: str
    payload: bytes
    shown_by: bytes


class Watched:
    """A chat that somebody looks at, and the messages that are to reach them."""

    def __init__(self, messages_of: "Messages") -> None:
        self.key = chats.new_chat()
        (self.opening,) = chats.sealed(self.key, [OPENING])
        self.messages = messages_of(self.opening)


Messages = Callable[[Decision], Iterator[Message]]
"""What happens in a chat after its opening."""
Seconds = list[float]


async def measure(server: NatsServer) -> list[Figure]:
    async with (
        stage.gateway(server) as gateway,
        stage.plain(server) as publisher,
        stage.plain(server) as subscriber,
        stage.process("transport", server) as transport,
    ):
        figures: list[Figure] = []
        for name, messages in (("stored event", _events), ("text chunk", _chunks)):
            plain, viewed = Watched(messages), Watched(messages)
            for chat in (plain, viewed):
                await chats.store(gateway, [chat.opening])
            address = f"ws://{LOOPBACK}:{transport.port}{_path(viewed.key)}?after=0"
            async with connect(address) as socket, asyncio.timeout(LOST_SECONDS):
                await _replayed(socket)
                hears = await Plain.subscribed(subscriber, publisher, plain)
                figures += await _figures(name, hears, Viewer(socket, publisher, viewed))
        return [*figures, await _client(gateway, publisher, transport.port)]


async def _client(gateway: JetStreamGateway, publisher: Client, port: int) -> Figure:
    """The Python client beside a socket whose frames nobody parses."""
    raw, typed = Watched(_events), Watched(_events)
    for chat in (raw, typed):
        await chats.store(gateway, [chat.opening])
    async with (
        connect(f"ws://{LOOPBACK}:{port}{_path(raw.key)}?after=0") as socket,
        mozaiks_client.Client(
            f"http://{LOOPBACK}:{port}", app=typed.key.app, user=chats.PERSON
        ) as client,
        aclosing(client.chat(typed.key.chat, chats.WORKFLOW).stream()) as frames,
        asyncio.timeout(LOST_SECONDS),
    ):
        await _replayed(socket)
        while (await anext(frames)).type != "chat.resume_boundary":
            pass
        viewer, reader = Viewer(socket, publisher, raw), Reader(frames, publisher, typed)
        await _alternating(viewer, reader, WARM_UP)
        runs = [await _alternating(viewer, reader, MESSAGES) for _ in range(REPETITIONS)]
    return Figure(
        "stored event to the Python client, p50",
        "ms",
        [1000 * percentile(taken, 50) for _, taken in runs],
        [1000 * percentile(taken, 50) for taken, _ in runs],
        note="floor: the same frame off the socket, not parsed",
    )


async def _figures(name: str, plain: "Plain", viewer: "Viewer") -> list[Figure]:
    await _alternating(plain, viewer, WARM_UP)
    runs = [await _alternating(plain, viewer, MESSAGES) for _ in range(REPETITIONS)]
    return [
        Figure(
            f"{name} to socket, p{percent}",
            "ms",
            [1000 * percentile(shown, percent) for _, shown in runs],
            [1000 * percentile(heard, percent) for heard, _ in runs],
            AIM if percent == 50 else None,
        )
        for percent in (50, 99)
    ]


class Timed(Protocol):
    async def next(self) -> float:
        """Seconds from publishing a message to having it."""


async def _alternating(floor: Timed, ours: Timed, messages: int) -> tuple[Seconds, Seconds]:
    """Each message for one of the two alone, so that neither waits for the other's."""
    heard: Seconds = []
    shown: Seconds = []
    for _ in range(messages):
        heard.append(await floor.next())
        shown.append(await ours.next())
    return heard, shown


class Plain:
    """Hears of a chat by a plain subscription to its live subject."""

    def __init__(self, publisher: Client, chat: Watched) -> None:
        self._publisher = publisher
        self._chat = chat
        self._awaited = b""
        self._heard: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    @classmethod
    async def subscribed(cls, nc: Client, publisher: Client, chat: Watched) -> Self:
        plain = cls(publisher, chat)
        await nc.subscribe(subjects.live(chat.key), cb=plain._on_live)
        await nc.flush()
        return plain

    async def _on_live(self, message: Msg) -> None:
        if message.data == self._awaited:  # the opening's republication may come late
            self._heard.set_result(perf_counter())

    async def next(self) -> float:
        """Seconds from publishing a message to having it."""
        message = next(self._chat.messages)
        self._awaited = message.payload
        self._heard = asyncio.get_running_loop().create_future()
        began = perf_counter()
        await self._publisher.publish(message.subject, message.payload)
        return await self._heard - began


class Viewer:
    """Sees a chat by the transport's WebSocket."""

    def __init__(self, socket: ClientConnection, publisher: Client, chat: Watched) -> None:
        self._socket = socket
        self._publisher = publisher
        self._chat = chat

    async def next(self) -> float:
        """Seconds from publishing a message to having its frame."""
        message = next(self._chat.messages)
        began = perf_counter()
        await self._publisher.publish(message.subject, message.payload)
        frame = await self._socket.recv(decode=False)
        taken = perf_counter() - began
        if message.shown_by not in frame:
            raise WrongFrameError(f"{message.shown_by!r} is not in {frame[:200]!r}")
        return taken


class Reader:
    """Reads a chat by the Python client."""

    def __init__(
        self, frames: AsyncIterator[mozaiks_client.Frame], publisher: Client, chat: Watched
    ) -> None:
        self._frames = frames
        self._publisher = publisher
        self._chat = chat

    async def next(self) -> float:
        """Seconds from publishing a message to having its frame."""
        message = next(self._chat.messages)
        began = perf_counter()
        await self._publisher.publish(message.subject, message.payload)
        frame = await anext(self._frames)
        taken = perf_counter() - began
        if message.shown_by.decode() != getattr(frame.data, "content", None):
            raise WrongFrameError(f"{message.shown_by!r} is not in {frame}")
        return taken


async def _replayed(socket: ClientConnection) -> None:
    """Read until the history is behind us: from here on one message makes one frame."""
    while b'"chat.resume_boundary"' not in await socket.recv(decode=False):
        pass


def _path(key: ChatKey) -> str:
    return f"/ws/{chats.WORKFLOW}/{key.app}/{key.chat}/{chats.PERSON}"


def _events(opening: Decision) -> Iterator[Message]:
    """A person's words, one event each, made before the clock runs."""
    words = [f"word number {place}." for place in range(ALL)]
    decisions = chats.sealed(opening.key, [[chats.said(one)] for one in words], opening.head)
    subject = subjects.event(opening.key, "runtime")
    pairs = zip(decisions, words, strict=True)
    return iter([Message(subject, one.data, text.encode()) for one, text in pairs])


def _chunks(opening: Decision) -> Iterator[Message]:
    """Words of the open model call, each where the one before ended."""
    made: list[Message] = []
    offset = 0
    for place in range(ALL):
        chunk = TextStreamed(
            turn=1,
            call=0,
            agent=chats.AGENT,
            runner=chats.DELIVERY.runner,
            offset=offset,
            text=f"word-{place} ",
        )
        offset += len(chunk.text)
        payload = chunk.model_dump_json().encode()
        made.append(Message(subjects.delta(opening.key), payload, chunk.text.encode()))
    return iter(made)
