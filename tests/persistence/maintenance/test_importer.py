"""Chats of an export in another installation: the same events, digests and transcript, once."""

import tarfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contracts.events.chat import ChatForked, Segment, UserMessageReceived
from contracts.ids import ChatId, ChatKey
from contracts.subjects import token
from contracts.verify_export import problems_of
from infra.servers import NatsServer
from services.chassis.jetstream.event_log import START, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.import_chats import AttachedFiles
from services.persistence.maintenance.importer import ChatImporter, Imported
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import ChatSources
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.store.memory import MemoryStore
from services.transport.chats.attachments import AttachmentStore
from services.transport.chats.chat_export import ChatExporter, ExportScope
from services.transport.chats.read_models import ReadModels
from tests import logs
from tests.gateway import connected_gateway
from tests.persistence.story import ANN, KEY, charges, decisions_of, interview

pytestmark = pytest.mark.broker

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class Installation:
    """A NATS, and a store in memory that is filled from it."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        self.gateway = gateway
        self.store = MemoryStore()
        sources = ChatSources(self.store, gateway)
        values = ValueArchive(self.store, gateway.values)
        rebuilder = Rebuilder(self.store, sources, self._publish, values)
        files = AttachedFiles(gateway)
        self._importer = ChatImporter(sources, gateway.events, gateway.values, files, rebuilder)

    async def _publish(self, _: object) -> None: ...

    async def append(self, key: ChatKey, *, count: int | None = None) -> None:
        """The first `count` messages of a chat."""
        place: Place = START
        for decision in decisions_of(interview(key), key)[:count]:
            position = await self.gateway.events.append(decision, after=place.position)
            place = Place(position, decision.head)

    async def export(self, key: ChatKey, path: Path) -> Path:
        files = AttachmentStore(self.gateway, 1_000_000, 1_000_000)
        exporter = ChatExporter(self.gateway, files, ReadModels(self.gateway.lookups))
        scope = ExportScope(key.app, chat=key.chat)
        with path.open("wb") as file:
            async for block in exporter.export(scope, exporter.chats(scope), NOON):
                file.write(block)
        assert list(problems_of(path)) == []
        return path

    async def take(self, path: Path) -> Imported:
        return await self._importer.all(path)

    async def messages(self, key: ChatKey) -> list[list[bytes]]:
        """The lines of each message of a chat's log."""
        return [
            [one.data for one in commit.events]
            async for commit in self.gateway.events.read(key)
            if commit.events
        ]


@pytest.fixture
async def there(nats: NatsServer) -> AsyncIterator[Installation]:
    async with connected_gateway(nats.url) as gateway:
        yield Installation(gateway)


@pytest.fixture
def here(gateway: JetStreamGateway) -> Installation:
    return Installation(gateway)


def a_chat(name: str) -> ChatKey:
    return ChatKey(KEY.app, ChatId(f"{name}-{datetime.now(UTC).timestamp()}"))


async def test_an_imported_chat_is_the_same_and_importing_it_again_changes_nothing(
    there: Installation, here: Installation, tmp_path: Path
) -> None:
    key = a_chat("whole")
    await there.append(key)
    path = await there.export(key, tmp_path / "chat.tar")
    imported = await here.take(path)
    assert (imported.chats, imported.events, imported.failed) == (1, 18, {})
    assert await here.messages(key) == await there.messages(key)
    assert [one.content for one in await here.store.messages(key)][-1] == "Daily, at eight."
    again = await here.take(path)
    assert (again.chats, again.events, again.present) == (0, 0, 1)
    assert await here.messages(key) == await there.messages(key)
    copy = await here.export(key, tmp_path / "copy.tar")
    assert copy.read_bytes() == path.read_bytes()


async def test_an_import_that_broke_off_goes_on_where_it_stopped(
    there: Installation, here: Installation, tmp_path: Path
) -> None:
    key = a_chat("broken off")
    await there.append(key)
    await here.append(key, count=3)
    path = await there.export(key, tmp_path / "chat.tar")
    imported = await here.take(path)
    assert (imported.chats, imported.failed) == (1, {})
    assert await here.messages(key) == await there.messages(key)


async def test_a_chat_that_has_gone_on_here_stays_as_it_is(
    there: Installation, here: Installation, tmp_path: Path
) -> None:
    key = a_chat("ahead")
    await there.append(key, count=3)
    await here.append(key)
    before = await here.messages(key)
    imported = await here.take(await there.export(key, tmp_path / "chat.tar"))
    assert (imported.present, imported.failed) == (1, {})
    assert await here.messages(key) == before


async def test_a_chat_with_other_events_here_is_refused_and_stays_as_it_is(
    there: Installation, here: Installation, tmp_path: Path
) -> None:
    key = a_chat("other")
    await there.append(key)
    place = START.position
    for decision in decisions_of(charges(1, key), key):
        place = await here.gateway.events.append(decision, after=place)
    before = await here.messages(key)
    imported = await here.take(await there.export(key, tmp_path / "chat.tar"))
    assert set(imported.failed) == {key}
    assert "is not the one of the export" in imported.failed[key]
    assert await here.messages(key) == before


async def test_an_export_of_a_fork_has_its_origins_and_is_imported_whole(
    there: Installation, here: Installation, tmp_path: Path
) -> None:
    origin, fork = a_chat("origin"), a_chat("fork")
    await there.append(origin)
    told = decisions_of(interview(origin), origin)
    began = ChatForked(
        user_id=ANN,
        origin=origin.chat,
        seq=told[6].head.seq,
        segments=[Segment(chat_id=origin.chat, last=told[6].head.seq)],
    )
    (forked, said) = logs.decisions(
        [began, UserMessageReceived(user_id=ANN, text="Otherwise.")], fork, head=told[6].head
    )
    first = await there.gateway.events.append(forked, after=START.position)
    await there.gateway.events.append(said, after=first)
    path = await there.export(fork, tmp_path / "fork.tar")
    imported = await here.take(path)
    assert (imported.chats, imported.failed) == (2, {})
    for key in (origin, fork):
        assert await here.messages(key) == await there.messages(key)
    again = await here.take(path)
    assert (again.chats, again.present) == (0, 2)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "whole", filter="data")
    manifest = tmp_path / "whole" / "manifest.jsonl"
    lines = manifest.read_text().splitlines(keepends=True)
    of_origin = f"chats/{token(origin.chat)}"
    manifest.write_text("".join(line for line in lines if f'"folder":"{of_origin}"' not in line))
    assert any("of its origin" in problem for problem in problems_of(tmp_path / "whole"))
