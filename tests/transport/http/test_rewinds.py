"""Retry, edit and rewind over HTTP and the WebSocket, with the orchestrator's own decisions."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import httpx
import pytest
from nats.js.errors import NotFoundError

from contracts.commands import Command
from contracts.events import Event
from contracts.events.chat import ChatFailed, ChatRewound
from contracts.events.turn import ToolDispatched, TurnFailed
from contracts.ids import AgentName
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.domain.decisions import decide
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState
from services.orchestrator.workflows.spec import USER, Agent, Workflow
from tests.transport.conftest import Open
from tests.transport.story import (
    ANA,
    CALLED,
    DONE,
    PLANNER,
    REQUESTED,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    WORKFLOW,
    YOUR_TURN,
    Chat,
    client,
    last_command,
    remove_commands,
    user_message,
)

pytestmark = pytest.mark.broker

PLANNING = Workflow(
    name=WORKFLOW,
    agents={PLANNER: Agent(PLANNER, "Plan.", after_work=AgentName(USER))},
    initial_agent=PLANNER,
    human_in_the_loop=True,
    after_user=PLANNER,
)
PAID = ToolDispatched(
    turn=1,
    call=0,
    agent=PLANNER,
    tool_call_id="call-1",
    name="look",
    idempotency_key="k",
    arguments_digest="d",
    effect="once",
    attempt=1,
)
ANSWERED = (STARTED, user_message("Hi"), SELECTED, REQUESTED, RESPONDED, DONE, YOUR_TURN)
WITH_EFFECT = (STARTED, user_message("Hi"), SELECTED, CALLED, PAID, RETURNED, DONE, YOUR_TURN)


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


def path(chat: Chat, what: str) -> str:
    return f"/api/chats/{chat.key.app}/{chat.key.chat}/{what}"


async def next_command(gateway: JetStreamGateway, chat: Chat) -> Command:
    """The next command of a chat, once it is there."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await last_command(gateway, chat.key)
            except NotFoundError:
                await asyncio.sleep(0.02)


async def handled(gateway: JetStreamGateway, chat: Chat) -> Command:
    """Do what the orchestrator does with the next command of a chat."""
    command = await next_command(gateway, chat)
    state = ChatState()
    async for commit in gateway.events.read(chat.key):
        for fact in commit.facts:
            state = evolve(state, fact)
    await chat.append(*decide(command, state, PLANNING), cause=command.command_id)
    await remove_commands(gateway, chat.key)
    return command


async def both(
    gateway: JetStreamGateway, chat: Chat, request: Awaitable[httpx.Response]
) -> httpx.Response:
    """The answer to a request whose command is handled meanwhile."""
    answer, _ = await asyncio.gather(request, handled(gateway, chat))
    return answer


