"""Milestones that persistence publishes: those that are wanted, once, before their events are archived."""

from collections.abc import Iterable, Sequence

import pytest

from contracts import subjects
from contracts.business_events import RuntimeBusinessEvent
from contracts.events import Event
from contracts.events.chat import ChatCompleted, ChatStarted
from contracts.events.turn import SpeakerSelected, TurnCompleted
from contracts.ids import AgentName, AppId, ChatId, ChatKey, StreamSeq, UserId, new_chat_id
from services.chassis.jetstream.errors import NatsRejectedError, NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.milestones import Kinds, MilestonePublisher
from services.persistence.store.interface import ArchivedEvent
from tests.logs import decisions

CLERK = AgentName("Clerk")
CHAT: list[Event] = [
    ChatStarted(user_id=UserId("ann"), seed=1),
    SpeakerSelected(turn=1, agent=CLERK, by="initial"),
    TurnCompleted(turn=1, agent=CLERK, text="Hello"),
    ChatCompleted(reason="terminate", turns=1),
]


def archived(app: str = "acme", chat: str = "c") -> list[ArchivedEvent]:
    made = decisions(CHAT, ChatKey(AppId(app), ChatId(chat)), workflow="Bakery")
    return [
        ArchivedEvent(event, StreamSeq(position))
        for position, decision in enumerate(made, 1)
        for event in decision.events
    ]


async def published(kinds: Kinds, apps: str, events: Sequence[ArchivedEvent]) -> list[str]:
    found: list[RuntimeBusinessEvent] = []

    async def publish(milestones: Iterable[RuntimeBusinessEvent]) -> None:
        found.extend(milestones)

    await MilestonePublisher(publish, kinds, frozenset({apps}))(events)
    return [one.body.log_event_type for one in found]


async def test_the_setting_says_which_milestones_of_which_apps_are_published() -> None:
    ends = ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"]
    details = [ends[0], "AGENT_TURN_STARTED", "AGENT_TURN_COMPLETED", ends[1]]
    assert await published("workflow", "*", archived()) == ends
    assert await published("all", "*", archived()) == details
    assert await published("none", "*", archived()) == []
    assert await published("workflow", "acme", archived()) == ends
    assert await published("workflow", "acme", archived("beta")) == []


async def test_a_milestone_that_nats_refuses_stops_no_archive_but_one_that_waits_does() -> None:
    async def refuse(_: Iterable[RuntimeBusinessEvent]) -> None:
        raise NatsRejectedError("no")

    async def wait(_: Iterable[RuntimeBusinessEvent]) -> None:
        raise NatsUnavailableError("later")

    await MilestonePublisher(refuse, "workflow", frozenset({"*"}))(archived())
    with pytest.raises(NatsUnavailableError):
        await MilestonePublisher(wait, "workflow", frozenset({"*"}))(archived())


@pytest.mark.broker
async def test_a_batch_that_is_applied_again_publishes_nothing_twice(
    gateway: JetStreamGateway,
) -> None:
    key = ChatKey(AppId("acme"), new_chat_id())
    publisher = MilestonePublisher(gateway.business_events.publish, "all", frozenset({"*"}))
    for _ in range(2):
        await publisher(archived(chat=key.chat))
    filter_ = subjects.business_events_of_chat(key)
    stored = [
        message.subject.split(".")[-1]
        async for message in gateway.reader.pages(subjects.BUSINESS, filter_, StreamSeq(0))
    ]
    assert sorted(stored) == [
        "AGENT_TURN_COMPLETED",
        "AGENT_TURN_STARTED",
        "WORKFLOW_COMPLETED",
        "WORKFLOW_STARTED",
    ]
