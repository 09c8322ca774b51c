"""Publishes the milestones among new events as business events of the runtime."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from contracts.business_events import WORKFLOW_MILESTONES, RuntimeBusinessEvent, milestone_of
from services.chassis.jetstream.errors import NatsRejectedError
from services.chassis.logs.repeats import RateLimitedLog
from services.persistence.store.interface import ArchivedEvent

log = logging.getLogger(__name__)

Kinds = Literal["none", "workflow", "all"]
ALL_APPS = "*"


class MilestonePublisher:
    """Milestones of these kinds and apps; `*` stands for all apps."""

    def __init__(
        self,
        publish: Callable[[Iterable[RuntimeBusinessEvent]], Awaitable[None]],
        kinds: Kinds,
        apps: frozenset[str],
    ) -> None:
        self._publish = publish
        self._kinds = kinds
        self._apps = apps
        self._log = RateLimitedLog(log)

    async def __call__(self, events: Sequence[ArchivedEvent]) -> None:
        """Raises NatsUnavailableError. What the stream refuses is logged: the archive goes on."""
        found = [wanted for one in events if (wanted := self._wanted(one)) is not None]
        if not found:
            return
        try:
            await self._publish(found)
        except NatsRejectedError as rejected:
            self._log.warning("a business event was rejected", why=str(rejected))

    def _wanted(self, one: ArchivedEvent) -> RuntimeBusinessEvent | None:
        if self._kinds == "none" or not self._is_of_app(one.envelope.app_id):
            return None
        milestone = milestone_of(one.envelope, one.stored.event)
        if milestone is None or self._kinds == "all":
            return milestone
        return milestone if milestone.body.log_event_type in WORKFLOW_MILESTONES else None

    def _is_of_app(self, app: str) -> bool:
        return ALL_APPS in self._apps or app in self._apps
