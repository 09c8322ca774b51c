"""Renaming, archiving, deleting and undeleting a chat over HTTP and the WebSocket."""

from collections.abc import AsyncIterator

import httpx
import pytest

from contracts import subjects
from contracts.catalogue import ChatSummary
from contracts.commands import ArchiveChat, DeleteChat, RenameChat, UnarchiveChat, UndeleteChat
from contracts.events.chat import ChatForked, Segment
from contracts.events.chat_list import ChatDeleted, ChatUndeleted
from contracts.ids import ChatId, Seq
from services.chassis.jetstream.event_log import START, Place
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.persistence import Persistence, answering
from tests.transport.story import (
    ANA,
    NOON,
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    client,
    last_command,
)

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("persistence")]

OWNER = {"user_id": ANA}
DELETED = ChatDeleted(user_id=ANA, grace_seconds=60)


@pytest.fixture
async def persistence(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    async with answering(gateway) as persistence:
        yield persistence


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


def path(chat: Chat) -> str:
    return f"/api/chats/{chat.key.app}/{chat.key.chat}"


async def test_each_change_of_a_list_is_a_command(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    for what, body, kind in (
        ("rename", {**OWNER, "title": "  Bread\n shop "}, RenameChat),
        ("archive", OWNER, ArchiveChat),
        ("unarchive", OWNER, UnarchiveChat),
    ):
        answer = await http.post(f"{path(chat)}/{what}", json=body)
        assert (answer.status_code, answer.json()) == (200, {"status": "accepted"})
        command = await last_command(gateway, chat.key)
        assert isinstance(command, kind)
        assert not isinstance(command, RenameChat) or command.title == "Bread shop"
    assert (await http.delete(path(chat), params=OWNER)).status_code == 200
    deleting = await last_command(gateway, chat.key)
    assert isinstance(deleting, DeleteChat)
    assert deleting.grace_seconds == 30 * 24 * 3600


@pytest.mark.parametrize(
    ("title", "problem"),
    [("", "must not be empty"), (" \n", "must not be empty"), ("x" * 81, "has 81 characters")],
)
async def test_a_title_is_one_line_of_a_limited_length(
    http: httpx.AsyncClient, chat: Chat, title: str, problem: str
) -> None:
    await chat.append(STARTED)
    answer = await http.post(f"{path(chat)}/rename", json={**OWNER, "title": title})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(f"title: {problem}")


async def test_a_deleted_chat_is_hidden_and_says_so_to_its_user_alone(
    http: httpx.AsyncClient, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN, DELETED)
    place = f"{chat.key.app}/{WORKFLOW}/{chat.key.chat}"
    assert (await http.get(f"/api/chats/exists/{place}")).json() == {"exists": False}
    assert (await http.get(f"/api/chats/meta/{place}")).json() == {"exists": False}
    detail = {"detail": "chat_id: the chat is deleted; it can be undeleted until it is erased"}
    for answer in (
        await http.get(f"{path(chat)}/events", params=OWNER),
        await http.post(f"/chat/{chat.key.app}/{chat.key.chat}/{ANA}/input", json={"message": "?"}),
        await http.post(f"{path(chat)}/cancel", json=OWNER),
        await http.post(f"{path(chat)}/rename", json={**OWNER, "title": "Bread"}),
    ):
        assert (answer.status_code, answer.json()) == (410, detail)
    other = await http.post(f"{path(chat)}/undelete", json={"user_id": "bob"})
    assert other.status_code == 404


async def test_a_deleted_chat_can_be_undeleted_and_deleting_it_again_changes_nothing(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN, DELETED)
    assert (await http.delete(path(chat), params=OWNER)).status_code == 200
    assert (await http.post(f"{path(chat)}/undelete", json=OWNER)).status_code == 200
    assert isinstance(await last_command(gateway, chat.key), UndeleteChat)
    await chat.append(ChatUndeleted(user_id=ANA))
    assert (await http.post(f"{path(chat)}/cancel", json=OWNER)).status_code == 200


async def forked(gateway: JetStreamGateway, origin: Chat) -> Chat:
    """A chat that goes on from the end of another one."""
    head = origin.place.head
    fork = Chat(gateway, place=Place(START.position, head))
    began = ChatForked(
        user_id=ANA,
        origin=origin.key.chat,
        seq=head.seq,
        segments=[Segment(chat_id=origin.key.chat, last=head.seq)],
    )
    await fork.append(began)
    return fork


async def test_a_chat_with_living_forks_is_deleted_with_them_or_not(
    http: httpx.AsyncClient, gateway: JetStreamGateway, persistence: Persistence, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    fork, gone = await forked(gateway, chat), await forked(gateway, chat)
    await gone.append(DELETED)
    for one in (chat, fork, gone):
        await persistence.project(one)
    refused = await http.delete(path(chat), params=OWNER)
    assert refused.status_code == 409
    assert fork.key.chat in refused.json()["detail"]
    accepted = await http.delete(path(chat), params={**OWNER, "with_forks": True})
    assert accepted.status_code == 200
    for one in (chat, fork):
        assert isinstance(await last_command(gateway, one.key), DeleteChat)
    await fork.append(DELETED)
    assert (await http.delete(path(chat), params=OWNER)).status_code == 200


async def test_archived_and_deleted_chats_are_not_listed(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    bucket = await gateway.key_values.bucket(subjects.CHATS)
    user = f"user-{chat.key.chat}"
    for name, hidden in (("a", {}), ("b", {"archived": True}), ("c", {"deleted": True})):
        summary = ChatSummary.model_validate(
            {
                "app_id": chat.key.app,
                "chat_id": ChatId(name),
                "user_id": user,
                "workflow_name": WORKFLOW,
                "status": "waiting",
                "created_at": NOON,
                "updated_at": NOON,
                "last_seq": Seq(3),
                **hidden,
            }
        )
        key = subjects.chat_summary_key(summary.app_id, summary.user_id, summary.chat_id)
        await bucket.put(key, summary.model_dump_json().encode())
    listed = (await http.get(f"/api/sessions/list/{chat.key.app}/{user}")).json()
    assert [one["chat_id"] for one in listed["sessions"]] == ["a"]
    ids = await http.get(f"/api/chats/{chat.key.app}/{WORKFLOW}", params={"user_id": user})
    assert ids.json() == {"chat_ids": ["a"]}


async def test_a_socket_changes_the_list_and_shows_what_has_changed(
    transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    place = f"{WORKFLOW}/{chat.key.app}/{chat.key.chat}/{ANA}"
    page = await client(f"{transport}/ws/{place}?after=0")
    await page.until("chat.resume_boundary")
    await page.send(type="chat.rename", chat_id=chat.key.chat, title="x" * 81)
    assert (await page.until("chat.error"))["data"]["field"] == "title"
    await page.send(type="chat.delete", chat_id=chat.key.chat)
    await page.send(type="chat.archive", chat_id="another")  # answered once the one before is done
    assert (await page.until("chat.error"))["data"]["error_code"] == "NOT_ALLOWED"
    assert isinstance(await last_command(gateway, chat.key), DeleteChat)
    await chat.append(DELETED)
    assert (await page.until("chat.deleted"))["data"]["erasable_at"]
