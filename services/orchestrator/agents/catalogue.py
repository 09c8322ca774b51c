"""Show in the public catalogue what is on offer, and keep it true to what lies on disk."""

import asyncio
import logging
from contextlib import aclosing

from nats.errors import Error as NatsError

from contracts import subjects
from contracts.catalogue import WorkflowCard
from services.chassis.bus import Bus
from services.chassis.direct_get import UnavailableError
from services.orchestrator.agents.offer import Offer
from services.orchestrator.agents.shelf import Shelf
from services.orchestrator.workflows.watching import Watch

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0


async def publish(bus: Bus, offer: Offer, before: Offer | None = None) -> None:
    """Show the workflows to the public; one whose folder is gone is shown no more.

    With nothing before, that is every workflow that is not on offer; later only what this process
    showed itself: another one may have others. Raises UnavailableError and what nats raises.
    """
    bucket = await bus.bucket(subjects.WORKFLOWS)
    cards = [
        WorkflowCard.model_validate_json(value)
        for value in await bus.values_under(subjects.WORKFLOWS, "")
    ]
    shown = {card.name: card for card in cards}
    told = {} if before is None else {card.name: card for card in before.cards}
    for card in offer.cards:
        if shown.get(card.name) != card:
            await bucket.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
        if card.problems and told.get(card.name) != card:
            log.warning("workflow not loaded", extra={"workflow": card.name, "why": card.problems})
    ours = shown.keys() if before is None else shown.keys() & told.keys()
    for name in ours - {card.name for card in offer.cards}:
        await bucket.delete(subjects.workflow_key(name))


async def keep_fresh(bus: Bus, shelf: Shelf, watch: Watch) -> None:
    """Take in each change on disk, and show it; for ever."""
    async with aclosing(watch.changes()) as changes:
        async for changed in changes:
            before = shelf.offer
            try:
                offer = await shelf.load(changed)
            except Exception:
                log.exception("a change was not taken in", extra={"folders": sorted(changed)})
            else:
                log.info("workflows loaded again", extra={"folders": sorted(changed)})
                await _publish_at_last(bus, offer, before)


async def _publish_at_last(bus: Bus, offer: Offer, before: Offer) -> None:
    while True:
        try:
            return await publish(bus, offer, before)
        except (UnavailableError, NatsError, OSError) as away:
            log.warning("the catalogue is away, trying again", extra={"why": repr(away)})
            await asyncio.sleep(AGAIN_SECONDS)
