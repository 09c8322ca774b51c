"""A client that asks for a tail gets the newest events of a chat at once, and the rest by pages."""

from itertools import pairwise
from typing import Any

import httpx
import pytest

from contracts.events.turn import SELECTOR, TurnCompleted
from contracts.ids import QuestionId
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.delivery import projection_cache
from services.transport.protocol import history
from services.transport.settings import Settings
from tests.transport.conftest import Open
from tests.transport.persistence import answering
from tests.transport.story import (
    CALLED,
    DONE,
    REQUESTED,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    Chat,
    Client,
    chunk,
    client,
    component_answered,
    component_requested,
    question_asked,
    user_message,
    user_messages,
)

pytestmark = pytest.mark.broker


async def opened(address: str, chat: Chat, tail: int) -> Client:
    viewer = await client(f"{address}{chat.path()}?tail={tail}")
    await viewer.until("chat.resume_boundary")
    return viewer


def parts(viewer: Client) -> list[dict[str, Any]]:
    return [frame["data"] for frame in viewer.frames if frame["type"] == "chat.history"]


def seqs(part: dict[str, Any]) -> list[int]:
    return [frame["seq"] for frame in part["frames"]]


@pytest.mark.parametrize("tail", [1, 5, 60, 500])
async def test_the_newest_events_come_in_one_frame_as_they_would_one_by_one(
    transport: str, chat: Chat, tail: int
) -> None:
    await chat.append(STARTED, *user_messages(60))
    await chat.append(SELECTED, CALLED, USED, DONE, YOUR_TURN)
    whole = await client(f"{transport}{chat.path()}?after={max(chat.seq - tail, 0)}")
    await whole.until("chat.resume_boundary")
    viewer = await opened(transport, chat, tail)
    (part,) = parts(viewer)
    assert [frame["type"] for frame in viewer.frames] == [
        "chat_meta",
        "chat.history",
        "chat.resume_boundary",
    ]
    assert part["frames"] == whole.frames[1:-1]
    assert (part["first_sequence"], part["last_sequence"]) == (
        max(chat.seq - tail, 0) + 1,
        chat.seq,
    )


async def test_the_history_says_what_earlier_events_add_up_to(transport: str, chat: Chat) -> None:
    await chat.append(
        STARTED, user_message("Plan my week"), SELECTED, CALLED, USED, *user_messages(9)
    )
    viewer = await opened(transport, chat, 3)
    (part,) = parts(viewer)
    assert (part["title"], part["speaker"], part["total_tokens"]) == (
        "Plan my week",
        "PlannerAgent",
        7,
    )


async def test_the_agent_that_selects_speakers_is_not_shown_as_one(
    transport: str, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED.model_copy(update={"agent": SELECTOR}))
    (part,) = parts(await opened(transport, chat, 5))
    assert part["speaker"] is None


async def test_the_tail_reaches_back_to_the_oldest_open_question(
    transport: str, chat: Chat
) -> None:
    answered = QuestionId("acme.c.1.0.earlier")
    await chat.append(STARTED, SELECTED, component_requested(answered), DONE)
    second = SELECTED.model_copy(update={"turn": 2})
    await chat.append(second, question_asked(), component_requested(QuestionId("q-2")))
    await chat.append(*user_messages(50))
    (part,) = parts(await opened(transport, chat, 5))
    assert part["first_sequence"] == 6
    await chat.append(TurnCompleted(turn=2, agent=SELECTED.agent, text="Done."))
    (part,) = parts(await opened(transport, chat, 5))
    assert part["first_sequence"] == chat.seq - 4


async def test_live_frames_follow_the_tail_one_by_one(transport: str, chat: Chat) -> None:
    await chat.append(STARTED, *user_messages(30), REQUESTED)
    await chat.stream(chunk(0, "A pl"))
    viewer = await opened(transport, chat, 10)
    assert (await viewer.until("chat.print"))["content"] == "A pl"
    await chat.append(*user_messages(2))
    assert [(await viewer.next())["seq"] for _ in range(2)] == [33, 34]


