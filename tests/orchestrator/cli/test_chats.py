"""`mozaiks chats`: what its commands print and do, against a transport on a real NATS."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from contracts.commands import CancelChat, StopAnswer
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.cli import chats_group
from services.orchestrator.cli.__main__ import app
from services.orchestrator.runtime.explainer import Explainer
from tests.transport.auth.conftest import guarded as guarded
from tests.transport.auth.conftest import issuer as issuer
from tests.transport.auth.conftest import shared_guarded as shared_guarded
from tests.transport.auth.issuer import Issuer
from tests.transport.conftest import chat as chat
from tests.transport.conftest import gateway as gateway
from tests.transport.conftest import shared_transport as shared_transport
from tests.transport.conftest import transport as transport
from tests.transport.persistence import answering
from tests.transport.story import (
    ANA,
    COMPLETED,
    DONE,
    REQUESTED,
    RESPONDED,
    SELECTED,
    STARTED,
    YOUR_TURN,
    Chat,
    last_command,
    question_asked,
    user_message,
)

pytestmark = pytest.mark.broker
Mozaiks = Callable[..., Coroutine[Any, Any, Result]]


async def chats(address: str, app_id: str, *words: str) -> Result:
    """`mozaiks chats` with these words, on the product at an address."""
    place = ["--url", f"http://{address}", "--app", app_id]
    return await asyncio.to_thread(CliRunner().invoke, app, ["chats", *words, *place])


@pytest.fixture
def mozaiks(transport: str, chat: Chat) -> Mozaiks:
    """`mozaiks chats` with these words, on the chat's app."""
    return partial(chats, transport, chat.key.app)


async def test_a_users_chats_are_listed_and_searched(
    mozaiks: Mozaiks, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, user_message("Rye [bold]?"), SELECTED, RESPONDED)
    async with answering(gateway) as persistence:
        await persistence.project(chat)
        listed = await mozaiks("list", "--user", ANA)
        found = await mozaiks("list", "plan", "--user", ANA, "--json")
        others = await mozaiks("list", "--user", "bob", "--json")
        refused = await mozaiks("list", "--place", "attic")
    assert listed.exit_code == 0, listed.output
    assert chat.key.chat in listed.stdout
    assert "Rye [bold]?" in listed.stdout
    assert [one["chat_id"] for one in json.loads(found.stdout)] == [chat.key.chat]
    assert json.loads(others.stdout) == []
    assert refused.exit_code == 1
    assert "place: " in refused.stderr


async def test_a_chat_is_shown_and_its_end_is_printed(mozaiks: Mozaiks, chat: Chat) -> None:
    await chat.append(
        STARTED, user_message("Rye?"), SELECTED, REQUESTED, RESPONDED, DONE, YOUR_TURN
    )
    shown = await mozaiks("show", chat.key.chat, "--user", ANA)
    assert shown.exit_code == 0, shown.output
    assert "waiting" in shown.stdout
    state = await mozaiks("show", chat.key.chat, "--user", ANA, "--at", "1", "--json")
    assert json.loads(state.stdout)["sequence"] == 1
    end = await mozaiks("tail", chat.key.chat, "--user", ANA)
    assert end.exit_code == 0, end.output
    assert "A plan." in end.stdout
    frames = await mozaiks("tail", chat.key.chat, "--user", ANA, "--json")
    types = [json.loads(line)["type"] for line in frames.stdout.splitlines()]
    assert types[-1] == "chat.resume_boundary"
    assert "chat.text" in types


async def test_a_chat_is_followed_to_its_end(mozaiks: Mozaiks, chat: Chat) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED, RESPONDED, DONE)
    tail = mozaiks("tail", chat.key.chat, "--user", ANA, "--follow", "--events", "3")
    following = asyncio.create_task(tail)
    await chat.append(COMPLETED)
    followed = await following
    assert followed.exit_code == 0, followed.output
    assert "(terminate)" in followed.stdout


async def test_an_end_that_does_not_come_in_time_is_unavailable(
    mozaiks: Mozaiks, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chats_group, "END_SECONDS", 0)
    await chat.append(STARTED)
    found = await mozaiks("tail", chat.key.chat, "--user", ANA)
    assert found.exit_code == 3
    assert "did not come within" in found.stderr


async def test_an_operator_names_no_user_to_stop_and_cancel_a_chat(
    mozaiks: Mozaiks, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    async with Explainer(gateway, "orchestrator").answering():
        stopped = await mozaiks("stop", chat.key.chat, "--json")
        assert json.loads(stopped.stdout) == {"stopped": True}, stopped.output
        assert isinstance(await last_command(gateway, chat.key), StopAnswer)
        cancelled = await mozaiks("cancel", chat.key.chat, "--reason", "too long")
        assert cancelled.exit_code == 0, cancelled.output
        command = await last_command(gateway, chat.key)
    assert isinstance(command, CancelChat)
    assert command.reason == "too long"


async def test_a_retry_that_is_not_possible_says_why(mozaiks: Mozaiks, chat: Chat) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    refused = await mozaiks("retry", chat.key.chat, "--user", ANA)
    assert refused.exit_code == 1
    assert "ANSWER_RUNNING" in refused.stderr


async def test_explain_says_what_a_chat_waits_for_and_draws_the_causes(
    mozaiks: Mozaiks, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    await chat.append(question_asked(question(chat.key, 1, "call-1", 0)))
    async with Explainer(gateway, "orchestrator").answering():
        told = await mozaiks("explain", chat.key.chat)
        data = await mozaiks("explain", chat.key.chat, "--json")
    assert told.exit_code == 0, told.output
    lines = told.stdout.splitlines()
    assert lines[0].startswith("It waits for")
    words = told.stdout.split()
    assert {"runner", "question", "causes", "since", "used"} <= {*words}
    assert any("turn" in line and "└──" in line for line in lines)
    assert json.loads(data.stdout)["account"]["last_seq"] == 4


async def test_without_an_orchestrator_explain_says_so_and_fails(
    mozaiks: Mozaiks, chat: Chat
) -> None:
    await chat.append(STARTED)
    told = await mozaiks("explain", chat.key.chat)
    assert told.exit_code == 1
    assert "no orchestrator is running" in told.stdout
    unknown = await mozaiks("explain", "none")
    assert (unknown.exit_code, unknown.stdout) == (1, "")


async def test_with_sign_in_the_token_decides_what_an_operator_must_name(
    guarded: str, issuer: Issuer, chat: Chat, gateway: JetStreamGateway
) -> None:
    await chat.append(STARTED, SELECTED, REQUESTED)
    on = partial(chats, guarded, chat.key.app)
    anas, operators = issuer.token(), issuer.token(scope="mozaiks.operator")
    both = issuer.token(sub="olga", scope="mozaiks.operator mozaiks.internal")
    async with Explainer(gateway, "orchestrator").answering():
        unnamed = await on("stop", chat.key.chat, "--token", anas)
        assert unnamed.exit_code == 2
        assert unnamed.stderr.startswith("--user: name the chat's user")
        named = await on("stop", chat.key.chat, "--user", ANA, "--token", anas)
        assert named.exit_code == 0, named.output
        explained = await on("explain", chat.key.chat, "--token", operators)
        assert explained.exit_code == 0, explained.output
        found = await on("stop", chat.key.chat, "--token", both)
        assert found.exit_code == 0, found.output
    unsigned = await on("explain", chat.key.chat)
    assert unsigned.exit_code == 1
    assert "token" in unsigned.stderr
