"""A row of a chat list is published when it changes; the progress of a running chat at intervals."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from contracts.catalogue import ChatStatus, ChatSummary
from contracts.ids import AppId, ChatId, Seq, UserId, WorkflowName
from services.chassis.jetstream.errors import NatsUnavailableError
from services.persistence.chat_summaries import SummaryPublisher, is_progress, newest
from tests.patience import PATIENCE_SECONDS

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def row(seq: int, status: ChatStatus = "running", title: str = "Plants") -> ChatSummary:
    return ChatSummary(
        app_id=AppId("acme"),
        chat_id=ChatId("1"),
        user_id=UserId("ann"),
        workflow_name=WorkflowName("Generator"),
        status=status,
        title=title,
        created_at=BEGAN,
        updated_at=BEGAN + timedelta(seconds=seq),
        last_seq=Seq(seq),
    )


class Rows:
    """What a bucket got."""

    def __init__(self) -> None:
        self.published: list[int] = []
        self.is_away = False
        self.called = asyncio.Event()

    async def publish(self, summary: ChatSummary) -> None:
        if self.is_away:
            raise NatsUnavailableError("bucket chats")
        self.published.append(summary.last_seq)
        self.called.set()


async def test_a_change_of_status_or_title_is_published_at_once() -> None:
    rows = Rows()
    publisher = SummaryPublisher(rows.publish)
    for summary in (
        row(1, title=""),
        row(2),
        row(3, "waiting"),
        row(4, "waiting"),
        row(5),
        row(6, "completed"),
    ):
        await publisher.publish(summary)
    assert rows.published == [1, 2, 3, 4, 5, 6]


async def test_of_the_progress_of_a_running_chat_the_newest_is_published_when_it_is_stopped() -> (
    None
):
    rows = Rows()
    publisher = SummaryPublisher(rows.publish)
    for seq in (1, 2, 4, 3):
        await publisher.publish(row(seq))
    assert rows.published == [1]
    await publisher.stop()
    assert rows.published == [1, 4]
    await publisher.publish(row(5))
    assert rows.published == [1, 4, 5]


async def test_a_change_of_status_replaces_the_deferred_progress() -> None:
    rows = Rows()
    publisher = SummaryPublisher(rows.publish)
    for summary in (row(1), row(2), row(3, "waiting")):
        await publisher.publish(summary)
    await publisher.stop()
    assert rows.published == [1, 3]


async def test_progress_is_published_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.persistence.chat_summaries.PROGRESS_SECONDS", 0)
    rows = Rows()
    publisher = SummaryPublisher(rows.publish)
    publisher.start()
    await publisher.publish(row(1))
    rows.called.clear()
    await publisher.publish(row(2))
    await rows.called.wait()
    assert rows.published == [1, 2]
    await publisher.stop()


async def test_a_row_that_cannot_be_published_keeps_no_later_one_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("services.persistence.chat_summaries.PROGRESS_SECONDS", 0)
    rows, refused = Rows(), asyncio.Event()

    async def publish(summary: ChatSummary) -> None:
        if summary.last_seq == 2:
            refused.set()
            raise ValueError("odd")
        await rows.publish(summary)

    publisher = SummaryPublisher(publish)
    publisher.start()
    await publisher.publish(row(1))
    await publisher.publish(row(2))
    await refused.wait()
    rows.called.clear()
    await publisher.publish(row(3))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await rows.called.wait()
    assert rows.published == [1, 3]
    await publisher.stop()


async def test_deferred_progress_survives_an_unavailable_nats() -> None:
    rows = Rows()
    publisher = SummaryPublisher(rows.publish)
    await publisher.publish(row(1))
    await publisher.publish(row(2))
    rows.is_away = True
    await publisher.stop()
    rows.is_away = False
    await publisher.stop()
    assert rows.published == [1, 2]


async def test_a_change_that_cannot_be_published_is_raised() -> None:
    rows = Rows()
    rows.is_away = True
    with pytest.raises(NatsUnavailableError):
        await SummaryPublisher(rows.publish).publish(row(1))


def test_progress_changes_only_the_last_event_and_its_time() -> None:
    assert is_progress(row(1), row(9))
    assert not is_progress(row(1), row(9, "failed"))
    assert not is_progress(row(1, "waiting"), row(9, "waiting"))
    assert not is_progress(row(1), row(9, title="Roses"))


def test_the_newest_of_two_summaries_has_the_later_event() -> None:
    assert newest(None, row(1)) == row(1)
    assert newest(row(2), row(1)) == newest(row(1), row(2)) == row(2)
