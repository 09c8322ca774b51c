"""The client's list of chats, and what it does with a chat of it, against a transport on a real NATS."""

from collections.abc import AsyncIterator

import pytest

from contracts.commands import ArchiveChat, DeleteChat, RenameChat, UnarchiveChat, UndeleteChat
from contracts.events.chat_list import ChatArchived, ChatDeleted, ChatRenamed
from contracts.ids import AppId, ChatKey, new_chat_id
from mozaiks_client import ApiError, Client
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.conftest import gateway as gateway
from tests.transport.conftest import shared_transport as shared_transport
from tests.transport.conftest import transport as transport
from tests.transport.persistence import answering
from tests.transport.story import (
    ANA,
    RESPONDED,
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    last_command,
    user_message,
)

pytestmark = pytest.mark.broker


@pytest.fixture
async def client(transport: str) -> AsyncIterator[Client]:
    app = f"app-{new_chat_id()}"
    async with Client(f"http://{transport}", app=app, user=ANA, timeout=10) as client:
        yield client


async def test_chats_are_listed_page_by_page_and_searched(
    client: Client, gateway: JetStreamGateway
) -> None:
    chats = [Chat(gateway, ChatKey(AppId(client.app), new_chat_id())) for _ in range(4)]
    async with answering(gateway) as persistence:
        first, second, archived, deleted = chats
        await first.append(STARTED, user_message("Rye?"), SELECTED, RESPONDED)
        await second.append(STARTED, ChatRenamed(user_id=ANA, title="The planner"))
        await archived.append(STARTED, ChatArchived(user_id=ANA))
        await deleted.append(STARTED, ChatDeleted(user_id=ANA, grace_seconds=60))
        for chat in chats:
            await persistence.project(chat)
        listed = [one async for one in client.chats(limit=1)]
        assert {one.chat_id for one in listed} == {first.key.chat, second.key.chat}
        assert {one.title for one in listed} == {"Rye?", "The planner"}
        found = [one async for one in client.chats("plan", workflow=[WORKFLOW])]
        assert {(one.chat_id, one.excerpt) for one in found} == {
            (first.key.chat, "A plan."),
            (second.key.chat, None),
        }
        assert [one async for one in client.chats("plan", status=["failed"])] == []
        (old,) = [one async for one in client.chats(place="archived")]
        assert (old.chat_id, old.archived) == (archived.key.chat, True)
        (gone,) = [one async for one in client.chats(place="deleted")]
        assert (gone.chat_id, gone.deleted) == (deleted.key.chat, True)


@pytest.mark.parametrize("query", [{"place": "elsewhere"}, {"status": ["odd"]}, {"limit": 101}])
async def test_a_list_that_cannot_be_is_refused(client: Client, query: dict[str, str]) -> None:
    with pytest.raises(ApiError, match=next(iter(query))):
        _ = [one async for one in client.chats(**query)]  # type: ignore[arg-type]


async def test_a_chat_is_renamed_archived_and_deleted(
    client: Client, gateway: JetStreamGateway
) -> None:
    told = Chat(gateway, ChatKey(AppId(client.app), new_chat_id()))
    await told.append(STARTED, SELECTED, YOUR_TURN)
    chat = client.chat(told.key.chat, WORKFLOW)
    await chat.rename("Bread")
    assert isinstance(await last_command(gateway, told.key), RenameChat)
    await chat.archive()
    assert isinstance(await last_command(gateway, told.key), ArchiveChat)
    await chat.unarchive()
    assert isinstance(await last_command(gateway, told.key), UnarchiveChat)
    async with answering(gateway):  # it knows of no forks
        await chat.delete()
    assert isinstance(await last_command(gateway, told.key), DeleteChat)
    await told.append(ChatDeleted(user_id=ANA, grace_seconds=60))
    with pytest.raises(ApiError, match="the chat is deleted") as refused:
        await chat.send("Hello?")
    assert refused.value.status == 410
    await chat.undelete()
    assert isinstance(await last_command(gateway, told.key), UndeleteChat)
