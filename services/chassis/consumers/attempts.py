"""Count the failed attempts of each message, in a key-value bucket that outlives processes.

JetStream's delivery count does not tell a message that fails from one that a stopping process
released, or that waited for an unavailable server; and a count in memory ends with its process.
"""

import logging
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts import subjects
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.publish import PUBLISH_ACK_SECONDS
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.secrets import process_redactor

log = logging.getLogger(__name__)

MAX_RETRY_DELAY_SECONDS = 30.0


def retry_delay(attempt: int) -> float:
    """Seconds until the next attempt: 1, 2, 4, at most MAX_RETRY_DELAY_SECONDS. Counts from 1."""
    return min(0.5 * float(1 << min(attempt, 10)), MAX_RETRY_DELAY_SECONDS)


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """What is recorded of a message; `dead_letter_reason` is set once it is a dead letter."""

    attempts: int = 0
    dead_letter_reason: str | None = None


class DeliveryAttempts:
    """The attempts of one durable consumer's messages.

    Nothing waits for the bucket: an attempt that cannot be recorded does not count, so that a full
    disk or an unavailable server exhausts no message.
    """

    def __init__(self, gateway: JetStreamGateway, durable: str) -> None:
        self._gateway = gateway
        self._durable = durable
        self._log = RateLimitedLog(log)

    async def read(self, message: Msg) -> AttemptRecord:
        try:
            values = await self._gateway.key_values.list_values(
                subjects.ATTEMPTS, self._prefix(message)
            )
        except (NatsUnavailableError, NatsRejectedError, NatsError) as error:
            self._log.warning("attempts cannot be read and do not count", why=repr(error))
            return AttemptRecord()
        reasons = [value.decode() for value in values if value]
        return AttemptRecord(len(values) - len(reasons), reasons[0] if reasons else None)

    async def record(self, message: Msg) -> None:
        """Count this delivery, once, however often it is recorded."""
        await self._put(self._delivery_key(message), b"")

    async def record_dead_letter(self, message: Msg, reason: str) -> None:
        """Record that the message is in DEAD_LETTERS, beyond the server's duplicate window."""
        without_secrets = process_redactor().without_any(reason or "unknown")
        await self._put(f"{self._prefix(message)}.dead", without_secrets.encode())

    async def remove(self, message: Msg) -> None:
        """Do not count this delivery; the answer is not waited for. Raises nats errors."""
        subject = subjects.bucket_subject(subjects.ATTEMPTS, self._delivery_key(message))
        await self._gateway.nc.publish(subject, headers={"KV-Operation": "DEL"})

    async def returns(self, message: Msg) -> int:
        """How many returns of a message are recorded; 0 where they cannot be read."""
        subject = subjects.bucket_subject(subjects.ATTEMPTS, self._returns_key(message))
        stream = subjects.bucket_stream(subjects.ATTEMPTS)
        try:
            stored = await self._gateway.reader.last(stream, subject)
        except (NatsUnavailableError, NatsRejectedError, NatsError) as error:
            self._log.warning("returns cannot be read and do not count", why=repr(error))
            return 0
        return 0 if stored is None else int(stored.data)

    async def record_return(self, message: Msg) -> None:
        """Count a return of the message to its queue that is no attempt."""
        count = await self.returns(message) + 1
        await self._put(self._returns_key(message), str(count).encode())

    async def _put(self, key: str, value: bytes) -> None:
        subject = subjects.bucket_subject(subjects.ATTEMPTS, key)
        try:
            await self._gateway.js.publish(subject, value, timeout=PUBLISH_ACK_SECONDS)
        except NatsError as error:
            self._log.warning("an attempt cannot be recorded and does not count", why=repr(error))

    def _delivery_key(self, message: Msg) -> str:
        return f"{self._prefix(message)}.{message.metadata.num_delivered}"

    def _returns_key(self, message: Msg) -> str:
        return f"{self._prefix(message)}-returned"

    def _prefix(self, message: Msg) -> str:
        metadata = message.metadata
        stored = int(metadata.timestamp.timestamp() * 1_000_000)
        return subjects.attempts_prefix(self._durable, metadata.sequence.stream, stored)
