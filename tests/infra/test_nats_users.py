"""Each service's NATS user may do what the service does, and nothing else: on a real nats-server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from infra.nats_users import OPERATOR, NatsUsers
from infra.servers import NatsServer
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.broker

KEY = ChatKey(AppId("acme"), ChatId("chat"))
EVENT = subjects.event(KEY, "runtime")
COMMAND = subjects.command(KEY, "start_chat")
TIMER = subjects.timer(KEY, "x")
DELTA = subjects.delta(KEY)
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
    ],
    "streams": [EVENT, COMMAND, "$JS.API.STREAM.MSG.GET.EVENTS", "$JS.API.STREAM.DELETE.EVENTS"],
}
EVERY_SERVICE = [
    "$JS.API.STREAM.DELETE.EVENTS",
    "$JS.API.CONSUMER.DELETE.COMMANDS.orchestrator",
    "$JS.API.SERVER.REMOVE",
]
SERVICES = ("transport", "orchestrator", "persistence", "metrics")


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> NatsUsers:
    return NatsUsers(tmp_path_factory.mktemp("users"))


@pytest.fixture(scope="module")
def secured(
    nats: NatsServer,  # noqa: ARG001
    users: NatsUsers,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("secured"), options=users.config())
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def signed_in(
    server: NatsServer, users: NatsUsers, user: str
) -> AsyncIterator[tuple[Client, list[str]]]:
    """A connection of a user, and what the server has refused it."""
    refused: list[str] = []

    async def on_error(error: Exception) -> None:
        refused.append(str(error))

    nc = await nats.connect(
        server.url,
        user=user,
        password=users.password_file(user).read_text(),
        error_cb=on_error,
        inbox_prefix=f"_INBOX_{user}".encode(),
    )
    try:
        yield nc, refused
    finally:
        await nc.close()


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_a_service_is_refused_what_is_not_its_own(
    secured: NatsServer, users: NatsUsers, user: str
) -> None:
    forbidden = [*FORBIDDEN[user], *(EVERY_SERVICE if user in SERVICES else [])]
    async with signed_in(secured, users, user) as (nc, refused):
        for subject in forbidden:
            await nc.publish(subject, b"{}")
        await nc.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(refused) < len(forbidden):  # noqa: ASYNC110  the callback has no event
                await asyncio.sleep(0.01)
    assert all("permissions violation" in one.lower() for one in refused)


@pytest.mark.parametrize("user", ["transport", "persistence", "metrics"])
async def test_a_service_hears_nothing_that_is_not_its_own(
    secured: NatsServer, users: NatsUsers, user: str
) -> None:
    async with signed_in(secured, users, user) as (nc, refused):
        for subject in (">", "mozaiks.evt.>", "mozaiks.cmd.>", "_INBOX_orchestrator.>"):
            await nc.subscribe(subject)
        await nc.flush()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(refused) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


async def test_nobody_connects_without_a_password(secured: NatsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", secured.port)
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    answer = await asyncio.wait_for(reader.read(), PATIENCE_SECONDS)
    writer.close()
    await writer.wait_closed()
    assert b"-ERR 'Authorization Violation'" in answer
    assert b"PONG" not in answer


async def test_the_operator_may_do_everything(secured: NatsServer, users: NatsUsers) -> None:
    async with signed_in(secured, users, OPERATOR) as (nc, refused):
        await nc.subscribe(">")
        await nc.publish(EVENT, b"{}")
        await nc.flush()
        assert (await nc.jetstream().account_info()).streams == 0
    assert not refused


def test_passwords_stay_from_one_start_to_the_next_and_are_private(tmp_path: Path) -> None:
    first, again = NatsUsers(tmp_path / "users"), NatsUsers(tmp_path / "users")
    assert first.config() == again.config()
    files = list((tmp_path / "users").iterdir())
    assert {file.stem for file in files} == {OPERATOR, "streams", *SERVICES}
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    assert len({file.read_text() for file in files}) == len(files)
