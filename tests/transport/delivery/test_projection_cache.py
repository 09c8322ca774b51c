"""A long chat that is not cached is folded from the snapshot that persistence stores."""

from dataclasses import fields, replace
from typing import Any

import pytest

from contracts.events import Event
from contracts.events.chat import AttachmentUploaded
from contracts.ids import QuestionId, Seq, StreamSeq, UserId
from contracts.lookups import SnapshotFound
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.domain.projection import advance
from services.persistence.store.interface import ArchivedEvent, ProjectionUpdate
from services.transport.delivery import projection_cache, stored_snapshots
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.delivery.stored_snapshots import PAUSE_SECONDS, StoredSnapshots
from services.transport.protocol.chat_projection import ChatView
from tests.transport.persistence import answering
from tests.transport.story import (
    ANA,
    CALLED,
    COMPLETED,
    DONE,
    LOGGED,
    REQUESTED,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    Chat,
    component_answered,
    component_requested,
    question_answered,
    question_asked,
    user_message,
)

pytestmark = pytest.mark.broker

TAIL = 6
PARTIAL = {"components", "attachments", "is_whole", "positions"}
"""Fields of which a view of the newest events may have less."""


@pytest.fixture(autouse=True)
def _every_chat_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection_cache, "LONG_CHAT", 0)


def attached(name: str) -> AttachmentUploaded:
    return AttachmentUploaded(
        attachment_id=name,
        filename=name,
        content_type="text/plain",
        size_bytes=1,
        digest="d",
        user_id=ANA,
    )


def events_of(chat: Chat) -> list[Event]:
    """A chat with everything that a view knows."""
    first, second, artifact = (question(chat.key, turn, "call-1", 0) for turn in (1, 2, 3))
    again = SELECTED.model_copy(update={"turn": 2})
    return [
        *(STARTED, user_message("Plan my week"), SELECTED, REQUESTED, CALLED, USED),
        *(question_asked(first), question_answered(first), RETURNED, RESPONDED, USED, DONE),
        *(component_requested(artifact, "artifact"), attached("one"), again, attached("two")),
        *(LOGGED, REQUESTED, RESPONDED, component_requested(second), user_message("and more")),
        *(component_answered(second), DONE, YOUR_TURN, user_message("go on"), SELECTED),
        *(component_answered(artifact), REQUESTED, RESPONDED, DONE, COMPLETED),
    ]


def comparable(view: ChatView | None) -> dict[str, Any]:
    assert view is not None
    unused = {"call_requested_at"} if view.call is None else set()
    names = {field.name for field in fields(view)} - PARTIAL - unused
    return {name: getattr(view, name) for name in names}


async def updates(chat: Chat) -> list[ProjectionUpdate]:
    """What persistence stores after each event."""
    archived = [
        ArchivedEvent(stored, StreamSeq(commit.place.position))
        async for commit in chat.gateway.events.read(chat.key)
        for stored in commit.events
    ]
    found = [advance(None, archived[:count]) for count in range(1, len(archived) + 1)]
    return [update for update in found if update is not None]


def cache(gateway: JetStreamGateway) -> ProjectionCache:
    return ProjectionCache(gateway.events, StoredSnapshots(gateway.lookups, lambda: 0.0))


async def test_a_view_from_any_snapshot_is_that_of_the_whole_log(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    for event in events_of(chat):
        await chat.append(event)
    whole = comparable(await ProjectionCache(gateway.events).get(chat.key))
    partial = 0
    for update in await updates(chat):
        async with answering(gateway) as persistence:
            await persistence.store.save([update])
            view = await cache(gateway).get_recent(chat.key, TAIL)
        assert comparable(view) == whole, update.session.last_seq
        partial += view is not None and not view.is_whole
    assert partial > 15


async def test_a_view_from_a_snapshot_is_that_of_the_whole_log_after_any_event(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    partial = 0
    for event in events_of(chat):
        await chat.append(event)
        async with answering(gateway) as persistence:
            await persistence.project(chat)
            view = await cache(gateway).get_recent(chat.key, TAIL)
        whole = await ProjectionCache(gateway.events).get(chat.key)
        assert comparable(view) == comparable(whole), chat.seq
        assert view is not None
        assert whole is not None
        for asked in whole.open_questions:
            assert view.components.get(asked.question_id) == whole.components.get(asked.question_id)
        partial += not view.is_whole
    assert partial > 15


async def test_a_partial_view_is_brought_up_to_date_and_made_whole_on_demand(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, attached("one"))
    for _ in range(20):
        await chat.append(user_message("hi"), SELECTED)
    views = cache(gateway)
    async with answering(gateway) as persistence:
        await persistence.project(chat)
        view = await views.get_recent(chat.key, TAIL)
        assert view is not None
        assert (view.is_whole, dict(view.attachments)) == (False, {})
    await chat.append(user_message("again"))
    newer = await views.get_recent(chat.key, TAIL)
    assert newer is not None
    assert (newer.is_whole, newer.last_seq) == (False, chat.seq)
    whole = await views.get(chat.key)
    assert whole is not None
    assert (whole.is_whole, list(whole.attachments)) == (True, ["one"])
    assert await views.get_recent(chat.key, TAIL) == whole


@pytest.mark.parametrize("wrong", ["digest", "position", "user", "ahead"])
async def test_a_snapshot_that_the_log_refutes_is_not_used(
    gateway: JetStreamGateway, chat: Chat, wrong: str
) -> None:
    await chat.append(STARTED)
    for _ in range(20):
        await chat.append(user_message("hi"), SELECTED)
    update = (await updates(chat))[-2]
    session = replace(update.session, title="forged")
    changed = {
        "digest": replace(session, last_digest="x" * 43),
        "position": replace(session, last_position=StreamSeq(session.last_position - 1)),
        "user": replace(session, user_id=UserId("bob")),
        "ahead": replace(session, last_seq=Seq(session.last_seq + 50)),
    }
    async with answering(gateway) as persistence:
        await persistence.store.save([replace(update, session=changed[wrong])])
        view = await cache(gateway).get_recent(chat.key, TAIL)
    assert view == await ProjectionCache(gateway.events).get(chat.key)


async def test_without_persistence_a_chat_is_read_from_its_log_and_nothing_is_asked_for_a_while(
    gateway: JetStreamGateway, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_snapshots, "TIMEOUT_SECONDS", 0.05)
    await chat.append(STARTED, user_message("hi"))
    time = 0.0
    snapshots = StoredSnapshots(gateway.lookups, lambda: time)
    view = await ProjectionCache(gateway.events, snapshots).get_recent(chat.key, TAIL)
    assert view == await ProjectionCache(gateway.events).get(chat.key)
    async with answering(gateway) as persistence:
        await persistence.project(chat)
        assert await snapshots.find(chat.key) is None
        time += PAUSE_SECONDS
        assert isinstance(await snapshots.find(chat.key), SnapshotFound)


async def test_a_question_of_before_the_events_that_are_read_needs_the_whole_log(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, SELECTED, component_requested(QuestionId("q-1")))
    for _ in range(20):
        await chat.append(user_message("hi"))
    async with answering(gateway) as persistence:
        await persistence.project(chat)
        view = await cache(gateway).get_recent(chat.key, TAIL)
    assert view is not None
    assert view.is_whole
