"""The client's inbox against a transport on a real NATS, and persistence over a store in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from contracts import inbox
from contracts.commands import AnswerQuestion
from contracts.events.human import Approval, Audience
from contracts.ids import AppId, ChatKey, new_chat_id
from contracts.subjects import question
from mozaiks_client import ApiError, Client
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import Open
from tests.transport.conftest import gateway as gateway
from tests.transport.conftest import open_transport as open_transport
from tests.transport.persistence import Persistence, answering
from tests.transport.story import STARTED, Chat, last_command, question_answered, question_asked

pytestmark = pytest.mark.broker


@pytest.fixture
def app() -> AppId:
    return AppId(f"app-{new_chat_id()}")


@pytest.fixture
async def client(open_transport: Open, app: AppId) -> AsyncIterator[Client]:
    address = await open_transport(
        answer_link_secret="s" * 32, public_url="https://chat.example.com"
    )
    async with Client(f"http://{address}", app=app, user="zoe", timeout=10) as client:
        yield client


@pytest.fixture
async def persistence(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    async with answering(gateway) as persistence:
        yield persistence


async def asking(gateway: JetStreamGateway, persistence: Persistence, app: AppId) -> Chat:
    chat = Chat(gateway, ChatKey(app, new_chat_id()))
    update = {
        "approval": Approval(tool="pay", digest="d" * 64, allow_always=True),
        "audience": Audience(roles=["finance"]),
    }
    asked = question_asked(question(chat.key, 1, "call-1", 0)).model_copy(update=update)
    await chat.append(STARTED, asked)
    await persistence.project(chat)
    return chat


async def test_what_waits_for_a_role_is_listed_over_all_pages_and_decided(
    client: Client, gateway: JetStreamGateway, persistence: Persistence, app: AppId
) -> None:
    chats = {(await asking(gateway, persistence, app)).key for _ in range(3)}
    found = [one async for one in client.inbox(roles=["finance"], limit=2)]
    assert {ChatKey(app, one.chat_id) for one in found} == chats  # type: ignore[arg-type]
    assert [one async for one in client.inbox()] == []
    first = found[0]
    assert (first.tool, first.allow_always, first.options) == ("pay", True, ("red", "blue"))
    await client.decide(first, approved=False, reason="Too much")
    command = await last_command(gateway, ChatKey(app, first.chat_id))  # type: ignore[arg-type]
    assert isinstance(command, AnswerQuestion)
    assert (command.approved, command.text, command.digest) == (False, "Too much", "d" * 64)
    with pytest.raises(ApiError) as second:
        await client.answer(first, "yes")
    assert second.value.status == 404


async def test_a_link_of_the_client_answers_once(
    client: Client, gateway: JetStreamGateway, persistence: Persistence, app: AppId
) -> None:
    await asking(gateway, persistence, app)
    (found,) = [one async for one in client.inbox(roles=["finance"])]
    link = await client.answer_link(found, user="zoe", role="finance")
    path = link.url.removeprefix("https://chat.example.com")
    async with httpx.AsyncClient(base_url=client.address) as http:
        assert (await http.post(path, json={"approved": True})).status_code == 200
        assert (await http.post(path, json={"approved": True})).status_code == 404


async def test_an_inbox_is_watched_as_it_changes(
    client: Client, gateway: JetStreamGateway, persistence: Persistence, app: AppId
) -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        aclosing(client.watch_inbox(roles=["finance"])) as pages,
    ):
        assert await anext(pages) == ()
        chat = await asking(gateway, persistence, app)
        await gateway.inbox.announce(app, [inbox.of_role("finance")])
        (shown,) = await anext(pages)
        assert shown.chat_id == chat.key.chat
        await chat.append(question_answered(question(chat.key, 1, "call-1", 0)))
        await persistence.project(chat)
        await gateway.inbox.announce(app, [inbox.of_role("finance")])
        assert await anext(pages) == ()


async def test_an_inbox_of_an_unknown_address_is_refused(client: Client) -> None:
    client.user = "x" * 500
    with pytest.raises(ApiError):
        _ = [one async for one in client.inbox(limit=1000)]
