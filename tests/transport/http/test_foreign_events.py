"""A message that is not a valid event of its chat is skipped by every viewer, and hides no event."""

import logging

import httpx
import pytest

from contracts.event_log import Head
from contracts.events import Event
from contracts.ids import AppId, ChatKey, Seq, new_chat_id
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.delivery.broadcast import ChannelHub
from services.transport.delivery.projection_cache import ProjectionCache
from tests.foreign_messages import FOREIGN, forged
from tests.logs import decisions
from tests.transport.conftest import Open
from tests.transport.story import (
    COMPLETED,
    LOGGED,
    SELECTED,
    STARTED,
    Chat,
    Client,
    client,
    user_message,
)

pytestmark = pytest.mark.broker


async def intrude(chat: Chat, kind: str) -> None:
    assert chat.last is not None
    await chat.append_foreign(FOREIGN[kind](chat.last))


async def watch(transport: str, chat: Chat, after: int) -> Client:
    """A client that gets raw events."""
    viewer = await client(f"{transport}{chat.path()}?after={after}&events=1")
    await viewer.until("chat.resume_boundary")
    return viewer


async def received_seqs(viewer: Client, last: int) -> list[int]:
    await viewer.until("chat.event", seq=last)
    await viewer.close()
    return viewer.seqs()


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_live_viewer_sees_the_valid_events_and_nothing_else(
    transport: str, chat: Chat, kind: str
) -> None:
    await chat.append(STARTED, user_message("1"))
    viewer = await watch(transport, chat, 0)
    await chat.append(user_message("2"))
    await intrude(chat, kind)
    await chat.append(user_message("3"), user_message("4"))
    await intrude(chat, kind)
    await chat.append(COMPLETED)
    assert await received_seqs(viewer, 6) == [1, 2, 3, 4, 5, 6]
    assert "never" not in str(viewer.frames)


@pytest.mark.parametrize("kind", FOREIGN)
async def test_a_viewer_that_resumes_before_or_after_it_misses_no_event(
    transport: str, chat: Chat, kind: str
) -> None:
    await chat.append(STARTED)
    for text in ("1", "2"):
        await chat.append(user_message(text))
    await intrude(chat, kind)
    for text in ("3", "4"):
        await chat.append(user_message(text))
    await intrude(chat, kind)
    for cursor in range(6):
        viewer = await watch(transport, chat, cursor)
        await viewer.close()
        assert viewer.seqs() == list(range(cursor + 1, 6)), cursor
        assert "never" not in str(viewer.frames)


async def test_a_chain_of_forged_events_from_the_viewers_cursor_on_is_not_followed(
    transport: str, chat: Chat, gateway: JetStreamGateway
) -> None:
    for event in (
        STARTED,
        user_message("1"),
        user_message("2"),
        user_message("3"),
        user_message("4"),
    ):
        await chat.append(event)
    other = Chat(gateway)
    for number in range(40):  # so that a search by position comes upon the forged ones first
        await other.append(STARTED if number == 0 else user_message("elsewhere"))
    chain = decisions([user_message("never")] * 3, chat.key, head=Head(Seq(2), "A" * 43))
    for decision in chain:
        await chat.append_foreign(decision.data)
    for cursor in range(6):
        viewer = await watch(transport, chat, cursor)
        await viewer.close()
        assert viewer.seqs() == list(range(cursor + 1, 6)), cursor
        assert "never" not in str(viewer.frames)


@pytest.mark.parametrize("kind", FOREIGN)
async def test_the_view_of_a_chat_comes_from_its_valid_events_alone(
    gateway: JetStreamGateway, chat: Chat, kind: str
) -> None:
    views = ProjectionCache(gateway.events)
    await chat.append(STARTED)
    await views.get(chat.key)
    await chat.append(SELECTED)
    await intrude(chat, kind)
    view = await views.get(chat.key)
    assert view is not None
    assert (view.last_seq, view.ended_at, view.place) == (2, None, chat.place)
    assert view.speaker == SELECTED.agent
    assert await ProjectionCache(gateway.events).get(chat.key) == view


async def test_a_chat_without_a_valid_event_does_not_exist(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    async def has_nothing(_: ChatKey) -> None:
        """Persistence has no archive of this chat."""

    gateway.events.on_aged_out = has_nothing
    (started,) = chat.decide(STARTED)
    await chat.append_foreign(forged(started, Head(Seq(4), "A" * 43)))
    assert await ProjectionCache(gateway.events).get(chat.key) is None


async def test_statistics_count_events_and_rejected_messages_apart(
    open_transport: Open, chat: Chat
) -> None:
    transport = await open_transport()
    await chat.append(STARTED)
    viewers = [await watch(transport, chat, 0) for _ in range(2)]
    happens: list[Event] = [user_message("1"), LOGGED, SELECTED]
    for kind in FOREIGN:
        await chat.append(*happens)
        await intrude(chat, kind)
    await chat.append(COMPLETED)
    for viewer in viewers:
        assert await received_seqs(viewer, chat.seq) == list(range(1, chat.seq + 1))
    async with httpx.AsyncClient(base_url=f"http://{transport}") as http:
        told = (await http.get("/api/events/metrics")).json()["data"]
    assert told["events_failed"] == len(FOREIGN)
    assert told["events_processed"] == chat.seq - 1
    assert told["events_by_category"]["business"] == len(FOREIGN)


async def test_an_event_whose_live_message_was_lost_is_counted_when_a_viewer_reads_it(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    rooms = ChannelHub(gateway)
    await chat.append(STARTED)
    key = ChatKey(AppId("acme"), new_chat_id())
    async with rooms.subscribe(key) as (
        room,
        _,
    ):  # of another chat: this one's messages are all lost
        before = chat.place
        room.start_counting(before)
        await chat.append(user_message("1"))
        await intrude(chat, "a seq far ahead")
        async for commit in gateway.events.read(chat.key, after=before):
            for _ in range(2):  # two viewers
                room.count_from_log(before, commit)
            before = commit.place
    assert (rooms.stats.by_category["runtime"], rooms.stats.rejected) == (1, 1)


async def test_a_skipped_message_is_logged_with_its_subject(
    transport: str, chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    await chat.append(STARTED)
    viewer = await watch(transport, chat, 0)
    caplog.clear()
    await intrude(chat, "a seq far ahead")
    position = chat.place.position
    await chat.append(user_message("1"))
    await received_seqs(viewer, 2)
    told = [line.__dict__ for line in caplog.records if line.levelno == logging.WARNING]
    assert {(line["position"], line["why"]) for line in told} == {
        (position, "seq: 1000001 where 2 comes next")
    }
