"""Transcripts and statistics over HTTP: answered by persistence, or refused in time without it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.catalogue import WorkflowCard
from contracts.events import Event
from contracts.events.chat import UserMessageReceived
from contracts.events.parts import TextPart, Tokens, ToolCall
from contracts.events.turn import (
    ModelResponded,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    UsageRecorded,
)
from contracts.ids import AgentName, AppId, ChatKey, WorkflowName, new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.chats import read_models
from tests.patience import PATIENCE_SECONDS
from tests.transport.conftest import Open
from tests.transport.persistence import Persistence, answering
from tests.transport.story import ANA, STARTED, Chat, publish_cards

pytestmark = pytest.mark.broker

PLANNER, CRITIC = AgentName("PlannerAgent"), AgentName("Critic")
BODY: dict[str, Any] = {"turn": 1, "call": 0, "agent": PLANNER}
CALLED = ModelResponded(
    **BODY, tool_calls=[ToolCall(id="c1", name="look"), ToolCall(id="c2", name="ask")]
)
SPOKEN = ModelResponded(**BODY, text="A plan.")
CONVERSATION: list[Event] = [
    STARTED,
    UserMessageReceived(user_id=ANA, text="Plan it"),
    SpeakerSelected(turn=1, agent=PLANNER, by="initial"),
    CALLED,
    ToolReturned(**BODY, tool_call_id="c2", name="ask", status="ok", parts=[TextPart(text="yes")]),
    ToolReturned(
        **BODY, tool_call_id="c1", name="look", status="ok", parts=[TextPart(text="seen")]
    ),
    SPOKEN,
    UsageRecorded(**BODY, tokens=Tokens(prompt=100, completion=20), duration=0.1, cost=0.5),
    TurnCompleted(turn=1, agent=PLANNER, text="A plan."),
    SpeakerSelected(turn=2, agent=CRITIC, by="after_work"),
    ModelResponded(turn=2, call=0, agent=CRITIC, text="Too long."),
    ModelResponded(turn=2, call=1, agent=CRITIC, text='{"next": 1}', hidden=True),
    TurnCompleted(turn=2, agent=CRITIC, text="Too long."),
]


@pytest.fixture
async def http(transport: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{transport}", timeout=20) as http:
        yield http


@pytest.fixture
async def persistence(gateway: JetStreamGateway) -> AsyncIterator[Persistence]:
    async with answering(gateway) as persistence:
        yield persistence


@pytest.fixture
async def conversation(gateway: JetStreamGateway, persistence: Persistence) -> Chat:
    """A stored chat of a workflow of its own."""
    workflow = WorkflowName(f"Planning {new_chat_id()}")
    chat = Chat(gateway, ChatKey(AppId(f"app {new_chat_id()}"), new_chat_id()), workflow=workflow)
    await chat.append(*CONVERSATION)
    await persistence.project(chat)
    return chat


def messages_path(chat: Chat) -> str:
    return f"/api/chats/{chat.key.app}/{chat.key.chat}/messages"


async def page(http: httpx.AsyncClient, chat: Chat, **params: Any) -> dict[str, Any]:
    reply = await http.get(messages_path(chat), params={"user_id": ANA, **params})
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_a_transcript_has_exactly_the_strict_form(
    http: httpx.AsyncClient, conversation: Chat
) -> None:
    assert await page(http, conversation) == {
        "chat_id": conversation.key.chat,
        "messages": [
            {"role": "user", "name": "user", "content": "Plan it"},
            {
                "role": "assistant",
                "name": "PlannerAgent",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    },
                    {
                        "id": "c2",
                        "type": "function",
                        "function": {"name": "ask", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "name": "look", "content": "seen", "tool_call_id": "c1"},
            {"role": "tool", "name": "ask", "content": "yes", "tool_call_id": "c2"},
            {"role": "assistant", "name": "PlannerAgent", "content": "A plan."},
            {"role": "assistant", "name": "Critic", "content": "Too long."},
        ],
        "next": None,
        "last_sequence": 13,
    }


async def test_pages_follow_one_another_by_their_cursor(
    http: httpx.AsyncClient, conversation: Chat
) -> None:
    whole, pages, cursor = await page(http, conversation), [], None
    while True:
        found = await page(http, conversation, limit=1, **({"cursor": cursor} if cursor else {}))
        pages += [found["messages"]]
        if (cursor := found["next"]) is None:
            break
    assert [len(messages) for messages in pages] == [1, 3, 1, 1, 0]  # calls and results together
    assert [message for messages in pages for message in messages] == whole["messages"]


async def test_messages_of_agents_that_are_not_visual_are_left_out(
    http: httpx.AsyncClient, gateway: JetStreamGateway, conversation: Chat
) -> None:
    visual = WorkflowCard(
        name=conversation.workflow,
        pattern="DefaultPattern",
        agents=[PLANNER, CRITIC],
        visual_agents=[PLANNER],
    )
    await publish_cards(gateway, visual)
    names = {message["name"] for message in (await page(http, conversation))["messages"]}
    assert names == {"user", "PlannerAgent", "look", "ask"}


@pytest.mark.parametrize(
    ("params", "status", "detail"),
    [
        ({}, 400, "user_id: is required"),
        ({"user_id": "bob"}, 404, "user_id: no such chat of this user"),
        ({"user_id": ANA, "cursor": "0.0"}, 400, "cursor: "),
        ({"user_id": ANA, "cursor": "x"}, 400, "cursor: "),
        ({"user_id": ANA, "limit": 0}, 400, "limit: "),
        ({"user_id": ANA, "limit": 201}, 400, "limit: "),
    ],
)
async def test_wrong_requests_are_rejected_by_the_name_of_the_field(
    http: httpx.AsyncClient, conversation: Chat, params: dict[str, Any], status: int, detail: str
) -> None:
    reply = await http.get(messages_path(conversation), params=params)
    assert reply.status_code == status
    assert reply.json()["detail"].startswith(detail)


async def test_a_chat_that_is_not_stored_yet_has_no_messages(
    http: httpx.AsyncClient, chat: Chat, persistence: Persistence
) -> None:
    assert persistence.store is not None
    await chat.append(STARTED)
    found = await page(http, chat)
    assert (found["messages"], found["next"], found["last_sequence"]) == ([], None, 0)


async def test_statistics_are_sums_and_averages_over_the_chats_of_a_workflow(
    http: httpx.AsyncClient, conversation: Chat
) -> None:
    path = f"/api/workflows/{conversation.key.app}/{conversation.workflow}/stats"
    assert (await http.get(path)).json() == {
        "app_id": conversation.key.app,
        "workflow_name": conversation.workflow,
        "chats": 1,
        "chats_by_status": {"running": 1},
        "agent_turns": 2,
        "tool_calls": 2,
        "errors": 0,
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "cost": 0.5,
        "duration_sec": 12.0,
        "averages": {
            "duration_sec": 12.0,
            "prompt_tokens": 100.0,
            "completion_tokens": 20.0,
            "total_tokens": 120.0,
            "cost": 0.5,
        },
    }
    nobodys = await http.get(f"/api/workflows/{conversation.key.app}/Never/stats")
    assert (nobodys.status_code, nobodys.json()["chats"]) == (200, 0)


async def test_without_persistence_both_are_unavailable_in_time_and_say_when_to_retry(
    open_transport: Open, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_models, "TIMEOUT_SECONDS", 0.1)
    await chat.append(STARTED)
    async with httpx.AsyncClient(base_url=f"http://{await open_transport()}") as http:
        paths = (
            f"{messages_path(chat)}?user_id={ANA}",
            f"/api/workflows/{chat.key.app}/{chat.workflow}/stats",
        )
        async with asyncio.timeout(PATIENCE_SECONDS):
            for path in paths:
                reply = await http.get(path)
                assert (reply.status_code, reply.headers["retry-after"]) == (503, "2")
                assert reply.json()["detail"] == (
                    "service: stored chats are temporarily unavailable, try again shortly"
                )
