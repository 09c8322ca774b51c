import asyncio
import json

import pytest

from contracts.event_log import Decision
from contracts.events.turn import InterruptionReason, TextInterrupted
from contracts.ids import RunnerId, Seq
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.tasks import cancel_and_wait
from services.transport.delivery.broadcast import ChatChannel
from services.transport.delivery.chat_stream import ChatStream
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.delivery.subscriber import Appended, LiveMessage, Streamed, Subscriber
from services.transport.protocol import event_to_frames
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import Frame, encode
from tests.patience import PATIENCE_SECONDS
from tests.transport.story import PLANNER, REQUESTED, STARTED, Chat, chunk, client, user_messages

pytestmark = pytest.mark.broker


async def appended(chat: Chat) -> list[Appended]:
    """The messages of the chat, as a subscription receives them."""
    return [
        Appended(commit.place.position, Decision(chat.key, "chat", commit.events))
        async for commit in chat.gateway.events.read(chat.key)
    ]


async def test_a_gap_is_filled_from_the_log_and_an_overlap_is_dropped(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(2))
    view = await ProjectionCache(gateway.events).get(chat.key)
    assert view is not None
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    subscriber, channel = Subscriber(9), ChatChannel(gateway, chat.key)
    stream = ChatStream(
        gateway.events, channel, subscriber, view, Viewer(), Seq(0), sent.put, event_to_frames
    )
    task = asyncio.create_task(stream.run())
    while (await sent.get()).type != "chat.resume_boundary":
        pass
    for event in user_messages(3):
        await chat.append(event)
    stored = await appended(chat)
    for one in (
        stored[1],
        stored[3],
        stored[2],
    ):  # an old one, one after a gap, and the one that was missing
        subscriber.offer(one)
    await chat.append(*user_messages(1))
    subscriber.offer((await appended(chat))[-1])
    assert [(await sent.get()).seq for _ in range(4)] == [4, 5, 6, 7]
    assert sent.empty()
    await cancel_and_wait(task)


async def test_an_event_whose_live_message_was_lost_is_found_by_polling_the_idle_chat(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    view = await ProjectionCache(gateway.events).get(chat.key)
    assert view is not None
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    channel = ChatChannel(
        gateway, chat.key
    )  # which receives nothing: there is no NATS subscription for it
    with channel.subscribe(9) as subscriber:
        stream = ChatStream(
            gateway.events, channel, subscriber, view, Viewer(), Seq(0), sent.put, event_to_frames
        )
        task = asyncio.create_task(stream.run())
        while (await sent.get()).type != "chat.resume_boundary":
            pass
        await chat.append(*user_messages(1))
        for _ in range(2):  # a chat is idle if nothing arrived since the last poll
            await channel.poll_tail()
        assert (await asyncio.wait_for(sent.get(), PATIENCE_SECONDS)).seq == 2
        await channel.poll_tail()
        await chat.append(*user_messages(1))
        await channel.poll_tail()
        assert (await asyncio.wait_for(sent.get(), PATIENCE_SECONDS)).seq == 3
        await cancel_and_wait(task)


async def test_a_stream_ends_when_its_viewer_unsubscribes_also_within_the_history(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, *user_messages(9))
    view = await ProjectionCache(gateway.events).get(chat.key)
    assert view is not None
    subscriber, channel = Subscriber(9), ChatChannel(gateway, chat.key)
    frames: list[Frame] = []

    async def show(frame: Frame) -> None:
        frames.append(frame)
        if frame.seq == 3:
            subscriber.unsubscribe()

    stream = ChatStream(
        gateway.events, channel, subscriber, view, Viewer(), Seq(0), show, event_to_frames
    )
    await asyncio.wait_for(stream.run(), PATIENCE_SECONDS)
    assert [frame.seq for frame in frames] == [1, 2, 3]
    assert stream.cursor == 3


async def test_a_cursor_past_the_end_hides_no_later_event(transport: str, chat: Chat) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path()}?after=99")
    await viewer.until("chat.resume_boundary")
    await chat.append(*user_messages(1))
    await viewer.until("chat.text", seq=2)
    await viewer.close()


