"""A message with a `client_message_id` that is sent again: over each protocol, on any replica, at any time."""

import httpx
import pytest

from contracts import subjects
from contracts.commands import SendMessage
from contracts.message_ids import client_message_id, message_command_id
from contracts.subjects import InvalidIdError
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.transport.conftest import Open
from tests.transport.story import (
    ANA,
    COMPLETED,
    KEY,
    SELECTED,
    STARTED,
    YOUR_TURN,
    Chat,
    client,
    last_command,
    remove_commands,
    user_message,
)

pytestmark = pytest.mark.broker


async def count(gateway: JetStreamGateway, chat: Chat) -> int:
    """How many messages to a chat are in the queue."""
    subject = subjects.command(chat.key, "send_message")
    info = await gateway.js.stream_info(subjects.COMMANDS, subjects_filter=subject)
    return (info.state.subjects or {}).get(subject, 0)


def path(address: str, chat: Chat) -> str:
    return f"http://{address}/chat/{chat.key.app}/{chat.key.chat}/{ANA}/input"


async def test_a_message_is_one_command_whatever_sends_it_and_wherever(
    open_transport: Open, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    addresses = [await open_transport(), await open_transport()]
    body = {"message": "Hello", "client_message_id": "m-1"}
    async with httpx.AsyncClient(timeout=20) as http:
        for address in (*addresses, *addresses):
            assert (await http.post(path(address, chat), json=body)).status_code == 200
        assert await count(gateway, chat) == 1
        for address in addresses:
            socket = await client(f"{address}{chat.path()}?after=0")
            await socket.until("chat.resume_boundary")
            await socket.send(
                type="user.input.submit",
                chat_id=chat.key.chat,
                text="Hello",
                client_message_id="m-1",
            )
            assert (await socket.until("ack.input"))["data"]["client_message_id"] == "m-1"
        assert await count(gateway, chat) == 1
        other = {"message": "Hello", "client_message_id": "m-2"}
        await http.post(path(addresses[0], chat), json=other)
        assert await count(gateway, chat) == 2


async def test_a_message_that_was_taken_is_accepted_again_after_the_end_of_the_chat(
    open_transport: Open, chat: Chat, gateway: JetStreamGateway
) -> None:
    address = await open_transport()
    await chat.append(STARTED, SELECTED, YOUR_TURN)
    body = {"message": "Bye", "client_message_id": "m-1"}
    async with httpx.AsyncClient(timeout=20) as http:
        assert (await http.post(path(address, chat), json=body)).status_code == 200
        command = await last_command(gateway, chat.key)
        assert isinstance(command, SendMessage)
        await chat.append(user_message("Bye"), COMPLETED, cause=command.command_id)
        await remove_commands(gateway, chat.key)
        assert (await http.post(path(address, chat), json=body)).status_code == 200
        late = {"message": "One more", "client_message_id": "m-2"}
        assert (await http.post(path(address, chat), json=late)).status_code == 409
        unnamed = await http.post(path(address, chat), json={"message": "Bye"})
        assert unnamed.status_code == 409
    assert await count(gateway, chat) == 0


async def test_the_frame_of_a_message_has_the_id_that_its_client_gave_it(
    open_transport: Open, chat: Chat
) -> None:
    command = message_command_id(chat.key, "m 1", "client_message_id")
    await chat.append(STARTED)
    await chat.append(user_message("Hello"), cause=command)
    socket = await client(f"{await open_transport()}{chat.path()}?after=0")
    assert (await socket.until("chat.text"))["data"]["client_message_id"] == "m 1"


@pytest.mark.parametrize("given", ["", "x" * 65, "ü" * 64, 7])
async def test_an_id_that_cannot_be_one_is_refused_by_its_name(
    open_transport: Open, chat: Chat, given: object
) -> None:
    await chat.append(STARTED)
    async with httpx.AsyncClient(timeout=20) as http:
        body = {"message": "Hello", "client_message_id": given}
        answer = await http.post(path(await open_transport(), chat), json=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("client_message_id: ")


def test_the_id_of_a_clients_message_is_in_the_cause_of_its_events() -> None:
    assert client_message_id(message_command_id(KEY, "m.1 ü", "client_message_id")) == "m.1 ü"
    assert client_message_id("9c5b1f1e") is None
    with pytest.raises(InvalidIdError, match="client_message_id"):
        message_command_id(KEY, "", "client_message_id")
