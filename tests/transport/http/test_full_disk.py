"""Every way to request a write, while NATS cannot store: each gets an error with the reason."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts import subjects
from contracts.catalogue import WorkflowCard
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.jetstream.storage_health import find_stopped_reason
from services.chassis.process.broker import build_broker, connected
from services.transport.chats.attachments import AttachmentStore
from services.transport.errors import STORAGE_FULL_MESSAGE
from services.transport.settings import Settings
from tests.disks import SmallDisk
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import running
from tests.transport.story import (
    KEY,
    QUESTION,
    STARTED,
    WORKFLOW,
    Chat,
    client,
    publish_cards,
    question_asked,
)

pytestmark = [pytest.mark.broker]

DETAIL = f"service: {STORAGE_FULL_MESSAGE}"


@pytest.fixture
async def gateway(disk_nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    settings = Settings(nats_url=disk_nats.url)
    async with connected(build_broker(settings, "test"), settings) as gateway:
        yield gateway


@pytest.fixture
async def http(
    disk_nats: NatsServer,
    gateway: JetStreamGateway,  # noqa: ARG001
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        nats_url=disk_nats.url, start_wait_seconds=0.3, resume_handshake_seconds=0.05
    )
    async with running(settings) as (address, _), httpx.AsyncClient(timeout=30) as http:
        http.base_url = f"http://{address}"
        yield http


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.streams.monitor.CHECK_SECONDS", 0.2)


async def stops(gateway: JetStreamGateway, disk: SmallDisk, *streams: str) -> None:
    """Fill the disk, and write until these streams fail; the messages are not events of a chat."""
    disk.fill()
    where = {
        subjects.EVENTS: "mozaiks.evt.foreign",
        subjects.COMMANDS: "mozaiks.timer.foreign",
        subjects.object_stream(subjects.ATTACHMENTS): "$O.attachments.C.foreign",
    }
    for stream in streams:
        while await find_stopped_reason(gateway.nc, stream, 2) is None:
            with suppress(NatsError):
                await gateway.nc.request(where[stream], bytes(4096), timeout=0.2)


async def waits_for(http: httpx.AsyncClient, what: str | None) -> str | None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found: str | None = (await http.get("/ready")).json()["waiting_for"].get("storage")
            if (found is None) == (what is None) and (what or "") in (found or ""):
                return found
            await asyncio.sleep(0.1)


async def everything_asked(http: httpx.AsyncClient, chat: Chat) -> list[httpx.Response]:
    app, name = chat.key.app, chat.key.chat
    where = {"appId": app, "userId": "ana", "chatId": name}
    return [
        await http.post(f"/api/chats/{app}/{WORKFLOW}/start", json={"user_id": "ana"}),
        await http.post(
            "/api/user-input/submit", json={"input_request_id": QUESTION, "user_input": "red"}
        ),
        await http.post("/api/chat/upload", data=where, files={"file": ("a.txt", b"text")}),
        await http.post(
            f"/agui/{app}/{WORKFLOW}?user_id=ana",
            json={
                "threadId": "t",
                "runId": "r",
                "messages": [{"id": "m", "role": "user", "content": "Hello"}],
            },
        ),
    ]


@pytest.mark.parametrize("stopped", [subjects.EVENTS, subjects.COMMANDS])
async def test_writes_get_an_error_with_a_reason_until_there_is_room(
    http: httpx.AsyncClient,
    gateway: JetStreamGateway,
    disk_nats: NatsServer,
    disk: SmallDisk,
    stopped: str,
) -> None:
    chat = Chat(gateway, KEY)
    await publish_cards(gateway, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"))
    await chat.append(STARTED, question_asked())
    address = http.base_url.netloc.decode()
    viewer = await client(f"{address}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await stops(gateway, disk, stopped)
    told = await waits_for(http, stopped)
    assert told is not None
    assert "no space left on device" in told
    for answer in await everything_asked(http, chat):
        assert (answer.status_code, answer.json()) == (503, {"detail": DETAIL})
    await viewer.send(type="user.input.submit", chat_id=chat.key.chat, text="Hello")
    refusal = await viewer.until("chat.error")
    assert refusal["data"]["error_code"] == "SERVICE_UNAVAILABLE"
    assert STORAGE_FULL_MESSAGE in refusal["data"]["message"]
    await viewer.close()
    disk.free()
    await asyncio.to_thread(disk_nats.restart)
    await waits_for(http, None)
    codes = [answer.status_code for answer in await everything_asked(http, chat)]
    assert all(code < 300 for code in codes)


async def test_an_upload_that_does_not_fit_leaves_nothing_and_can_be_repeated(
    gateway: JetStreamGateway, disk_nats: NatsServer, disk: SmallDisk
) -> None:
    attachments = AttachmentStore(gateway, 10_000_000, 10_000_000)
    path = disk.folder.parent / "file"
    path.write_bytes(b"0123456789abcdef" * 40_000)
    await stops(gateway, disk)
    with path.open("rb") as file, pytest.raises(Exception, match="object name"):
        await attachments.put("name", file)
    store = await gateway.js.object_store(subjects.ATTACHMENTS)
    with pytest.raises(NotFoundError):
        await store.get_info("name")
    disk.free()
    await asyncio.to_thread(disk_nats.restart)
    with path.open("rb") as file:
        await attachments.put("name", file)
    given = b"".join([piece async for piece in await attachments.read("name")])
    assert given == path.read_bytes()


async def test_an_incomplete_object_is_never_served_and_is_completed_by_the_next_upload(
    gateway: JetStreamGateway, tmp_path: Path
) -> None:
    attachments = AttachmentStore(gateway, 10_000_000, 10_000_000)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 300_000)
    with path.open("rb") as file:
        await attachments.put("name", file)
    stream = subjects.object_stream(subjects.ATTACHMENTS)
    await gateway.js.purge_stream(stream, subject="$O.attachments.C.>", keep=1)
    with pytest.raises(Exception, match="object name is incomplete"):
        await attachments.read("name")
    with path.open("rb") as file:
        await attachments.put("name", file)
    given = b"".join([piece async for piece in await attachments.read("name")])
    assert given == path.read_bytes()
