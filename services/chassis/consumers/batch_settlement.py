"""Apply a batch of stored messages: acknowledge, wait for a server, or find and dead-letter poison."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from nats.aio.msg import Msg

from contracts.codec import UnreadableMessageError
from services.chassis.consumers.attempts import retry_delay
from services.chassis.consumers.errors import NewerReleaseError
from services.chassis.consumers.settlement import Settlement, error_of
from services.chassis.dead_letters.letter import reason_of
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.nats.unavailable import is_unavailable

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
MAX_WAITS = 6
"""How often a batch is retried in place while a server is unavailable, half a minute in all, before
it is returned: what only seems to be an outage must not block the other messages."""

Apply = Callable[[Sequence[Msg]], Awaitable[None]]
"""Applies messages in stream order. Idempotent."""


class BatchSettlement:
    """Settles the batches of one durable consumer."""

    def __init__(self, settlement: Settlement) -> None:
        self._settlement = settlement
        self._log = RateLimitedLog(log)
        self._returned: set[int] = set()
        """Positions returned because a server was unavailable; at most max_ack_pending."""

    async def process(self, messages: Sequence[Msg], apply: Apply) -> None:
        """Apply and settle each message; where this task is cancelled, release them.

        Redelivered messages are applied alone: one of them may have crashed its process. Raises
        nats errors.
        """
        try:
            suspects = [message for message in messages if self._is_suspect(message)]
            fresh = [message for message in messages if not self._is_suspect(message)]
            if fresh:
                await self._apply_or_halve(fresh, apply)
            for suspect in suspects:
                reason = await self._settlement.begin(suspect)
                if reason is None:
                    await self._apply_or_halve([suspect], apply)
                else:
                    await self._settlement.dead_letter(suspect, reason)
        except asyncio.CancelledError:  # this process stops: redeliver at once
            for message in messages:
                await self._settlement.release(message)
            raise

    def _is_suspect(self, message: Msg) -> bool:
        metadata = message.metadata
        return (metadata.num_delivered or 1) > 1 and metadata.sequence.stream not in self._returned

    async def _apply_or_halve(self, messages: Sequence[Msg], apply: Apply) -> None:
        """Apply and acknowledge; halve a failed batch until the failing message is alone."""
        error = await self._applied(messages, apply)
        if error is None:
            self._returned.difference_update(map(_position, messages))
            for message in messages:
                await message.ack()
        elif is_unavailable(error):
            self._returned.update(map(_position, messages))
            for message in messages:
                await self._settlement.retry_uncounted(message, error)
        elif len(messages) > 1:
            middle = len(messages) // 2
            await self._apply_or_halve(messages[:middle], apply)
            await self._apply_or_halve(messages[middle:], apply)
        elif isinstance(error, NewerReleaseError):
            self._returned.update(map(_position, messages))
            await self._settlement.leave_to_newer(messages[0], error)
        else:
            self._returned.difference_update(map(_position, messages))
            await self._fail(messages[0], error)

    async def _applied(self, messages: Sequence[Msg], apply: Apply) -> BaseException | None:
        """What applying raised, None where nothing; waits here for an unavailable server."""
        for attempt in range(1, MAX_WAITS + 1):
            error = await error_of(apply(messages))
            if error is None or not is_unavailable(error) or attempt == MAX_WAITS:
                return error
            self._log.warning("waiting for a server", why=repr(error))
            await asyncio.sleep(retry_delay(attempt))
        return None

    async def _fail(self, message: Msg, error: BaseException) -> None:
        fields = {"subject": message.subject, "why": reason_of(error)}
        log.warning("an event failed", extra={**fields, "sequence": _position(message)})
        reason: str | None = reason_of(error)
        if not isinstance(error, UnreadableMessageError):
            reason = await self._settlement.fail(message, error)
        if reason is not None:
            await self._settlement.dead_letter(message, reason)


def _position(message: Msg) -> int:
    return message.metadata.sequence.stream
