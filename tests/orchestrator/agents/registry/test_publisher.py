"""The cards of workflows: published when a process starts, and when a folder changes."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.catalogue import GENERAL, WorkflowCard
from contracts.ids import WorkflowName
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait
from services.orchestrator.agents.registry.catalogue import EMPTY_CATALOGUE
from services.orchestrator.agents.registry.publisher import follow_changes, publish
from services.orchestrator.workflows.watcher import FolderWatcher
from tests.orchestrator.agents.registry.test_catalogue import TILL, card_of, load
from tests.orchestrator.chat_harness import SHIPPED
from tests.orchestrator.workflow_folder import (
    SHOP,
    create_workflow_folder,
    set_prompt,
    version_registry,
)

TIMEOUT_SECONDS = 60.0


@pytest.fixture
async def cards(gateway: JetStreamGateway) -> AsyncIterator[JetStreamGateway]:
    """The gateway with an empty bucket of cards, before and after the test."""
    await gateway.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))
    yield gateway
    await gateway.js.purge_stream(subjects.bucket_stream(subjects.WORKFLOWS))


@asynccontextmanager
async def following(gateway: JetStreamGateway, root: Path) -> AsyncIterator[None]:
    """A process that reloads and publishes what changes below the folder."""
    watcher, registry = FolderWatcher(root), version_registry(gateway, root)
    await publish(gateway.key_values, await registry.load())
    task = asyncio.create_task(follow_changes(gateway.key_values, registry, watcher))
    try:
        yield
    finally:
        assert await cancel_and_wait(task) == [None]


async def published(gateway: JetStreamGateway, name: WorkflowName) -> WorkflowCard | None:
    bucket = await gateway.key_values.bucket(subjects.WORKFLOWS)
    try:
        entry = await bucket.get(subjects.workflow_key(name))
    except NotFoundError:
        return None
    return WorkflowCard.model_validate_json(entry.value or b"")


async def wait_until(
    gateway: JetStreamGateway, holds: Callable[[WorkflowCard | None], bool]
) -> WorkflowCard | None:
    """The card of the workflow once the condition holds."""
    bucket = await gateway.key_values.bucket(subjects.WORKFLOWS)
    updates = await bucket.watch(subjects.workflow_key(SHOP))
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for change in updates:
            gone = change is None or change.operation is not None
            found = None if gone else WorkflowCard.model_validate_json(change.value or b"")
            if change is not None and holds(found):
                await updates.stop()  # type: ignore[no-untyped-call]
                return found
    raise AssertionError("unreachable")


@pytest.mark.broker
async def test_a_change_on_disk_is_published(cards: JetStreamGateway, tmp_path: Path) -> None:
    folder = create_workflow_folder(tmp_path)
    async with following(cards, tmp_path):
        first = await published(cards, SHOP)
        assert first is not None
        set_prompt(folder, "You sell cake.")
        second = await wait_until(
            cards, lambda card: card is not None and card.version != first.version
        )
        assert second is not None
        (folder / "agents.json").write_text("{")
        broken = await wait_until(cards, lambda card: card is not None and bool(card.problems))
        assert broken is not None
        assert (broken.on_offer, broken.version) == (True, second.version)
        shutil.rmtree(folder)
        assert await wait_until(cards, lambda card: card is None) is None
        create_workflow_folder(tmp_path)
        again = await wait_until(cards, lambda card: card is not None and not card.problems)
        assert again == first


@pytest.mark.broker
async def test_a_process_withdraws_only_cards_that_it_published(
    cards: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path / "here")
    create_workflow_folder(tmp_path / "there", name="Till")
    here, there = load(tmp_path / "here"), load(tmp_path / "there")
    await publish(cards.key_values, here)
    await publish(cards.key_values, there, EMPTY_CATALOGUE)
    assert None not in (await published(cards, SHOP), await published(cards, TILL))
    await publish(cards.key_values, EMPTY_CATALOGUE, there)
    assert (await published(cards, SHOP), await published(cards, TILL)) == (
        card_of(here, "Shop"),
        None,
    )
    await publish(cards.key_values, there)
    assert await published(cards, SHOP) is None


@pytest.mark.broker
async def test_a_card_that_is_published_already_is_not_published_again(
    cards: JetStreamGateway,
) -> None:
    catalogue = load(SHIPPED)
    await publish(cards.key_values, catalogue)
    bucket = await cards.key_values.bucket(subjects.WORKFLOWS)
    before = (await bucket.status()).stream_info.state.last_seq
    await publish(cards.key_values, catalogue)
    assert (await bucket.status()).stream_info.state.last_seq == before


@pytest.mark.broker
async def test_a_card_that_cannot_be_read_is_replaced_and_stops_no_process(
    cards: JetStreamGateway, tmp_path: Path
) -> None:
    create_workflow_folder(tmp_path)
    bucket = await cards.key_values.bucket(subjects.WORKFLOWS)
    for name in (SHOP, WorkflowName("Later")):
        await bucket.put(subjects.workflow_key(name), b'{"startup_mode":"of a later release"}')
    registry = version_registry(cards, tmp_path)
    await publish(cards.key_values, await registry.load())
    card = await published(cards, SHOP)
    assert card is not None
    assert card.on_offer


@pytest.mark.broker
async def test_the_general_workflow_is_published_after_all_others(
    cards: JetStreamGateway,
) -> None:
    catalogue = load(SHIPPED)
    assert len(catalogue.cards) > 1
    await publish(cards.key_values, catalogue)
    stream = subjects.bucket_stream(subjects.WORKFLOWS)
    last = (await cards.js.stream_info(stream)).state.last_seq
    newest = await cards.js.get_msg(stream, seq=last)
    assert WorkflowCard.model_validate_json(newest.data or b"").name == GENERAL
