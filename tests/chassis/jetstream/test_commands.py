"""Commands are queued once."""

import asyncio

import pytest

from contracts import subjects
from contracts.commands import COMMAND
from infra.servers import NatsServer
from services.chassis.jetstream import subscription
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from tests.chassis.story import count_of, message, new_chat

pytestmark = [pytest.mark.broker]


async def test_a_command_sent_twice_is_queued_once(own_gateway: JetStreamGateway) -> None:
    command, other = message(new_chat()), message(new_chat())
    for one in (command, command, other, command):
        await own_gateway.commands.send(one)
    await asyncio.gather(*(own_gateway.commands.send(command) for _ in range(5)))
    assert await count_of(own_gateway, subjects.COMMANDS, subjects.ALL_COMMANDS) == 2
    queued = await own_gateway.js.get_last_msg(
        subjects.COMMANDS, subjects.command(command.key, command.name)
    )
    assert COMMAND.validate_json(queued.data or b"") == command


async def test_a_command_larger_than_nats_accepts_is_rejected(gateway: JetStreamGateway) -> None:
    with pytest.raises(NatsRejectedError, match="bytes, accepted are"):
        await gateway.commands.send(message(new_chat(), "x" * 1_048_576))
    await gateway.commands.send(message(new_chat(), "the connection stands"))


async def test_a_command_to_an_unavailable_server_fails_with_its_subject_or_is_stored_once(
    own_nats: NatsServer, own_gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "SUBSCRIBE_SECONDS", 0.1)
    command = message(new_chat())
    await asyncio.to_thread(own_nats.kill)
    with pytest.raises(NatsUnavailableError, match=subjects.command(command.key, command.name)):
        await own_gateway.commands.send(command)
    monkeypatch.undo()
    await asyncio.to_thread(own_nats.start)
    await own_gateway.commands.send(command)
    assert await count_of(own_gateway, subjects.COMMANDS, subjects.ALL_COMMANDS) == 1
