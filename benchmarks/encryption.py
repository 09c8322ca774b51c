"""Encryption: turns a second with it beside without, and what an erasure takes beside its removals alone."""

import asyncio
import base64
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

from pymongo import AsyncMongoClient

from benchmarks import chats, stage, turn
from benchmarks.figures import Aim, Figure
from contracts import encryption, subjects
from contracts.ids import ChatKey
from infra.servers import MongoServer, NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.key_providers import provider_of
from services.chassis.jetstream.key_ring import KeyRing
from services.persistence.app import now
from services.persistence.maintenance.eraser import Eraser
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import ChatSources
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.store.mongo.client import build_client
from services.persistence.store.mongo.documents import ArchivedMessage, chat_range
from services.persistence.store.mongo.store import MongoStore, open_store

REPETITIONS = 5
TURNS = 12
ERASED = 4
EVENTS = 60
AIM = Aim(ratio=1.25)
KEYS = {"KEYS": f"k1 {base64.b64encode(bytes(32)).decode()}"}
DATABASE = "bench"


async def measure(server: NatsServer) -> list[Figure]:
    async with stage.gateway(server) as gateway:
        return [await _turns(gateway), await _erasures(gateway)]


async def _turns(gateway: JetStreamGateway) -> Figure:
    case = turn.one_tool("one tool, encrypted or not")
    runner = turn.build_runner(gateway, [case])
    ring = KeyRing(gateway.nc, provider_of("env:KEYS", KEYS))
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(REPETITIONS):
        for encrypts in rates:
            encryption.use(ring if encrypts else None)
            deeds = [turn.handled(case, gateway, runner) for _ in range(TURNS)]
            began = perf_counter()
            for deed in deeds:
                await deed()
            rates[encrypts].append(TURNS / (perf_counter() - began))
    encryption.use(None)
    note = "a chat of one turn each, its key included; the floor is the same without encryption"
    return Figure(
        "encryption: turns",
        "turns/s",
        rates[True],
        rates[False],
        AIM,
        more_is_better=True,
        note=note,
    )


async def _erasures(gateway: JetStreamGateway) -> Figure:
    """Chats of EVENTS events, in the log and the archive."""
    ours: list[float] = []
    floors: list[float] = []
    async with _store() as (store, client):
        rebuilder = _rebuilder(store, gateway)
        eraser = Eraser(store, gateway, rebuilder, now)
        for _ in range(REPETITIONS):
            keys = await asyncio.gather(*(_filled(gateway, rebuilder) for _ in range(2 * ERASED)))
            began = perf_counter()
            for key in keys[:ERASED]:
                await gateway.purger.purge(subjects.EVENTS, subjects.events_of(key))
                await client[DATABASE][ArchivedMessage.Settings.name].delete_many(chat_range(key))
            floors.append(1000 * (perf_counter() - began) / ERASED)
            began = perf_counter()
            for key in keys[ERASED:]:
                await eraser.chat(key)
            ours.append(1000 * (perf_counter() - began) / ERASED)
    note = f"{EVENTS} events; the floor purges the log and deletes the archive of such a chat"
    return Figure("erase a chat", "ms", ours, floors, note=note)


@asynccontextmanager
async def _store() -> AsyncIterator[tuple[MongoStore, "AsyncMongoClient[dict[str, object]]"]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        mongo = MongoServer(Path(folder) / "mongodb")
        await asyncio.to_thread(mongo.start)
        client = build_client(mongo.uri)
        try:
            yield await open_store(client, DATABASE), client
        finally:
            await client.close()
            await asyncio.to_thread(mongo.stop)


def _rebuilder(store: MongoStore, gateway: JetStreamGateway) -> Rebuilder:
    async def publish(_: object) -> None:
        return

    values = ValueArchive(store, gateway.values)
    return Rebuilder(store, ChatSources(store, gateway), publish, values)


async def _filled(gateway: JetStreamGateway, rebuilder: Rebuilder) -> ChatKey:
    """A chat in the log, the archive and the read models."""
    key = chats.new_chat()
    opening: chats.Group = [chats.STARTED, chats.selected(1)]
    await chats.store(gateway, chats.sealed(key, [opening, *[[chats.returned(1)]] * (EVENTS - 2)]))
    await rebuilder.chat(key)
    return key
