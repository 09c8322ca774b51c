import asyncio
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.commands import AttachFile
from contracts.events.chat import AttachmentUploaded
from contracts.ids import AppId, UserId
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.chats.attachments import (
    MAX_CONCURRENT_UPLOADS,
    MAX_CONCURRENT_UPLOADS_PER_APP,
    UploadLimiter,
)
from services.transport.chats.service import MAX_FILES_PER_CHAT
from services.transport.errors import ApiError
from services.transport.http import multipart
from services.transport.http.multipart import (
    GRACE_SECONDS,
    MIN_BYTES_PER_SECOND,
    RECEIVE_TIMEOUT_SECONDS,
    receive_seconds,
)
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import SharedTransport, shared
from tests.transport.story import ANA, COMPLETED, STARTED, Chat, client, cut_sockets, last_command

pytestmark = pytest.mark.broker

LIMITS: dict[str, Any] = {"upload_max_bytes": 500_000, "upload_bundle_max_bytes": 1000}


@pytest.fixture(scope="module")
def shared_limited(nats: NatsServer) -> Iterator[SharedTransport]:
    with shared(nats_url=nats.url, **LIMITS) as transport:
        yield transport


@pytest.fixture
async def http(
    shared_limited: SharedTransport,
    gateway: JetStreamGateway,  # noqa: ARG001
) -> AsyncIterator[httpx.AsyncClient]:
    address = shared_limited.address()
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http:
        yield http
    await cut_sockets()


async def upload(
    http: httpx.AsyncClient, chat: Chat, data: bytes, name: str = "a.txt", **more: str
) -> httpx.Response:
    form = {"appId": chat.key.app, "userId": "ana", "chatId": chat.key.chat, **more}
    return await http.post("/api/chat/upload", data=form, files={"file": (name, data)})


async def known(gateway: JetStreamGateway, chat: Chat) -> AttachmentUploaded:
    """Append the event of the newest attach command, as the orchestrator would."""
    command = await last_command(gateway, chat.key)
    assert isinstance(command, AttachFile)
    body = command.model_dump(exclude={"command_id", "app_id", "chat_id", "trace", "name"})
    attached = AttachmentUploaded(**body)
    await chat.append(attached)
    return attached


async def test_a_file_is_downloaded_as_it_was_uploaded(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED)
    data = b"loaf,price\n" * 40_000  # several pieces, more than one page of them holds
    answer = (await upload(http, chat, data, "../préis list.csv")).json()
    file = answer["attachment"]
    assert (answer["success"], answer["chat_id"], answer["user_id"]) == (True, chat.key.chat, "ana")
    assert (file["filename"], file["content_type"]) == ("préis list.csv", "text/csv")
    assert (file["size_bytes"], file["intent"], file["bundle_path"]) == (440_000, "context", None)
    attached = await known(gateway, chat)
    assert attached.digest == sha256(data).hexdigest()
    assert attached.attachment_id == file["attachment_id"]

    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/attachments/{file['attachment_id']}"
    given = await http.get(path, params={"user_id": "ana"})
    assert given.content == data
    assert given.headers["content-length"] == "440000"
    assert given.headers["content-type"] == "text/csv; charset=utf-8"
    assert given.headers["x-content-type-options"] == "nosniff"
    assert given.headers["content-disposition"] == (
        "attachment; filename=\"pr_is list.csv\"; filename*=UTF-8''pr%C3%A9is%20list.csv"
    )
    stored = {"file_path": file["stored_path"], "user_id": "ana"}
    assert (await http.get("/api/download/workflow-file", params=stored)).content == data


