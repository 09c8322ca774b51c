"""The workflows on offer, as the orchestrator has published them."""

import asyncio
import logging

from pydantic import ValidationError

from contracts import subjects
from contracts.catalogue import WorkflowCard
from contracts.ids import WorkflowName
from services.chassis.bus import Bus
from services.transport import feed
from services.transport.refusals import RefusalError

log = logging.getLogger(__name__)

FRESH_SECONDS = 0.5
_USUAL = WorkflowName("General")


class Workflows:
    """Reads the catalogue when asked, at most twice a second."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._cards: dict[str, WorkflowCard] = {}
        self._until = 0.0
        self._reading = asyncio.Lock()

    async def cards(self) -> dict[str, WorkflowCard]:
        """Every card by name, in order. Raises UnavailableError."""
        clock = asyncio.get_running_loop().time
        async with self._reading:
            if clock() >= self._until:
                found = await self._bus.values_under(subjects.WORKFLOWS, "")
                cards = [card for value in found if (card := _card(value)) is not None]
                self._cards = {card.name: card for card in sorted(cards, key=lambda c: c.name)}
                self._until = clock() + FRESH_SECONDS
            return self._cards

    async def listed(self) -> dict[str, WorkflowCard]:
        """What people choose from. Raises UnavailableError."""
        return {name: card for name, card in (await self.cards()).items() if not card.general}

    async def general_name(self) -> WorkflowName:
        """What the workflow is called that answers where none is chosen. Raises UnavailableError."""
        general = (card.name for card in (await self.cards()).values() if card.general)
        return next(general, _USUAL)

    async def general(self) -> WorkflowCard:
        """Raises RefusalError, UnavailableError."""
        return await self.offered(await self.general_name())

    async def offered(self, name: str) -> WorkflowCard:
        """A workflow that can be started. Raises RefusalError, UnavailableError."""
        card = (await self.cards()).get(name)
        if card is None:
            raise RefusalError("WORKFLOW_NOT_FOUND", "workflow_name", f"there is no {name!r}")
        if not card.on_offer:
            why = f"{name!r} did not load: {'; '.join(card.problems)}"
            raise RefusalError("WORKFLOW_NOT_LOADED", "workflow_name", why)
        return card

    async def heard(self, name: str) -> frozenset[str]:
        """The agents whose words are for people; none where all of them are.

        Raises UnavailableError.
        """
        card = (await self.cards()).get(name)
        return feed.allowed(card.visual_agents if card is not None else ())


def _card(value: bytes) -> WorkflowCard | None:
    try:
        return WorkflowCard.model_validate_json(value)
    except ValidationError as broken:
        log.warning("an unreadable workflow card is passed by", extra={"why": str(broken)})
        return None
