from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from contracts import subjects
from contracts.commands import AttachFile
from contracts.events.chat import AttachmentUploaded
from contracts.ids import UserId
from services.chassis.bus import Bus
from services.transport.attachments import AT_ONCE, Attachments
from services.transport.chats import MOST_FILES
from services.transport.refusals import RefusalError
from tests.transport.conftest import Open
from tests.transport.story import ANA, COMPLETED, STARTED, Chat, client, ordered

pytestmark = pytest.mark.broker

LIMITS = {"upload_max_bytes": 500_000, "upload_bundle_max_bytes": 1000}


@pytest.fixture
async def http(open_transport: Open) -> AsyncIterator[httpx.AsyncClient]:
    address = await open_transport(**LIMITS)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=20) as http:
        yield http


async def upload(
    http: httpx.AsyncClient, chat: Chat, data: bytes, name: str = "a.txt", **more: str
) -> httpx.Response:
    said = {"appId": chat.key.app, "userId": "ana", "chatId": chat.key.chat, **more}
    return await http.post("/api/chat/upload", data=said, files={"file": (name, data)})


async def known(bus: Bus, chat: Chat) -> AttachmentUploaded:
    """Do what the orchestrator does with the order to attach a file."""
    order = await ordered(bus, chat.key)
    assert isinstance(order, AttachFile)
    body = order.model_dump(exclude={"command_id", "app_id", "chat_id", "trace", "name"})
    attached = AttachmentUploaded(**body)
    await chat.append(attached)
    return attached


async def test_a_file_comes_back_to_its_owner_as_it_was_given(
    http: httpx.AsyncClient, chat: Chat, bus: Bus
) -> None:
    await chat.append(STARTED)
    data = b"loaf,price\n" * 40_000  # several pieces, more than one page of them holds
    told = (await upload(http, chat, data, "../préis list.csv")).json()
    file = told["attachment"]
    assert (told["success"], told["chat_id"], told["user_id"]) == (True, chat.key.chat, "ana")
    assert (file["filename"], file["content_type"]) == ("préis list.csv", "text/csv")
    assert (file["size_bytes"], file["intent"], file["bundle_path"]) == (440_000, "context", None)
    attached = await known(bus, chat)
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


async def test_the_older_form_says_whose_it_is_in_its_path(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED)
    said = {"chatId": chat.key.chat, "intent": "bundle", "bundle_path": "docs/a.md"}
    url = f"/api/chat/upload/{chat.key.app}/ana"
    told = (await http.post(url, data=said, files={"file": ("a.md", b"# A")})).json()
    file = told["attachment"]
    assert (file["intent"], file["bundle_path"]) == ("bundle", "docs/a.md")


async def test_the_same_file_twice_is_one(http: httpx.AsyncClient, chat: Chat, bus: Bus) -> None:
    await chat.append(STARTED)
    one, again = [(await upload(http, chat, b"same")).json()["attachment"] for _ in range(2)]
    other = (await upload(http, chat, b"same", "b.txt")).json()["attachment"]
    assert one["attachment_id"] == again["attachment_id"] != other["attachment_id"]
    orders = subjects.command(chat.key, "attach_file")
    waiting = await bus.js.stream_info(subjects.COMMANDS, subjects_filter=orders)
    assert waiting.state.subjects == {orders: 2}


async def test_those_who_watch_hear_of_a_file(
    http: httpx.AsyncClient, chat: Chat, bus: Bus
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{http.base_url.netloc.decode()}{chat.path()}?after=0")
    file = (await upload(http, chat, b"words")).json()["attachment"]
    await known(bus, chat)
    frame = (await viewer.until("chat.attachment_uploaded"))["data"]
    named = ("attachment_id", "filename", "stored_path", "size_bytes", "content_type", "user_id")
    assert {name: frame[name] for name in named} == {name: file[name] for name in named}
    await viewer.close()


async def test_a_file_is_for_the_chats_own_user(
    http: httpx.AsyncClient, chat: Chat, bus: Bus
) -> None:
    await chat.append(STARTED)
    assert (await upload(http, chat, b"words", userId="bob")).status_code == 404
    file = (await upload(http, chat, b"words")).json()["attachment"]
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/attachments/{file['attachment_id']}"
    unknown = await http.get(path, params={"user_id": "ana"})
    assert unknown.json() == {"detail": "attachment_id: there is no such attachment"}
    await known(bus, chat)
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
        (b"x", {"bundle_path": "../a"}, 400, "bundle_path"),
        (b"x", {"bundle_path": "/etc/a"}, 400, "bundle_path"),
        (b"x", {"bundle_path": "a\\b"}, 400, "bundle_path"),
        (b"x", {"chatId": "none"}, 404, "chat_id"),
        (b"x", {"chatId": "c" * 5000}, 413, "chatId"),
        (b"x", {"userId": ""}, 404, "user_id"),
    ],
)
async def test_a_file_that_is_not_taken_is_refused_by_the_field(
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
            b'--b\r\nContent-Disposition: form-data; name="chatId"\r\n\r\nx\r\n' * 2,
            "chatId",
        ),
    ],
)
async def test_a_form_that_is_none_is_refused(
    http: httpx.AsyncClient, kind: str, content: bytes, field: str
) -> None:
    reply = await http.post("/api/chat/upload", content=content, headers={"content-type": kind})
    assert reply.status_code == 400, reply.text
    assert reply.json()["detail"].startswith(field), reply.text


async def test_a_file_without_a_name_is_no_file(http: httpx.AsyncClient) -> None:
    said = {"appId": "acme", "userId": "ana", "chatId": "c", "file": "words"}
    reply = await http.post("/api/chat/upload", files={k: (None, v) for k, v in said.items()})
    assert reply.json() == {"detail": "file: must be a file, with its name"}


async def test_a_chat_takes_files_until_it_has_ended_or_has_enough(
    http: httpx.AsyncClient, chat: Chat, bus: Bus
) -> None:
    await chat.append(STARTED)
    await upload(http, chat, b"words")
    one = await known(bus, chat)
    more = [one.model_copy(update={"attachment_id": f"att_{n}"}) for n in range(MOST_FILES)]
    await chat.append(*more[1:])
    assert (await upload(http, chat, b"more words")).status_code == 429
    await chat.append(COMPLETED)
    assert (await upload(http, chat, b"more words")).status_code == 409


async def test_bytes_that_are_gone_are_not_found(http: httpx.AsyncClient, chat: Chat) -> None:
    lost: dict[str, Any] = {"filename": "a", "size_bytes": 1, "content_type": "text/plain"}
    await chat.append(
        STARTED,
        AttachmentUploaded(attachment_id="att_1", user_id=UserId(ANA), digest="00", **lost),
    )
    path = f"/api/chats/{chat.key.app}/{chat.key.chat}/attachments/att_1"
    assert (await http.get(path, params={"user_id": "ana"})).status_code == 404


async def test_no_more_files_come_in_at_once_than_may(bus: Bus) -> None:
    attachments = Attachments(bus, 10, 10)
    coming = [attachments.one_more() for _ in range(AT_ONCE)]
    for one in coming:
        one.__enter__()
    with pytest.raises(RefusalError, match="come in already"), attachments.one_more():
        pass
    coming[0].__exit__(None, None, None)
    with attachments.one_more():
        pass
