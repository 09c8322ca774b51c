"""How often each message was tried in vain: noted in a bucket, shared by all, outliving each process.

JetStream's own count of deliveries cannot tell a message that fails from one that a stopping process
handed over, or that waited out an outage; and what a process remembers dies with it.
"""

import logging
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts import subjects
from services.chassis.bus import ACK_SECONDS, Bus
from services.chassis.direct_get import RefusedError, UnavailableError
from services.chassis.logs import SparingLog

log = logging.getLogger(__name__)

MAX_PAUSE_SECONDS = 30.0


def pause(attempt: int) -> float:
    """Seconds until the next try: 1, 2, 4, at most MAX_PAUSE_SECONDS. `attempt` counts from 1."""
    return min(0.5 * float(1 << min(attempt, 10)), MAX_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True)
class Record:
    """What is noted of a message: tries in vain, and the reason once it is a dead letter."""

    tries: int = 0
    dead: str | None = None


class Tries:
    """The tries of one durable consumer's messages.

    Nothing waits for the bucket: a try that cannot be noted does not count, so that a full disk or
    an absent server uses up no message. What bounds a message then is settling.MAX_DELIVERIES.
    """

    def __init__(self, bus: Bus, durable: str) -> None:
        self._bus = bus
        self._durable = durable
        self._log = SparingLog(log)

    async def known(self, message: Msg) -> Record:
        try:
            noted = await self._bus.values_under(subjects.TRIES, self._place(message))
        except (UnavailableError, RefusedError, NatsError) as away:
            self._log.warning("tries cannot be read, none is counted", why=repr(away))
            return Record()
        reasons = [value.decode() for value in noted if value]
        return Record(len(noted) - len(reasons), reasons[0] if reasons else None)

    async def note(self, message: Msg) -> None:
        """Count this delivery, once, however often it is noted."""
        await self._keep(self._this(message), b"")

    async def note_dead(self, message: Msg, reason: str) -> None:
        """Remember that the message is in DEAD_LETTERS, for as long as the server may forget its id."""
        await self._keep(f"{self._place(message)}.dead", (reason or "unknown").encode())

    async def forgive(self, message: Msg) -> None:
        """Do not count this delivery after all; not waited for. Raises nats errors."""
        subject = subjects.bucket_subject(subjects.TRIES, self._this(message))
        await self._bus.nc.publish(subject, headers={"KV-Operation": "DEL"})

    async def _keep(self, key: str, value: bytes) -> None:
        subject = subjects.bucket_subject(subjects.TRIES, key)
        try:
            await self._bus.js.publish(subject, value, timeout=ACK_SECONDS)
        except NatsError as away:
            self._log.warning("a try cannot be noted, it is not counted", why=repr(away))

    def _this(self, message: Msg) -> str:
        return f"{self._place(message)}.{message.metadata.num_delivered}"

    def _place(self, message: Msg) -> str:
        told = message.metadata
        stored = int(told.timestamp.timestamp() * 1_000_000)
        return subjects.tries_prefix(self._durable, told.sequence.stream, stored)
