"""How a message ends that was not simply handled: tried again after a pause, or given up for good.

Given up means, always in this order: kept in DEAD_LETTERS, told to whoever waits, terminated. What
cannot be kept is not terminated.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from prometheus_client import Counter

from services.chassis.away import is_away
from services.chassis.bus import Bus
from services.chassis.dead_letters.letter import one_line, reason_of
from services.chassis.dead_letters.queue import dead_letter
from services.chassis.direct_get import UnavailableError
from services.chassis.logs import SparingLog
from services.chassis.tries import Tries, pause

log = logging.getLogger(__name__)

MAX_DELIVERIES = 3000
"""Bounds what no try counts, an outage above all: with their pauses these take a day at least."""
TELL_SECONDS = 60.0
"""How long telling whoever waits may take."""

Tell = Callable[[str], Awaitable[None]]
"""Tells whoever waits for a message that it was given up, and why."""


async def trouble_of(work: Awaitable[None]) -> BaseException | None:
    """What the work raised, none where nothing.

    A cancellation is raised again only where this task is meant: a handler may also let one slip
    that was meant for something of its own.
    """
    try:
        await work
    except asyncio.CancelledError as lost:
        if _is_cancelled():
            raise
        return lost
    except Exception as trouble:  # noqa: BLE001  whatever it is, the message must be settled
        return trouble
    return None


async def _in_time(telling: Awaitable[None]) -> None:
    async with asyncio.timeout(TELL_SECONDS):
        await telling


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Settler:
    """Settles the messages of one durable consumer, which are given up after `limit` tries."""

    def __init__(self, bus: Bus, durable: str, limit: int, counter: Counter | None) -> None:
        self._bus = bus
        self._durable = durable
        self._limit = limit
        self._counter = counter
        self._tries = Tries(bus, durable)
        self._log = SparingLog(log)

    async def begin(self, message: Msg) -> str | None:
        """Note that a message that came back is tried; the reason where it must not be any more.

        Noted before, because a message may end the process that tries it.
        """
        deliveries = message.metadata.num_delivered or 1
        if deliveries == 1:
            return None
        known = await self._tries.known(message)
        if known.dead is not None:
            return known.dead
        if known.tries >= self._limit:
            return f"given up after {known.tries} tries, the last of which never ended"
        if deliveries > MAX_DELIVERIES:
            return f"given up after {MAX_DELIVERIES} deliveries"
        await self._tries.note(message)
        return None

    async def fail(self, message: Msg, trouble: BaseException) -> str | None:
        """Have it tried again after a pause; the reason where it had all its tries."""
        await self._tries.note(message)
        if (await self._tries.known(message)).tries >= self._limit:
            return reason_of(trouble)
        await self.retry(message)
        return None

    async def wait(self, message: Msg, trouble: BaseException) -> None:
        """Have it tried again after a pause, and do not count this try: a server is away."""
        self._log.warning("waiting for a server", subject=message.subject, why=repr(trouble))
        await self._forgive(message)
        await self.retry(message)

    async def hand_over(self, message: Msg) -> None:
        """Give it to another process at once: this one stops. Not counted."""
        try:
            if not message.is_acked:
                await self._forgive(message)
                await message.nak()
        except NatsError as away:  # another has it once JetStream misses its heartbeats
            log.info("not handed over", extra={"subject": message.subject, "why": repr(away)})

    async def retry(self, message: Msg) -> None:
        await message.nak(delay=pause(message.metadata.num_delivered or 1))

    async def give_up(self, message: Msg, reason: str, tell: Tell | None = None) -> None:
        """Keep, tell, terminate. Where it cannot be kept, or told for now, all of it comes again."""
        kept = await self._kept(message, reason)
        if kept and (tell is None or await self._told(message, reason, tell)):
            await message.term()
        else:
            await self.retry(message)

    async def _kept(self, message: Msg, reason: str) -> bool:
        if (await self._tries.known(message)).dead is not None:  # only telling was left to do
            return True
        try:
            await dead_letter(self._bus, self._durable, message, reason, self._counter)
        except UnavailableError as trouble:
            self._log.warning(
                "a dead letter cannot be kept, its message is not given up yet",
                subject=message.subject,
                why=str(trouble),
            )
            return False
        await self._tries.note_dead(message, reason)
        return True

    async def _told(self, message: Msg, reason: str, tell: Tell) -> bool:
        """Whether the message may be terminated: only a server that is away is waited for."""
        trouble = await trouble_of(_in_time(tell(reason)))
        if trouble is None:
            return True
        if is_away(trouble) and (message.metadata.num_delivered or 1) <= MAX_DELIVERIES:
            self._log.warning(
                "nobody can be told of a dead letter yet",
                subject=message.subject,
                why=repr(trouble),
            )
            return False
        log.error(
            "nobody could be told of a dead letter",
            extra={"subject": message.subject, "why": one_line(reason_of(trouble))},
        )
        return True

    async def _forgive(self, message: Msg) -> None:
        if (message.metadata.num_delivered or 1) > 1:  # the first is noted only once it failed
            await self._tries.forgive(message)
