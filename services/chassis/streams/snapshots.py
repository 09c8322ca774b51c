"""Save a stream to a file and bring it back, as nats-server itself writes it (JetStream's snapshots).

A snapshot is of one moment, while others go on to write. It has the stream's positions, times, headers
and consumers. The subjects are those that `nats stream backup` and `nats stream restore` use.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError

from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.subscription import subscribed

API_SECONDS = 30.0
"""How long JetStream may take to answer; it begins a snapshot before it does."""
CHUNK_SECONDS = 60.0
"""How long the next chunk may take."""
CHUNK_BYTES = 128 * 1024
Config = Mapping[str, Any]
Write = Callable[[bytes], object]


class SnapshotError(Exception):
    """A stream cannot be saved or brought back; the message has the stream and the reason."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A stream's configuration, and its state as of the snapshot, as JetStream writes them."""

    config: Config
    state: Mapping[str, Any]


async def save_stream(nc: Client, stream: str, write: Write) -> Saved | None:
    """Hand the chunks of a snapshot to `write`, in order; None where there is no such stream.

    Raises SnapshotError, NatsUnavailableError.
    """
    chunks: asyncio.Queue[Msg] = asyncio.Queue()
    inbox = nc.new_inbox()
    async with subscribed(nc, inbox, chunks.put):
        asked = {"deliver_subject": inbox, "no_consumers": False, "chunk_size": CHUNK_BYTES}
        try:
            begun = await _ask(nc, "SNAPSHOT", stream, asked)
        except NotFoundError:
            return None
        async for chunk in _received(nc, stream, chunks):
            write(chunk)
    return Saved(begun["config"], begun["state"])


async def _received(nc: Client, stream: str, chunks: "asyncio.Queue[Msg]") -> AsyncIterator[bytes]:
    """Chunks until the empty one; each is acknowledged, which lets the server go on."""
    while True:
        try:
            async with asyncio.timeout(CHUNK_SECONDS):
                message = await chunks.get()
        except TimeoutError:
            raise NatsUnavailableError(f"snapshot of {stream}: no more chunks") from None
        if not message.data:
            status = (message.headers or {}).get("Status", "204")
            if not status.startswith("2"):
                why = (message.headers or {}).get("Description", status)
                raise SnapshotError(f"{stream}: {why}")
            return
        yield message.data
        if message.reply:
            await nc.publish(message.reply)


async def restore_stream(nc: Client, saved: Saved, chunks: Iterator[bytes]) -> Mapping[str, Any]:
    """Bring back a stream that does not exist; returns its state. Raises SnapshotError, NatsUnavailableError."""
    stream = str(saved.config["name"])
    asked = {"config": saved.config, "state": saved.state}
    try:
        begun = await _ask(nc, "RESTORE", stream, asked)
        for chunk in chunks:
            await _given(nc, stream, begun["deliver_subject"], chunk)
        return dict((await _given(nc, stream, begun["deliver_subject"], b""))["state"])
    except APIError as refused:
        raise SnapshotError(f"{stream}: {refused.description}") from refused


async def _given(nc: Client, stream: str, subject: str, chunk: bytes) -> Mapping[str, Any]:
    reply = await _request(nc, f"restore {stream}", subject, chunk)
    return _answer(reply) if reply else {}


async def message_count(nc: Client, stream: str) -> int:
    """How many messages a stream has; 0 where there is none. Raises NatsUnavailableError."""
    try:
        return int((await _ask(nc, "INFO", stream, {}))["state"]["messages"])
    except NotFoundError:
        return 0


async def delete_stream(nc: Client, stream: str) -> None:
    """Delete a stream, if there is one. Raises NatsUnavailableError."""
    with suppress(NotFoundError):
        await _ask(nc, "DELETE", stream, {})


async def stream_names(nc: Client) -> list[str]:
    """Every stream of the account. Raises NatsUnavailableError."""
    found: list[str] = []
    while True:
        reply = await _request(
            nc, "list streams", "$JS.API.STREAM.NAMES", json.dumps({"offset": len(found)}).encode()
        )
        page = _answer(reply)
        found += page.get("streams") or []
        if not page.get("streams") or len(found) >= page["total"]:
            return found


async def _ask(nc: Client, verb: str, stream: str, body: Config) -> Mapping[str, Any]:
    """Raises APIError, NatsUnavailableError."""
    data = json.dumps(body).encode() if body else b""
    return _answer(await _request(nc, f"{verb} {stream}", f"$JS.API.STREAM.{verb}.{stream}", data))


async def _request(nc: Client, what: str, subject: str, data: bytes) -> bytes:
    try:
        return (await nc.request(subject, data, timeout=API_SECONDS)).data
    except (NatsError, OSError) as unavailable:
        raise NatsUnavailableError(f"{what}: no answer ({unavailable})") from unavailable


def _answer(data: bytes) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = json.loads(data)
    if "error" in answer:
        raise APIError.from_error(dict(answer["error"]))
    return answer