@pytest.mark.parametrize(
    ("query", "field"),
    [("after=x", "after"), ("after=-1", "after"), ("after=0&events=2", "events")],
)
async def test_an_invalid_cursor_is_rejected(
    transport: str, chat: Chat, query: str, field: str
) -> None:
    await chat.append(STARTED)
    viewer = await client(f"{transport}{chat.path()}?{query}")
    assert await viewer.closed() == 1008
    assert viewer.frames[0]["data"]["field"] == field


async def test_equal_viewers_share_what_is_mapped_and_others_get_their_own(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    view = await ProjectionCache(gateway.events).get(chat.key)
    assert view is not None
    channel = ChatChannel(gateway, chat.key)
    viewers = [Viewer(), Viewer(), Viewer(raw_events=True), Viewer(has_cursor=False)]
    queues: list[asyncio.Queue[Frame]] = [asyncio.Queue() for _ in viewers]
    subscribers = [Subscriber(9) for _ in viewers]
    tasks = [
        asyncio.create_task(
            ChatStream(
                gateway.events, channel, one, view, viewer, Seq(0), queue.put, event_to_frames
            ).run()
        )
        for one, viewer, queue in zip(subscribers, viewers, queues, strict=True)
    ]
    for queue in queues:
        while (await queue.get()).type != "chat.resume_boundary":
            pass
    await chat.append(*user_messages(1), REQUESTED)
    *_, decision = await appended(chat)
    messages: list[LiveMessage] = [
        decision,
        Streamed(chunk(0, "Once ")),
        Streamed(chunk(5, "upon")),
    ]
    for message in messages:
        for one in subscribers:
            one.offer(message)
    alike, also_alike, raw, chat_ui = [
        [await queue.get() for _ in range(count)]
        for queue, count in zip(queues, (3, 3, 5, 3), strict=True)
    ]
    assert all(one is other for one, other in zip(alike, also_alike, strict=True))
    assert [frame.type for frame in alike] == ["chat.text", "chat.print", "chat.print"]
    assert [frame.type for frame in raw].count("chat.event") == 2
    assert [encode(frame) for frame in chat_ui] == [encode(frame) for frame in alike]
    assert not {id(frame) for frame in chat_ui} & {id(frame) for frame in alike}
    await cancel_and_wait(*tasks)


async def test_a_viewer_that_has_a_part_of_a_chunk_gets_only_the_rest(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, REQUESTED)
    view = await ProjectionCache(gateway.events).get(chat.key)
    assert view is not None
    sent: asyncio.Queue[Frame] = asyncio.Queue()
    subscriber, channel = Subscriber(9), ChatChannel(gateway, chat.key)
    task = asyncio.create_task(
        ChatStream(
            gateway.events, channel, subscriber, view, Viewer(), Seq(0), sent.put, event_to_frames
        ).run()
    )
    while (await sent.get()).type != "chat.resume_boundary":
        pass
    whole = Streamed(chunk(0, "Once upon"))
    for one in (Streamed(chunk(0, "Once ")), whole, whole):
        subscriber.offer(one)
    frames = [await sent.get() for _ in range(2)]
    assert [json.loads(encode(frame))["data"]["content"] for frame in frames] == ["Once ", "upon"]
    assert not whole.shared
    assert sent.empty()
    await cancel_and_wait(task)


@pytest.mark.parametrize("reason", ["retried", "runner_lost", "stopped"])
async def test_late_chunks_of_an_attempt_that_has_ended_are_shown_to_nobody(
    transport: str, chat: Chat, reason: InterruptionReason
) -> None:
    await chat.append(STARTED, REQUESTED)
    early = await client(f"{transport}{chat.path()}?after=0")
    await early.until("chat.resume_boundary")
    await chat.stream(chunk(0, "A pl"))
    assert (await early.until("chat.print"))["data"]["content"] == "A pl"
    await chat.append(
        TextInterrupted(
            turn=1, call=0, agent=PLANNER, runner=RunnerId("r1"), text="A pl", reason=reason
        )
    )
    assert (await early.until("chat.text"))["data"]["interrupted"] == reason
    await chat.stream(chunk(4, "an."), chunk(0, "Well", "r2"))
    late = await client(f"{transport}{chat.path()}?after=0")
    for viewer in (early, late):
        print_frame = await viewer.until("chat.print")
        assert (print_frame["data"]["runner"], print_frame["data"]["content"]) == ("r2", "Well")
        shown = [one for one in viewer.frames if one["type"] == "chat.text"]
        assert [one["data"]["content"] for one in shown] == ["A pl"]
        await viewer.close()