async def test_a_large_tail_comes_in_several_frames(
    transport: str, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PART_BYTES", 3000)
    await chat.append(STARTED)
    for _ in range(20):
        await chat.append(user_message("x" * 1000))
    found = parts(await opened(transport, chat, 15))
    assert len(found) > 2
    assert [seq for part in found for seq in seqs(part)] == list(range(7, 22))
    assert found[0]["first_sequence"] == 7
    for earlier, later in pairwise(found):
        assert later["first_sequence"] == earlier["last_sequence"] + 1


async def test_a_chat_that_this_process_never_read_is_opened_by_its_tail(
    open_transport: Open, chat: Chat
) -> None:
    await chat.append(STARTED)
    for event in user_messages(200):
        await chat.append(event)
    (part,) = parts(await opened(await open_transport(), chat, 20))
    assert seqs(part) == list(range(182, 202))


async def test_events_that_are_appended_while_a_tail_is_opened_are_not_missed(
    transport: str, gateway: JetStreamGateway
) -> None:
    for _ in range(10):
        chat = Chat(gateway)
        await chat.append(STARTED, *user_messages(40))
        viewer = await client(f"{transport}{chat.path()}?tail=10")
        await chat.append(*user_messages(3))
        await viewer.until("chat_meta")
        received: list[int] = []
        while not received or received[-1] < 44:
            frame = await viewer.next()
            if frame["type"] == "chat.history":
                received += seqs(frame["data"])
            elif frame["type"] == "chat.text":
                received.append(frame["seq"])
        assert received == list(range(received[0], 45))


async def test_a_chat_that_is_switched_to_is_opened_by_its_tail_too(
    transport: str, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    other = Chat(gateway)
    await other.append(STARTED, *user_messages(40))
    viewer = await opened(transport, chat, 10)
    await viewer.send(type="chat.switch_workflow", chat_id=other.key.chat)
    history_frame = await viewer.until("chat.history")
    assert seqs(history_frame["data"]) == list(range(32, 42))


@pytest.mark.parametrize(
    "query", ["tail=0", "tail=501", "tail=-1", "tail=x", "tail=5&after=3", "tail="]
)
async def test_an_invalid_tail_is_rejected_by_its_field(
    transport: str, chat: Chat, query: str
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path()}?{query}")
    assert await viewer.closed() == 1008
    assert viewer.frames[-1]["data"]["field"] == "tail"


def test_a_tail_is_never_longer_than_a_page() -> None:
    assert Settings().viewer_queue_size >= history.MAX_EVENTS


async def test_a_long_chat_that_is_opened_from_a_snapshot_shows_the_same(
    open_transport: Open, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, component_requested(), component_answered(), DONE)
    for event in user_messages(projection_cache.LONG_CHAT):
        await chat.append(event)
    usual = await opened(await open_transport(), chat, 20)
    async with answering(gateway) as persistence:
        await persistence.project(chat)
        address = await open_transport()
        viewer = await opened(address, chat, 20)
    assert viewer.frames == usual.frames
    resume = {"chat_id": chat.key.chat, "lastClientIndex": 2}  # before what the view was read from
    await viewer.send(type="client.resume", **resume)
    assert (await viewer.until("chat.ui_tool_complete"))["data"]["ui_tool_id"] == "pick_colour"
    await viewer.until("chat.text", seq=chat.seq)
    await chat.append(user_message("again"))
    assert (await viewer.until("chat.text", seq=chat.seq))["data"]["content"] == "again"


async def test_a_page_of_a_chat_that_was_opened_from_a_snapshot_shows_the_same(
    open_transport: Open, gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, component_requested(), component_answered(), DONE)
    for event in user_messages(projection_cache.LONG_CHAT):
        await chat.append(event)
    async with answering(gateway) as persistence, httpx.AsyncClient(timeout=20) as http:
        await persistence.project(chat)
        address = await open_transport()
        path = f"/api/chats/{chat.key.app}/{chat.key.chat}/events?user_id=ana&before=5&limit=1"
        page = (await http.get(f"http://{address}{path}")).json()
    assert [frame["data"]["ui_tool_id"] for frame in page["frames"]] == ["pick_colour"]
