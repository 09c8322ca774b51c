from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats as nats_client
import pytest

from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.streams.ensure import ensure_streams
from services.persistence.settings import Settings
from services.persistence.store.interface import Store
from services.persistence.store.memory import MemoryStore
from services.persistence.store.mongo import opening
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.store import MongoStore, open_store
from tests.persistence.query_watch import QueryWatch


@pytest.fixture(autouse=True)
def query_watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[QueryWatch]:
    """Watches the client of each service and command that a test runs, and of `mongo_store`; fails the
    test in which a command to MongoDB names no app. Clients of the test itself do as they like."""
    watch = QueryWatch()

    def build_watched(uri: str, *, event_listeners: Sequence[Any] = (), **options: Any) -> Client:
        return build_client(uri, event_listeners=[*event_listeners, watch], **options)

    monkeypatch.setattr(opening, "build_client", build_watched)
    yield watch
    assert watch.violations == []


@pytest.fixture
def database() -> str:
    """A name that no other test has."""
    return f"test_{uuid4().hex[:12]}"


@pytest.fixture
async def mongo_store(
    mongo: MongoServer, database: str, query_watch: QueryWatch
) -> AsyncIterator[MongoStore]:
    client = build_client(mongo.uri, event_listeners=[query_watch])
    yield await open_store(client, database)
    await client.drop_database(database)
    await client.close()


@pytest.fixture(params=["memory", pytest.param("mongo", marks=pytest.mark.mongo)])
def store(request: pytest.FixtureRequest) -> Store:
    if request.param == "memory":
        return MemoryStore()
    found: MongoStore = request.getfixturevalue("mongo_store")
    return found


@pytest.fixture
def empty_nats(nats: NatsServer, tmp_path: Path) -> Iterator[NatsServer]:  # noqa: ARG001
    """A server of the test's own; `nats` decides what happens where there is none."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def gateway(empty_nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    nc = await nats_client.connect(empty_nats.url)
    await ensure_streams(nc, replicas=1)
    yield JetStreamGateway(nc)
    await nc.close()


@pytest.fixture
def settings(empty_nats: NatsServer, mongo: MongoServer, database: str) -> Settings:
    return Settings(
        nats_url=empty_nats.url, mongodb_uri=mongo.uri, mongodb_database=database, drain_seconds=2
    )