async def test_the_older_upload_names_app_and_user_in_its_path(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    form = {"chatId": chat.key.chat, "intent": "bundle", "bundle_path": "docs/a.md"}
    url = f"/api/chat/upload/{chat.key.app}/ana"
    answer = (await http.post(url, data=form, files={"file": ("a.md", b"# A")})).json()
    file = answer["attachment"]
    assert (file["intent"], file["bundle_path"]) == ("bundle", "docs/a.md")


async def test_a_form_may_repeat_a_text_that_is_equal_as_chat_ui_does(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    form = {"appId": [chat.key.app, chat.key.app], "userId": "ana", "chatId": chat.key.chat}
    answer = await http.post("/api/chat/upload", data=form, files={"file": ("a.txt", b"a")})
    assert answer.status_code == 200, answer.text
    form["appId"] = [chat.key.app, "another"]
    refused = await http.post("/api/chat/upload", data=form, files={"file": ("a.txt", b"a")})
    assert refused.json() == {"detail": "appId: is given twice, with different values"}


async def test_the_same_file_uploaded_twice_is_one_attachment(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED)
    one, again = [(await upload(http, chat, b"same")).json()["attachment"] for _ in range(2)]
    other = (await upload(http, chat, b"same", "b.txt")).json()["attachment"]
    assert one["attachment_id"] == again["attachment_id"] != other["attachment_id"]
    subject = subjects.command(chat.key, "attach_file")
    waiting = await gateway.js.stream_info(subjects.COMMANDS, subjects_filter=subject)
    assert waiting.state.subjects == {subject: 2}


async def test_viewers_get_a_frame_for_a_new_file(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{http.base_url.netloc.decode()}{chat.path()}?after=0")
    file = (await upload(http, chat, b"words")).json()["attachment"]
    await known(gateway, chat)
    frame = (await viewer.until("chat.attachment_uploaded"))["data"]
    named = ("attachment_id", "filename", "stored_path", "size_bytes", "content_type", "user_id")
    assert {name: frame[name] for name in named} == {name: file[name] for name in named}
    await viewer.close()


async def test_a_file_is_for_the_chats_own_user(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED)
    assert (await upload(http, chat, b"words", userId="bob")).status_code == 404
    file = (await upload(http, chat, b"words")).json()["attachment"]
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/attachments/{file['attachment_id']}"
    unknown = await http.get(path, params={"user_id": "ana"})
    assert unknown.json() == {"detail": "attachment_id: no such attachment"}
    await known(gateway, chat)
    assert (await http.get(path, params={"user_id": "bob"})).status_code == 404
    assert (await http.get(path)).status_code == 400
    for stored in (file["stored_path"] + "x", "../../etc/passwd", "a.b", "acme..att_1"):
        found = await http.get(
            "/api/download/workflow-file", params={"file_path": stored, "user_id": "ana"}
        )
        assert found.status_code == 404, stored


@pytest.mark.parametrize(
    ("data", "more", "status", "field"),
    [
        (b"", {}, 400, "file"),
        (b"x" * 500_001, {}, 413, "file"),
        (b"x" * 1001, {"intent": "bundle"}, 413, "file"),
        (b"\x7fELF\0\0", {}, 415, "file"),
        (b"x", {"intent": "harm"}, 400, "intent"),
        (b"x", {"chatId": "none"}, 404, "chat_id"),
        (b"x", {"chatId": "c" * 5000}, 413, "chatId"),
        (b"x", {"userId": ""}, 404, "user_id"),
    ],
)
async def test_a_file_that_is_not_accepted_is_rejected_by_its_field(
    http: httpx.AsyncClient, chat: Chat, data: bytes, more: dict[str, str], status: int, field: str
) -> None:
    await chat.append(STARTED)
    reply = await upload(http, chat, data, **more)
    assert (reply.status_code, reply.json()["detail"].partition(":")[0]) == (status, field)


@pytest.mark.parametrize(
    ("kind", "content", "field"),
    [
        ("application/json", b"{}", "content-type"),
        ("multipart/form-data", b"", "content-type"),
        ("multipart/form-data; boundary=b", b"", "body"),
        ("multipart/form-data; boundary=b", b"--b\r\nwhat?", "body"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="chatId"\r\n\r\n\xff\r\n--b--\r\n',
            "body",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n',
            "chatId",
        ),
        (
            "multipart/form-data; boundary=b",
            (
                b'--b\r\nContent-Disposition: form-data; name="chatId"\r\n\r\nx\r\n'
                b'--b\r\nContent-Disposition: form-data; name="chatId"\r\n\r\ny\r\n--b--\r\n'
            ),
            "chatId: is given twice, with different values",
        ),
    ],
)
async def test_an_invalid_form_is_rejected(
    http: httpx.AsyncClient, kind: str, content: bytes, field: str
) -> None:
    reply = await http.post("/api/chat/upload", content=content, headers={"content-type": kind})
    assert reply.status_code == 400, reply.text
    assert reply.json()["detail"].startswith(field), reply.text


async def test_a_file_needs_a_name(http: httpx.AsyncClient) -> None:
    form = {"appId": "acme", "userId": "ana", "chatId": "c", "file": "words"}
    reply = await http.post("/api/chat/upload", files={k: (None, v) for k, v in form.items()})
    assert reply.json() == {"detail": "file: must be a file, with its name"}


async def test_a_chat_accepts_files_until_it_has_ended_or_reached_the_limit(
    http: httpx.AsyncClient, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED)
    await upload(http, chat, b"words")
    one = await known(gateway, chat)
    more = [one.model_copy(update={"attachment_id": f"att_{n}"}) for n in range(MAX_FILES_PER_CHAT)]
    await chat.append(*more[1:])
    assert (await upload(http, chat, b"more words")).status_code == 429
    await chat.append(COMPLETED)
    assert (await upload(http, chat, b"more words")).status_code == 409


async def test_a_file_whose_bytes_are_gone_is_not_found(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    lost: dict[str, Any] = {"filename": "a", "size_bytes": 1, "content_type": "text/plain"}
    await chat.append(
        STARTED,
        AttachmentUploaded(attachment_id="att_1", user_id=UserId(ANA), digest="00", **lost),
    )
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/attachments/att_1"
    assert (await http.get(path, params={"user_id": "ana"})).status_code == 404


async def test_concurrent_uploads_are_limited() -> None:
    uploads = UploadLimiter()
    coming = [uploads.acquire(()) for _ in range(MAX_CONCURRENT_UPLOADS)]
    for one in coming:
        one.__enter__()
    with pytest.raises(ApiError, match="service: upload limit reached"), uploads.acquire(()):
        pass
    coming[0].__exit__(None, None, None)
    with uploads.acquire(()):
        pass


async def test_one_app_leaves_uploads_for_the_others() -> None:
    uploads, slow, other = UploadLimiter(), AppId("slow"), AppId("other")
    coming = [uploads.acquire([slow]) for _ in range(MAX_CONCURRENT_UPLOADS_PER_APP)]
    for one in coming:
        one.__enter__()
    with pytest.raises(ApiError, match="app_id: upload limit reached"), uploads.acquire([slow]):
        pass
    with pytest.raises(ApiError, match="app_id: "), uploads.acquire([other, slow]):
        pass
    with uploads.acquire([other]):
        pass
    coming[0].__exit__(None, None, None)
    with uploads.acquire([slow]):
        pass


def test_a_form_has_to_arrive_at_a_least_rate() -> None:
    assert receive_seconds(0) == GRACE_SECONDS
    assert receive_seconds(10 * MIN_BYTES_PER_SECOND) == GRACE_SECONDS + 10
    assert receive_seconds(10**12) == RECEIVE_TIMEOUT_SECONDS


async def test_a_slow_upload_is_refused_by_its_reason(
    transport: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    await chat.append(STARTED)
    monkeypatch.setattr(multipart, "GRACE_SECONDS", 0.3)

    host, port = transport.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        "POST /api/chat/upload HTTP/1.1",
        f"Host: {transport}",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Length: 1000",
    )
    writer.write(
        "\r\n".join((*head, "", '--x\r\nContent-Disposition: form-data; name="a"')).encode()
    )
    await writer.drain()
    reply = await asyncio.wait_for(reader.readuntil(b"seconds are allowed"), PATIENCE_SECONDS)
    writer.close()
    assert reply.startswith(b"HTTP/1.1 429")
    assert b"body: was received too slowly: at least 8192 bytes a second" in reply
