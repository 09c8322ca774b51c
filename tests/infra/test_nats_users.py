"""Each service's NATS user may do what the service does, and nothing else: on a real nats-server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from infra.credentials.embedded import OPERATOR
from infra.credentials.nats_users import NatsUsers
from infra.credentials.nkeys import public_key, signature
from infra.servers import NatsServer
from services.chassis.nats.access import Access, access_of
from services.chassis.nats.connection import Connection
from services.chassis.nats.nkeys import user_key
from services.chassis.settings import Settings
from services.chassis.streams.definitions import definitions
from tests.patience import PATIENCE_SECONDS
from tests.secured_nats import SecuredNats

pytestmark = pytest.mark.broker

KEY = ChatKey(AppId("acme"), ChatId("chat"))
EVENT = subjects.event(KEY, "runtime")
COMMAND = subjects.command(KEY, "start_chat")
TIMER = subjects.timer(KEY, "x")
DELTA = subjects.delta(KEY)
STREAMS = [config["name"] for config in definitions(1)]
FORBIDDEN = {
    "transport": [
        EVENT,
        DELTA,
        TIMER,
        "$KV.chats.acme.ana.chat",
        "$KV.workflows.Generator",
        "$O.manifests.M.x",
        "$O.values.M.x",
        "$JS.API.STREAM.PURGE.EVENTS",
        "mozaiks.dlq.orchestrator.x",
    ],
    "orchestrator": [
        COMMAND,
        "$KV.chats.acme.ana.chat",
        "$KV.tickets.x",
        "$O.attachments.M.x",
        "$JS.API.STREAM.PURGE.EVENTS",
        "$JS.API.CONSUMER.DELETE.EVENTS.persistence-events",
    ],
    "persistence": [  # of events, it removes those of erased chats, and appends that they are
        COMMAND,
        DELTA,
        "$KV.tickets.x",
        "$KV.workflows.Generator",
        "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.orchestrator",
    ],
    "metrics": [
        EVENT,
        COMMAND,
        DELTA,
        "$KV.chats.acme.ana.chat",
        "$JS.ACK.EVENTS.persistence-events.1.1.1.1.1",
        "$JS.API.STREAM.MSG.GET.COMMANDS",
        "$JS.API.STREAM.PURGE.EVENTS",
        # The consumers of others, which it could otherwise change:
        "$JS.API.CONSUMER.CREATE.EVENTS.persistence-events.mozaiks.evt.>",
        "$JS.API.CONSUMER.CREATE.EVENTS.other.mozaiks.evt.>",
        "$JS.API.CONSUMER.CREATE.COMMANDS.metrics-1.mozaiks.cmd.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS.metrics-1",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.persistence-events",
    ],
    "streams": [  # only creates and changes them
        *(EVENT, COMMAND, DELTA, TIMER),
        *("$JS.API.STREAM.MSG.GET.EVENTS", "$JS.API.DIRECT.GET.EVENTS"),
        *("$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.EVENTS"),
        *("$JS.API.CONSUMER.CREATE.EVENTS.x.mozaiks.evt.>", "$KV.chats.acme.ana.chat"),
    ],
}
EVERY_SERVICE = [
    *(
        f"$JS.API.STREAM.{verb}.{name}"
        for verb in ("CREATE", "UPDATE", "DELETE")
        for name in STREAMS
    ),
    "$JS.API.CONSUMER.DELETE.COMMANDS.orchestrator",
    "$JS.API.SERVER.REMOVE",
]
SERVICES = ("transport", "orchestrator", "persistence", "metrics")


@pytest.fixture(scope="module")
def secured(
    nats: NatsServer,  # noqa: ARG001
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SecuredNats]:
    server = SecuredNats(tmp_path_factory.mktemp("secured"))
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def signed_in(server: SecuredNats, user: str) -> AsyncIterator[tuple[Client, list[str]]]:
    """A connection of a user, and what the server has refused it."""
    seed = server.credentials.nats.seed_file(user)
    settings = Settings(nats_url=server.url, nats_nkey_seed_file=seed)
    nc = RecordingConnection(access_of(settings, user), user)
    await nc.open()
    try:
        yield nc, nc.refused
    finally:
        await nc.shut_down(1)


class RecordingConnection(Connection):
    """Keeps what the server refuses."""

    def __init__(self, access: Access, name: str) -> None:
        super().__init__(access, name)
        self.refused: list[str] = []

    async def _on_error(self, error: Exception) -> None:
        self.refused.append(str(error))


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_a_service_is_refused_what_is_not_its_own(secured: SecuredNats, user: str) -> None:
    forbidden = [*FORBIDDEN[user], *(EVERY_SERVICE if user in SERVICES else [])]
    async with signed_in(secured, user) as (nc, refused):
        for subject in forbidden:
            await nc.publish(subject, b"{}")
        await nc.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(refused) < len(forbidden):  # noqa: ASYNC110  the callback has no event
                await asyncio.sleep(0.01)
    assert all("permissions violation" in one.lower() for one in refused)


@pytest.mark.parametrize("user", ["transport", "persistence", "metrics"])
async def test_a_service_hears_nothing_that_is_not_its_own(secured: SecuredNats, user: str) -> None:
    async with signed_in(secured, user) as (nc, refused):
        for subject in (">", "mozaiks.evt.>", "mozaiks.cmd.>", "_INBOX_orchestrator.>"):
            await nc.subscribe(subject)
        await nc.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(refused) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_nobody_connects_without_a_key(secured: SecuredNats) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.port)
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    await writer.wait_closed()
    assert b"-ERR 'Authorization Violation'" in answer
    assert b"PONG" not in answer


async def test_the_operator_may_do_everything(secured: SecuredNats) -> None:
    async with signed_in(secured, OPERATOR) as (nc, refused):
        await nc.subscribe(">")
        await nc.publish(EVENT, b"{}")
        await nc.flush()
        assert (await nc.jetstream().account_info()).streams == 0
    assert not refused


def test_keys_stay_from_one_start_to_the_next_and_the_server_has_no_secret(tmp_path: Path) -> None:
    folder = tmp_path / "users"
    users = NatsUsers(folder)
    users.ensure()
    first = {file.name: file.read_text() for file in folder.iterdir()}
    NatsUsers(folder).ensure()
    assert {file.name: file.read_text() for file in folder.iterdir()} == first
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
    seeds = {name: users.seed(name) for name in (OPERATOR, "streams", *SERVICES)}
    assert len(set(seeds.values())) == len(seeds)
    configuration = users.configuration.read_text()
    assert all(public_key(seed) in configuration for seed in seeds.values())
    assert not any(seed in configuration for seed in seeds.values())


def test_our_keys_are_those_that_the_services_read(tmp_path: Path) -> None:
    users = NatsUsers(tmp_path)
    users.ensure()
    seed = users.seed(OPERATOR)
    assert user_key(seed).public == public_key(seed)
    assert user_key(seed).sign("nonce").decode() == signature(seed, "nonce")


@pytest.mark.parametrize("name", ["transport", "metrics-1", "persistence-events"])
def test_a_subscriber_has_no_name_with_which_it_could_read_for_the_product(
    tmp_path: Path, name: str
) -> None:
    users = NatsUsers(tmp_path)
    with pytest.raises(ValueError, match="choose another name"):
        users.add_subscriber(name, {"publish": [], "subscribe": []})
    assert not users.configuration.exists()
