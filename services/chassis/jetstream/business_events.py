"""Publish business events of the runtime, so that outside subscribers get each of them."""

import asyncio
from collections.abc import Iterable

from contracts import subjects
from contracts.business_events import RuntimeBusinessEvent
from services.chassis.jetstream.publish import Publisher

CONCURRENCY = 32
"""Publications that wait for their acknowledgement at a time."""


class BusinessEvents:
    """Stream BUSINESS, which keeps these events for a time."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def publish(self, events: Iterable[RuntimeBusinessEvent]) -> None:
        """Store events; one that is published again within the duplicate window is stored once.

        Raises NatsUnavailableError and NatsRejectedError: then some may not be stored.
        """
        slots = asyncio.Semaphore(CONCURRENCY)

        async def store(event: RuntimeBusinessEvent) -> None:
            subject = subjects.business_event(event.key, event.body.log_event_type)
            data = event.model_dump_json().encode()
            async with slots:
                await self._publisher.publish(subject, data, event.id, event.headers)

        await asyncio.gather(*(store(event) for event in events))
