"""Publishes the cards of the catalogue's workflows, and follows changes of their folders."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing

from nats.errors import Error as NatsError
from pydantic import ValidationError

from contracts import subjects
from contracts.catalogue import WorkflowCard, is_general
from contracts.codec import describe
from contracts.ids import WorkflowName
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.key_values import KeyValueBuckets
from services.orchestrator.agents.registry.catalogue import Catalogue
from services.orchestrator.agents.registry.version_registry import VersionRegistry
from services.orchestrator.workflows.watcher import FolderWatcher

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


async def publish(
    buckets: KeyValueBuckets, catalogue: Catalogue, previous: Catalogue | None = None
) -> None:
    """Publish the cards of the catalogue, and remove those of workflows that are gone.

    Without a `previous` catalogue every other card is removed. With one, only the cards that this
    process published before: another process may have other workflows. Raises NatsUnavailableError
    and the errors of nats.
    """
    bucket = await buckets.bucket(subjects.WORKFLOWS)
    found = map(_card, await buckets.list_values(subjects.WORKFLOWS, ""))
    published = {card.name: card for card in found if card is not None}
    before = {} if previous is None else {card.name: card for card in previous.cards}
    for card in sorted(catalogue.cards, key=lambda card: is_general(card.name)):  # general is last
        if published.get(card.name) != card:
            await bucket.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
        if card.problems and before.get(card.name) != card:
            extra = {"workflow": card.name, "problems": card.problems}
            log.warning("workflow not loaded", extra=extra)
    removable = published.keys() if previous is None else published.keys() & before.keys()
    for name in removable - {card.name for card in catalogue.cards}:
        await bucket.delete(subjects.workflow_key(name))


def _card(value: bytes) -> WorkflowCard | None:
    """None of what another release may have written: a workflow of ours replaces it."""
    try:
        return WorkflowCard.model_validate_json(value)
    except ValidationError as unreadable:
        log.warning("unreadable workflow card", extra={"why": describe(unreadable)})
        return None


async def publish_draft(
    buckets: KeyValueBuckets, card: WorkflowCard, gone: Iterable[WorkflowName] = ()
) -> None:
    """Publish the card of a draft, and remove those of drafts that are gone. Raises as `publish`."""
    bucket = await buckets.bucket(subjects.WORKFLOWS)
    await bucket.put(subjects.workflow_key(card.name), card.model_dump_json().encode())
    for name in gone:
        await bucket.delete(subjects.workflow_key(name))


async def follow_changes(
    buckets: KeyValueBuckets, registry: VersionRegistry, watcher: FolderWatcher
) -> None:
    """Load workflows again when their folders change, and publish them; runs until it is cancelled."""
    async with aclosing(watcher.changes()) as changes:
        async for changed in changes:
            previous = registry.catalogue
            try:
                catalogue = await registry.load(changed)
            except Exception:
                log.exception("changed workflows not loaded", extra={"folders": sorted(changed)})
            else:
                log.info("changed workflows loaded", extra={"folders": sorted(changed)})
                await _publish_with_retries(buckets, catalogue, previous)


async def _publish_with_retries(
    buckets: KeyValueBuckets, catalogue: Catalogue, previous: Catalogue
) -> None:
    while True:
        try:
            return await publish(buckets, catalogue, previous)
        except (NatsUnavailableError, NatsError, OSError) as error:
            log.warning("catalogue not published, retrying", extra={"error": repr(error)})
            await asyncio.sleep(RETRY_SECONDS)