async def test_a_failed_chat_is_retried_and_the_same_request_again_is_the_same_retry(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    failed: list[Event] = [
        TurnFailed(turn=1, agent=PLANNER, code="MODEL_REFUSED", message="No quota."),
        ChatFailed(code="MODEL_REFUSED", message="No quota."),
    ]
    await chat.append(STARTED, user_message("Hi"), SELECTED, REQUESTED, *failed)
    body = {"user_id": ANA, "seen_seq": 6}
    answer = await both(gateway, chat, http.post(path(chat, "retry"), json=body))
    assert (answer.status_code, answer.json()) == (200, {"status": "rewound", "seq": 7})
    again = await http.post(path(chat, "retry"), json=body)
    assert (again.status_code, again.json()) == (200, {"status": "rewound", "seq": 7})
    assert chat.seq == 8


async def test_a_failed_chat_takes_a_message(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, ChatFailed(code="X", message="x"))
    place = f"/chat/{chat.key.app}/{chat.key.chat}/{ANA}/input"
    assert (await http.post(place, json={"message": "And now?"})).status_code == 200
    await handled(gateway, chat)
    ended = ChatFailed(code="X", message="x", resumable=False)
    await chat.append(ended)
    assert (await http.post(place, json={"message": "And now?"})).status_code == 409


@pytest.mark.parametrize(
    ("what", "more"),
    [("retry", {}), ("edit", {"message_seq": 2, "message": "Hello"}), ("rewind", {"to_seq": 1})],
    ids=["retry", "edit", "rewind"],
)
async def test_what_cannot_be_undone_is_named_before_it_is_confirmed(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat, what: str, more: dict[str, Any]
) -> None:
    await chat.append(*WITH_EFFECT)
    body = {"user_id": ANA, **more}
    refused = await http.post(path(chat, what), json=body)
    assert refused.status_code == 409
    told = refused.json()
    assert told["code"] == "CONFIRMATION_REQUIRED"
    [effect] = told["effects"]
    assert (effect["tool"], effect["effect"], effect["seq"]) == ("look", "once", 5)
    assert effect["arguments"] == '{"at": 1}'
    with pytest.raises(NotFoundError):
        await last_command(gateway, chat.key)
    confirmed = {**body, "confirm": True}
    answer = await both(gateway, chat, http.post(path(chat, what), json=confirmed))
    assert answer.status_code == (409 if what == "rewind" else 200)


async def test_an_edit_replaces_a_message_and_a_rewind_takes_the_chat_back(
    http: httpx.AsyncClient, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(*ANSWERED)
    edit = {"user_id": ANA, "message_seq": 2, "message": "Hello"}
    answer = await both(gateway, chat, http.post(path(chat, "edit"), json=edit))
    assert answer.json() == {"status": "rewound", "seq": 8}
    await chat.append(DONE.model_copy(update={"turn": 3}), YOUR_TURN.model_copy(update={"turn": 4}))
    await chat.append(user_message("More"), SELECTED.model_copy(update={"turn": 5}))
    await chat.append(DONE.model_copy(update={"turn": 5}), YOUR_TURN.model_copy(update={"turn": 6}))
    back = {"user_id": ANA, "to_seq": 12}
    answer = await both(gateway, chat, http.post(path(chat, "rewind"), json=back))
    assert answer.json() == {"status": "rewound", "seq": 17}


@pytest.mark.parametrize(
    ("events", "what", "more", "code"),
    [
        (ANSWERED[:4], "retry", {}, "ANSWER_RUNNING"),
        (ANSWERED, "retry", {"seen_seq": 4}, "CHAT_CHANGED"),
        (ANSWERED, "rewind", {"to_seq": 3}, "NOT_A_RESTING_POINT"),
        (ANSWERED, "rewind", {"to_seq": 7}, "NOTHING_TO_REWIND"),
        (ANSWERED, "edit", {"message_seq": 3, "message": "x"}, "NOT_EDITABLE"),
        ((STARTED, YOUR_TURN), "retry", {}, "NOTHING_TO_RETRY"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.isupper() else None,
)
async def test_a_request_without_an_effect_says_why(
    http: httpx.AsyncClient,
    gateway: JetStreamGateway,
    chat: Chat,
    events: tuple[Event, ...],
    what: str,
    more: dict[str, Any],
    code: str,
) -> None:
    await chat.append(*events)
    request = http.post(path(chat, what), json={"user_id": ANA, **more})
    if code in ("ANSWER_RUNNING", "CHAT_CHANGED"):
        answer = await request
    else:
        answer = await both(gateway, chat, request)
    assert (answer.status_code, answer.json()["code"]) == (409, code)


async def test_of_two_requests_on_two_transports_one_wins_and_the_other_is_told(
    open_transport: Open, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(*ANSWERED)
    one, other = await open_transport(), await open_transport()
    async with httpx.AsyncClient(timeout=20) as http:
        retry = http.post(f"http://{one}{path(chat, 'retry')}", json={"user_id": ANA})
        edit = http.post(
            f"http://{other}{path(chat, 'edit')}",
            json={"user_id": ANA, "message_seq": 2, "message": "Hello"},
        )
        *answers, _ = await asyncio.gather(retry, edit, handled(gateway, chat))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    [lost] = [answer.json() for answer in answers if answer.status_code == 409]
    assert lost["code"] in ("CHAT_CHANGED", "ANSWER_RUNNING")
    rewinds = [
        fact
        async for commit in gateway.events.read(chat.key)
        for fact in commit.facts
        if isinstance(fact.event, ChatRewound)
    ]
    assert len(rewinds) == 1


async def test_a_socket_is_told_what_it_has_to_confirm_and_what_was_rewound(
    transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(*WITH_EFFECT)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await viewer.send(type="chat.retry")
    unconfirmed = await viewer.until("chat.rewind_unconfirmed")
    assert [one["tool"] for one in unconfirmed["data"]["effects"]] == ["look"]
    await viewer.send(type="chat.retry", confirm=True)
    await handled(gateway, chat)
    rewound = await viewer.until("chat.rewound")
    assert (rewound["data"]["to_seq"], rewound["data"]["kind"]) == (2, "retry")
    await viewer.until("chat.select_speaker")
    await viewer.close()


async def test_a_client_that_comes_later_gets_nothing_that_was_rewound(
    transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(*ANSWERED)
    viewer = await client(f"{transport}{chat.path()}?after=0")
    await viewer.until("chat.resume_boundary")
    await viewer.send(type="chat.retry")
    await handled(gateway, chat)
    await viewer.until("chat.rewound")
    await viewer.close()
    for query in ("?after=0", "", "?tail=100"):
        late = await client(f"{transport}{chat.path()}{query}")
        await late.until("chat.resume_boundary")
        shown = str(late.frames)
        await late.close()
        assert "Hi" in shown
        assert "A plan." not in shown
