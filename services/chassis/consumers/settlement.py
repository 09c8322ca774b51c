"""Settle a message: acknowledge it once handled, retry it after a delay, or dead-letter it.

A message is dead-lettered in this order: stored in DEAD_LETTERS, whoever waits for it notified,
terminated. A message that cannot be stored there is not terminated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from contracts import subjects
from contracts.subjects import InvalidIdError, InvalidSubjectError
from services.chassis.consumers.attempts import DeliveryAttempts, retry_delay
from services.chassis.consumers.errors import (
    NewerReleaseError,
    NoRoomError,
    OwnershipLostError,
    UnprocessableMessageError,
)
from services.chassis.dead_letters.letter import one_line, reason_of
from services.chassis.dead_letters.queue import dead_letter
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.logs.context import log_context, trace_id
from services.chassis.logs.repeats import RateLimitedLog
from services.chassis.nats.unavailable import is_unavailable

log = logging.getLogger(__name__)

MAX_DELIVERIES = 3000
"""Deliveries after which returns that are no attempts are counted, too; with their delays a day at least."""
MAX_RETURNS = 300
"""Limits those returns. A queue that holds messages may return one any number of times before it is
begun: the number of deliveries alone ends nothing."""
NOTIFY_SECONDS = 60.0

Notify = Callable[[str], Awaitable[None]]
"""Notifies whoever waits for a message that it is a dead letter, with the reason."""


async def error_of(work: Awaitable[None]) -> BaseException | None:
    """What the work raised, None where nothing.

    A cancellation is raised again only where this task is cancelled: a handler may also let one
    escape that was meant for a task of its own.
    """
    try:
        await work
    except asyncio.CancelledError as cancelled:
        if _is_cancelled():
            raise
        return cancelled
    except Exception as error:  # noqa: BLE001  whatever it is, the message must be settled
        return error
    return None


async def _within_limit(notifying: Awaitable[None]) -> None:
    async with asyncio.timeout(NOTIFY_SECONDS):
        await notifying


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Settlement:
    """Settles the messages of one durable consumer, which have `max_attempts` attempts each."""

    def __init__(
        self,
        gateway: JetStreamGateway,
        durable: str,
        max_attempts: int,
        *,
        uses_slot: bool = True,
    ) -> None:
        """`uses_slot`: see `ProcessMetrics.handling`."""
        self._uses_slot = uses_slot
        self._gateway = gateway
        self._durable = durable
        self._max_attempts = max_attempts
        self._attempts = DeliveryAttempts(gateway, durable)
        self._log = RateLimitedLog(log)

    async def process(
        self, message: Msg, handle: Callable[[], Awaitable[None]], notify: Notify | None = None
    ) -> None:
        """Handle one message and settle it; where this task is cancelled, release it.

        `notify` is called where the message is dead-lettered. Raises nats errors.
        """
        with (
            log_context(**_context_of(message)),
            self._gateway.metrics.handling(
                self._durable, message.metadata, uses_slot=self._uses_slot
            ),
        ):
            await self._process(message, handle, notify)

    async def _process(
        self, message: Msg, handle: Callable[[], Awaitable[None]], notify: Notify | None
    ) -> None:
        try:
            reason = await self.begin(message)
            if reason is None:
                reason = await self._handled(message, handle)
            if reason is not None:
                await self.dead_letter(message, reason, notify)
        except asyncio.CancelledError:  # this process stops: redeliver at once
            await self.release(message)
            raise

    async def _handled(self, message: Msg, handle: Callable[[], Awaitable[None]]) -> str | None:
        """Handle it, then acknowledge or retry it; the reason where it must be dead-lettered."""
        match await error_of(handle()):
            case None:
                await message.ack()
            case OwnershipLostError() as lost:
                fields = {"subject": message.subject, "why": str(lost)}
                log.warning("lost ownership of a message", extra=fields)
            case NoRoomError():
                await self._uncount(message)  # whoever raised it begins the message again
            case UnprocessableMessageError() as reason:
                return str(reason) or repr(reason)
            case NewerReleaseError() as newer:
                await self.leave_to_newer(message, newer)
            case error if is_unavailable(error):
                await self.retry_uncounted(message, error)
            case error:
                deliveries = message.metadata.num_delivered or 1
                failed = {"subject": message.subject, "deliveries": deliveries}
                log.error("a message failed", extra=failed, exc_info=error)
                return await self.fail(message, error)
        return None

    async def begin(self, message: Msg) -> str | None:
        """Record the attempt of a redelivered message; the reason where it has no attempt left.

        Recorded in advance, because a message may end the process that handles it.
        """
        deliveries = message.metadata.num_delivered or 1
        if deliveries == 1:
            return None
        self._gateway.metrics.redeliveries.labels(self._durable).inc()
        record = await self._attempts.read(message)
        if record.dead_letter_reason is not None:
            return record.dead_letter_reason
        if record.attempts >= self._max_attempts:
            return f"dead-lettered after {record.attempts} attempts, the last of which never ended"
        if not await self._may_return(message):
            return f"dead-lettered after {deliveries} deliveries"
        await self._attempts.record(message)
        return None

    async def fail(self, message: Msg, error: BaseException) -> str | None:
        """Retry it after a delay; the reason where it has no attempt left."""
        await self._attempts.record(message)
        attempts = (await self._attempts.read(message)).attempts
        if attempts >= self._max_attempts:
            return reason_of(error)
        await self.defer(message, retry_delay(attempts or message.metadata.num_delivered or 1))
        return None

    async def retry_uncounted(self, message: Msg, error: BaseException) -> None:
        """Retry it after a delay without counting the attempt: a server is unavailable."""
        self._log.warning("waiting for a server", subject=message.subject, why=repr(error))
        await self._return_uncounted(message)

    async def leave_to_newer(self, message: Msg, newer: NewerReleaseError) -> None:
        """Return it after a delay without counting the attempt: another process may understand it."""
        self._log.warning(
            "left to a process of a newer release", subject=message.subject, why=str(newer)
        )
        await self._return_uncounted(message)

    async def release(self, message: Msg) -> None:
        """Return it for immediate redelivery: this process stops. Not counted."""
        try:
            if not message.is_acked:
                await self._uncount(message)
                await message.nak()
        except NatsError as error:  # it is redelivered once JetStream misses its heartbeats
            log.info("not released", extra={"subject": message.subject, "why": repr(error)})

    async def defer(self, message: Msg, seconds: float) -> None:
        """Return it for redelivery after a while. Raises nats errors."""
        self._gateway.in_flight.delay(message, seconds)
        await message.nak(delay=seconds)

    async def retry(self, message: Msg) -> None:
        await self.defer(message, retry_delay(message.metadata.num_delivered or 1))

    async def dead_letter(self, message: Msg, reason: str, notify: Notify | None = None) -> None:
        """Store, notify, terminate. Where it cannot be stored or notified now, all is retried."""
        stored = await self._stored(message, reason)
        if stored and (notify is None or await self._notified(message, reason, notify)):
            await message.term()
        else:
            await self.retry(message)

    async def _stored(self, message: Msg, reason: str) -> bool:
        if (await self._attempts.read(message)).dead_letter_reason is not None:
            return True
        try:
            await dead_letter(self._gateway, self._durable, message, reason)
        except NatsUnavailableError as error:
            self._log.warning(
                "a dead letter cannot be stored: its message is not terminated yet",
                subject=message.subject,
                why=str(error),
            )
            return False
        await self._attempts.record_dead_letter(message, reason)
        return True

    async def _notified(self, message: Msg, reason: str, notify: Notify) -> bool:
        """Whether the message may be terminated: only an unavailable server is waited for."""
        error = await error_of(_within_limit(notify(reason)))
        if error is None:
            return True
        if is_unavailable(error) and await self._may_return(message):
            await self._count_return(message)
            self._log.warning(
                "the notification of a dead letter waits for a server",
                subject=message.subject,
                why=repr(error),
            )
            return False
        log.error(
            "the notification of a dead letter failed",
            extra={"subject": message.subject, "why": one_line(reason_of(error))},
        )
        return True

    async def _return_uncounted(self, message: Msg) -> None:
        await self._uncount(message)
        await self._count_return(message)
        await self.retry(message)

    async def _may_return(self, message: Msg) -> bool:
        return not _is_often_delivered(message) or (
            await self._attempts.returns(message) < MAX_RETURNS
        )

    async def _count_return(self, message: Msg) -> None:
        if _is_often_delivered(message):
            await self._attempts.record_return(message)

    async def _uncount(self, message: Msg) -> None:
        if (message.metadata.num_delivered or 1) > 1:  # the first is recorded only once it failed
            await self._attempts.remove(message)


def _is_often_delivered(message: Msg) -> bool:
    return (message.metadata.num_delivered or 1) > MAX_DELIVERIES


def _context_of(message: Msg) -> dict[str, str | None]:
    """The chat and the trace of a message, for the log; nothing where its subject names no chat."""
    trace = trace_id((message.headers or {}).get("traceparent"))
    try:
        key = subjects.parse(message.subject).key
    except (InvalidSubjectError, InvalidIdError):
        return {"trace": trace}
    return {"app": key.app, "chat": key.chat, "trace": trace}
