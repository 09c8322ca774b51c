"""Workflow catalogue: reads the workflow cards that the orchestrator publishes."""

import asyncio
import contextlib
import logging

from pydantic import ValidationError

from contracts import subjects
from contracts.catalogue import GENERAL, WorkflowCard, is_general
from contracts.ids import AgentName, WorkflowName
from contracts.settable_variables import Settable
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.key_values import KeyValueBuckets
from services.transport.errors import ApiError

log = logging.getLogger(__name__)

CACHE_SECONDS = 0.5
POLL_SECONDS = 0.5
"""How often a transport looks whether there is a catalogue, until there is."""
RETRY_SECONDS = 1.0


class WorkflowCatalogue:
    """Caches the workflow cards for half a second."""

    def __init__(self, buckets: KeyValueBuckets) -> None:
        self._buckets = buckets
        self._cards: dict[str, WorkflowCard] = {}
        self._expires_at = 0.0
        self._refresh_lock = asyncio.Lock()
        self._is_published = False

    @property
    def problem(self) -> str | None:
        """Why no workflow can be started; none once an orchestrator has published the catalogue."""
        return None if self._is_published else "no orchestrator has published its workflows yet"

    async def wait_until_published(self) -> None:
        while not self._is_published:
            with contextlib.suppress(NatsUnavailableError):
                await self.cards()
            await asyncio.sleep(POLL_SECONDS)

    async def cards(self) -> dict[str, WorkflowCard]:
        """All cards by workflow name, sorted by name. Raises NatsUnavailableError."""
        clock = asyncio.get_running_loop().time
        async with self._refresh_lock:
            if clock() >= self._expires_at:
                values = await self._buckets.list_values(subjects.WORKFLOWS, "")
                cards = [card for value in values if (card := _card(value)) is not None]
                self._cards = {card.name: card for card in sorted(cards, key=lambda c: c.name)}
                self._is_published |= any(is_general(card.name) for card in cards)
                self._expires_at = clock() + CACHE_SECONDS
            return self._cards

    def forget(self) -> None:
        """Read the cards again when they are asked for next."""
        self._expires_at = 0.0

    async def without_general(self) -> dict[str, WorkflowCard]:
        """The cards of the workflows that users choose from. Raises NatsUnavailableError."""
        cards = (await self.cards()).items()
        return {name: card for name, card in cards if not (card.general or card.draft)}

    async def general_name(self) -> WorkflowName:
        """The name of the workflow of general chats. Raises NatsUnavailableError."""
        general = (card.name for card in (await self.cards()).values() if card.general)
        return next(general, GENERAL)

    async def general(self) -> WorkflowCard:
        """The card of the workflow of general chats. Raises ApiError, NatsUnavailableError."""
        return await self.startable(await self.general_name())

    async def startable(self, name: str) -> WorkflowCard:
        """The card of a workflow that can be started. Raises ApiError, NatsUnavailableError."""
        card = (await self.cards()).get(name)
        if card is None and self.problem is not None:
            why = "the workflows are not published yet, try again shortly"
            raise ApiError("SERVICE_UNAVAILABLE", "service", why, retry_after=RETRY_SECONDS)
        if card is None:
            raise ApiError("WORKFLOW_NOT_FOUND", "workflow_name", f"there is no workflow {name!r}")
        if not card.on_offer:
            raise ApiError("WORKFLOW_NOT_LOADED", "workflow_name", not_loaded(name))
        return card

    async def settable_variables(self, name: str) -> Settable:
        """The variables of a workflow that users may set. Raises NatsUnavailableError."""
        card = (await self.cards()).get(name)
        return {} if card is None else card.settable

    async def visible_agents(self, name: str) -> frozenset[AgentName]:
        """The agents whose messages users see; empty: all agents.

        Raises NatsUnavailableError.
        """
        card = (await self.cards()).get(name)
        return frozenset(card.visual_agents if card is not None else ())

    async def all_visible_agents(self) -> dict[WorkflowName, list[AgentName]]:
        """By workflow, the agents whose messages users see; not of workflows that show all of them.

        Raises NatsUnavailableError.
        """
        cards = (await self.cards()).values()
        return {card.name: card.visual_agents for card in cards if card.visual_agents}


def not_loaded(name: str) -> str:
    """What users hear; the problems name files and code, which are for operators."""
    return f"{name!r} did not load: operators see why in /api/workflows/diagnostics"


def _card(value: bytes) -> WorkflowCard | None:
    try:
        return WorkflowCard.model_validate_json(value)
    except ValidationError as error:
        log.warning("unreadable workflow card skipped", extra={"why": str(error)})
        return None
