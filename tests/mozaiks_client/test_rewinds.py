"""The client's retry, edit and rewind against a transport on a real NATS."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from contracts.ids import AppId, ChatKey, new_chat_id
from mozaiks_client import Client, RewindRefusedError
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.conftest import gateway as gateway
from tests.transport.conftest import shared_transport as shared_transport
from tests.transport.conftest import transport as transport
from tests.transport.http.test_rewinds import ANSWERED, WITH_EFFECT, handled
from tests.transport.story import ANA, DONE, WORKFLOW, YOUR_TURN, Chat

pytestmark = pytest.mark.broker


@pytest.fixture
async def client(transport: str) -> AsyncIterator[Client]:
    app = f"app-{new_chat_id()}"
    async with Client(f"http://{transport}", app=app, user=ANA, timeout=20) as client:
        yield client


async def test_what_needs_to_be_confirmed_is_in_the_error(
    client: Client, gateway: JetStreamGateway
) -> None:
    stored = Chat(gateway, ChatKey(AppId(client.app), new_chat_id()))
    await stored.append(*WITH_EFFECT)
    chat = client.chat(stored.key.chat, WORKFLOW)
    with pytest.raises(RewindRefusedError) as refused:
        await chat.retry()
    assert refused.value.code == "CONFIRMATION_REQUIRED"
    assert [one["tool"] for one in refused.value.effects] == ["look"]
    position, _ = await asyncio.gather(chat.retry(confirm=True), handled(gateway, stored))
    assert position == 9


async def test_a_message_is_edited_and_the_chat_goes_back(
    client: Client, gateway: JetStreamGateway
) -> None:
    stored = Chat(gateway, ChatKey(AppId(client.app), new_chat_id()))
    await stored.append(*ANSWERED)
    chat = client.chat(stored.key.chat, WORKFLOW)
    position, _ = await asyncio.gather(chat.edit(2, "Hello", seen_seq=7), handled(gateway, stored))
    assert position == 8
    assert await chat.edit(2, "Hello", seen_seq=7) == 8  # the same request again
    turn = {"turn": 3}
    await stored.append(DONE.model_copy(update=turn), YOUR_TURN.model_copy(update={"turn": 4}))
    with pytest.raises(RewindRefusedError) as refused:
        await asyncio.gather(chat.rewind(3), handled(gateway, stored))
    assert refused.value.code == "NOT_A_RESTING_POINT"
