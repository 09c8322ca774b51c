"""What users are told while NATS cannot store, in every way in which they can ask for a write."""

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
from services.chassis.bus import Bus
from services.chassis.process import build_broker, connected
from services.chassis.storage import why_stopped
from services.transport.app import Settings
from services.transport.attachments import Attachments
from services.transport.refusals import NOT_STORED
from tests.disks import SmallDisk
from tests.transport.conftest import running
from tests.transport.story import ASKED, KEY, STARTED, WORKFLOW, Chat, asks, client, offer

pytestmark = [pytest.mark.broker]

DETAIL = f"service: {NOT_STORED}"


@pytest.fixture
async def bus(disk_nats: NatsServer) -> AsyncIterator[Bus]:
    settings = Settings(nats_url=disk_nats.url)
    async with connected(build_broker(settings, "test"), settings) as bus:
        yield bus


@pytest.fixture
async def http(disk_nats: NatsServer, bus: Bus) -> AsyncIterator[httpx.AsyncClient]:  # noqa: ARG001
    settings = Settings(nats_url=disk_nats.url, start_wait_seconds=0.3, handshake_seconds=0.05)
    async with running(settings) as (address, _), httpx.AsyncClient(timeout=30) as http:
        http.base_url = f"http://{address}"
        yield http


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.chassis.monitor.LOOK_SECONDS", 0.2)


async def stops(bus: Bus, disk: SmallDisk, *streams: str) -> None:
    """Fill the disk and write until these streams have noticed; foreign messages spoil no chat."""
    disk.fill()
    where = {
        subjects.EVENTS: "mozaiks.evt.foreign",
        subjects.COMMANDS: "mozaiks.timer.foreign",
        subjects.object_stream(subjects.ATTACHMENTS): "$O.attachments.C.foreign",
    }
    for stream in streams:
        while await why_stopped(bus.nc, stream, 2) is None:
            with suppress(NatsError):
                await bus.nc.request(where[stream], bytes(4096), timeout=0.2)


async def waits_for(http: httpx.AsyncClient, what: str | None) -> str | None:
    async with asyncio.timeout(20):
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
            "/api/user-input/submit", json={"input_request_id": ASKED, "user_input": "red"}
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
async def test_whoever_asks_for_a_write_is_refused_with_a_reason_until_there_is_room(
    http: httpx.AsyncClient, bus: Bus, disk_nats: NatsServer, disk: SmallDisk, stopped: str
) -> None:
    chat = Chat(bus, KEY)
    await offer(bus, WorkflowCard(name=WORKFLOW, pattern="DefaultPattern"))
    await chat.append(STARTED, asks())
    address = http.base_url.netloc.decode()
    viewer = await client(f"{address}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await stops(bus, disk, stopped)
    told = await waits_for(http, stopped)
    assert told is not None
    assert "no space left on device" in told
    for answer in await everything_asked(http, chat):
        assert (answer.status_code, answer.json()) == (503, {"detail": DETAIL})
    await viewer.say(type="user.input.submit", chat_id=chat.key.chat, text="Hello")
    refusal = await viewer.until("chat.error")
    assert refusal["data"]["error_code"] == "SERVICE_UNAVAILABLE"
    assert NOT_STORED in refusal["data"]["message"]
    await viewer.close()
    disk.free()
    await asyncio.to_thread(disk_nats.restart)
    await waits_for(http, None)
    codes = [answer.status_code for answer in await everything_asked(http, chat)]
    assert all(code < 300 for code in codes)


async def test_an_upload_that_does_not_fit_leaves_nothing_and_may_be_tried_again(
    bus: Bus, disk_nats: NatsServer, disk: SmallDisk
) -> None:
    attachments = Attachments(bus, 10_000_000, 10_000_000)
    path = disk.folder.parent / "file"
    path.write_bytes(b"0123456789abcdef" * 40_000)
    await stops(bus, disk)
    with path.open("rb") as file, pytest.raises(Exception, match="object name"):
        await attachments.keep("name", file)
    store = await bus.js.object_store(subjects.ATTACHMENTS)
    with pytest.raises(NotFoundError):
        await store.get_info("name")
    disk.free()
    await asyncio.to_thread(disk_nats.restart)
    with path.open("rb") as file:
        await attachments.keep("name", file)
    given = b"".join([piece async for piece in await attachments.pieces("name")])
    assert given == path.read_bytes()


async def test_half_an_object_is_never_given_and_is_made_whole_by_the_next_upload(
    bus: Bus, tmp_path: Path
) -> None:
    attachments = Attachments(bus, 10_000_000, 10_000_000)
    path = tmp_path / "file"
    path.write_bytes(b"x" * 300_000)
    with path.open("rb") as file:
        await attachments.keep("name", file)
    stream = subjects.object_stream(subjects.ATTACHMENTS)
    await bus.js.purge_stream(stream, subject="$O.attachments.C.>", keep=1)
    with pytest.raises(Exception, match="object name is not whole"):
        await attachments.pieces("name")
    with path.open("rb") as file:
        await attachments.keep("name", file)
    given = b"".join([piece async for piece in await attachments.pieces("name")])
    assert given == path.read_bytes()
