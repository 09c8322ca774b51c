"""The unacknowledged messages of this process, kept from redelivery by in-progress acknowledgements."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.chassis.logs.repeats import RateLimitedLog

log = logging.getLogger(__name__)

HEARTBEATS_PER_ACK_WAIT = 4
_Identity = tuple[str, str, int]
"""Stream, consumer and position of a message."""


class InFlightMessages:
    """Sends the heartbeats of a connection's messages, with one task for each ack wait in use.

    A message is added once it is fetched, also where it waits for a handler, and removed once it is
    settled or another process has it.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._heartbeats: dict[float, _Heartbeat] = {}
        self._delayed: dict[_Identity, float] = {}
        self._delays: list[tuple[float, _Identity]] = []
        """A heap of the same, of which a message that was delayed again has several."""

    def __contains__(self, message: Msg) -> bool:
        return any(message.reply in group.messages for group in self._heartbeats.values())

    def add(self, messages: Iterable[Msg], ack_wait_seconds: float) -> None:
        """Keep messages from redelivery until they are removed, however long that takes."""
        if ack_wait_seconds not in self._heartbeats:
            self._heartbeats[ack_wait_seconds] = _Heartbeat(self._nc, ack_wait_seconds)
        self._heartbeats[ack_wait_seconds].add(messages)

    def remove(self, messages: Iterable[Msg]) -> None:
        for message in messages:
            for group in self._heartbeats.values():
                group.messages.pop(message.reply, None)

    def delay(self, message: Msg, seconds: float) -> None:
        """Remember for so long that the message is in no process because this one delays it."""
        now = asyncio.get_running_loop().time()
        while self._delays and self._delays[0][0] <= now:
            until, ended = heappop(self._delays)
            if self._delayed.get(ended) == until:
                del self._delayed[ended]
        identity, until = _identity(message), now + seconds
        self._delayed[identity] = until
        heappush(self._delays, (until, identity))

    def positions(self, stream: str, durable: str) -> set[int]:
        """The stream positions of a consumer's messages that this process handles or delays."""
        now = asyncio.get_running_loop().time()
        delayed = (one for one, until in self._delayed.items() if until > now)
        held = (_identity(one) for group in self._heartbeats.values() for one in group)
        return {one[2] for one in (*held, *delayed) if one[:2] == (stream, durable)}


class _Heartbeat:
    """The messages with one ack wait. Its task lives while there are any."""

    def __init__(self, nc: Client, ack_wait_seconds: float) -> None:
        self.messages: dict[str, Msg] = {}
        self._nc = nc
        self._interval = ack_wait_seconds / HEARTBEATS_PER_ACK_WAIT
        self._sending: asyncio.Task[None] | None = None
        self._log = RateLimitedLog(log)

    def __iter__(self) -> Iterator[Msg]:
        return iter(self.messages.values())

    def add(self, messages: Iterable[Msg]) -> None:
        self.messages.update({message.reply: message for message in messages})
        if self.messages and (self._sending is None or self._sending.done()):
            self._sending = asyncio.create_task(self._send(), name="ack heartbeat")

    async def _send(self) -> None:
        while self.messages and not self._nc.is_closed:
            await asyncio.sleep(self._interval)
            try:
                await self._send_once()
            except (NatsError, OSError) as error:  # redelivery is safe; ending the heartbeat is not
                self._log.warning("ack heartbeat failed", why=repr(error))

    async def _send_once(self) -> None:
        """nats-py writes all of these to the socket together: publishing only fills its buffer."""
        for reply in list(self.messages):
            if (
                reply in self.messages
            ):  # a heartbeat after a delayed redelivery would undo the delay
                await self._nc.publish(reply, Msg.Ack.Progress)


def _identity(message: Msg) -> _Identity:
    metadata = message.metadata
    return metadata.stream, metadata.consumer, metadata.sequence.stream
