"""One subscriber for each stream of events, also for a stream to which events are moved later."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from faststream.nats.subscriber.usecases import BatchPullStreamSubscriber
from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from services.chassis.consumers.subscribers import stop_subscriber
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.event_streams import CHECK_SECONDS, EventStreamLocator
from services.chassis.tasks import cancel_and_wait

log = logging.getLogger(__name__)

EventSubscriber = BatchPullStreamSubscriber
Subscribe = Callable[[str], Awaitable[EventSubscriber]]
"""A subscriber of the stream of that name, with its handler and not started."""


class EventFollowers:
    """Follows every stream of events that takes new ones."""

    def __init__(self, streams: EventStreamLocator, subscribe: Subscribe) -> None:
        self._streams = streams
        self._subscribe = subscribe
        self._subscribers: dict[str, EventSubscriber] = {}
        self._changing = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Subscribe to the streams that there are, before the broker starts, which starts these.

        Raises NatsUnavailableError, and what `subscribe` raises.
        """
        for stream in (await self._streams.streams()).active:
            if stream not in self._subscribers:
                self._subscribers[stream] = await self._subscribe(stream)

    def start(self) -> None:
        """Look for more streams from here on."""
        self._loop = asyncio.create_task(self._run(), name="follow the streams of events")

    async def stop(self) -> None:
        if self._loop is not None:
            await cancel_and_wait(self._loop)
        await asyncio.gather(*map(stop_subscriber, self._subscribers.values()))

    async def restart(self, meanwhile: Callable[[], None]) -> None:
        """Stop every subscriber, call `meanwhile`, and start them again."""
        async with self._changing:  # none is added that `meanwhile` would find running
            await asyncio.gather(*map(stop_subscriber, self._subscribers.values()))
            meanwhile()
            for subscriber in self._subscribers.values():
                await subscriber.start()

    @property
    def problem(self) -> str | None:
        """The streams that are not followed any more, for the readiness probe."""
        stopped = [name for name, one in self._subscribers.items() if not one.running]
        return f"the consumer of {', '.join(stopped)} stopped" if stopped else None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await self._follow_new_ones()
            except (NatsUnavailableError, NatsError, JetStreamError, OSError) as unavailable:
                log.debug("streams of events cannot be found", extra={"why": repr(unavailable)})
            except Exception:
                log.exception("a new stream of events cannot be followed yet")

    async def _follow_new_ones(self) -> None:
        active = (await self._streams.streams()).active
        async with self._changing:
            for stream in active:
                if stream not in self._subscribers:
                    subscriber = await self._subscribe(stream)
                    await subscriber.start()
                    self._subscribers[stream] = subscriber  # last: what fails is tried again
                    log.info("another stream of events is followed", extra={"stream": stream})
