"""Beanie documents are the whole model of what is stored: no field more, and none less."""

from collections.abc import AsyncIterator
from dataclasses import fields, replace
from typing import Any

import pytest
from beanie import Document
from pydantic import ValidationError

from contracts.chat_snapshot import ArtifactReference, OpenQuestion
from contracts.events import Event
from contracts.events.human import UiToolRequested
from contracts.events.parts import ToolCall
from contracts.events.turn import ModelResponded
from contracts.ids import AppId, ChatId, ChatKey, QuestionId, StreamSeq, WorkflowName
from infra.servers import MongoServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.domain.projection import advance
from services.persistence.settings import Settings
from services.persistence.store.interface import ProjectionUpdate
from services.persistence.store.mongo.client import Client, build_client
from services.persistence.store.mongo.documents import (
    ArchivedMessage,
    ChatMessage,
    ChatSession,
    PersistenceState,
    WorkflowChatStats,
    bind,
    stats_collection_name,
)
from tests.persistence.live import append, is_published, running, until
from tests.persistence.story import (
    INTERVIEWER,
    KEY,
    archived_events,
    asked,
    decisions_of,
    hello,
    interview,
)

pytestmark = [pytest.mark.broker, pytest.mark.mongo]

WAITING = ChatKey(AppId("other.corp"), ChatId("chat 1"))
STATS = stats_collection_name(KEY.app, WorkflowName("Generator"))


def waiting() -> list[Event]:
    """A chat with an open question and an artifact."""
    shown = UiToolRequested(
        question_id=QuestionId("q"),
        turn=1,
        agent=INTERVIEWER,
        tool_call_id="call_2",
        ordinal=0,
        ui_tool_id="plan",
        component="Plan",
        display="artifact",
    )
    calls = [ToolCall(id="call_1", name="ask", arguments="{}")]
    called = ModelResponded(turn=1, call=1, agent=INTERVIEWER, text=None, tool_calls=calls)
    return [*hello()[:3], called, asked(WAITING), shown]


def update_of(events: list[Event], key: ChatKey) -> ProjectionUpdate:
    made = advance(None, archived_events(decisions_of(events, key)))
    assert made is not None
    return made


@pytest.fixture
async def client(mongo: MongoServer) -> AsyncIterator[Client]:
    client = build_client(mongo.uri)
    yield client
    await client.close()


@pytest.fixture
async def written(
    gateway: JetStreamGateway, settings: Settings, database: str, client: Client
) -> AsyncIterator[None]:
    """A database in which a running persistence has stored two chats."""
    await append(gateway, decisions_of(interview()))
    await append(gateway, decisions_of(waiting(), WAITING))
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 18))
        await until(lambda: is_published(gateway, WAITING, 6))
    yield
    await client.drop_database(database)


@pytest.mark.parametrize(
    ("model", "collection", "count"),
    [
        (ArchivedMessage, None, 24),
        (ChatSession, None, 2),
        (ChatMessage, None, 6),
        (WorkflowChatStats, STATS, 1),
        (PersistenceState, None, 1),
    ],
)
@pytest.mark.usefixtures("written")
async def test_each_collection_reads_as_documents_with_no_field_more_or_less(
    model: type[Document], collection: str | None, count: int, client: Client, database: str
) -> None:
    bound = await bind(model, client[database], collection)
    records: list[dict[str, Any]] = await bound.get_pymongo_collection().find().to_list()
    wanted = {field.alias or name for name, field in model.model_fields.items()} - {"revision_id"}
    assert [record.keys() ^ wanted for record in records] == [set()] * count
    documents = await bound.find().to_list()
    assert [document.id for document in documents] == [record["_id"] for record in records]


@pytest.mark.usefixtures("written")
async def test_sessions_statistics_and_messages_read_back_as_they_were_projected(
    client: Client, database: str
) -> None:
    sessions = await bind(ChatSession, client[database])
    messages = await bind(ChatMessage, client[database])
    statistics = await bind(WorkflowChatStats, client[database], STATS)
    first, second = update_of(interview(), KEY), update_of(waiting(), WAITING)
    stored = {one.to_session() async for one in sessions.find()}
    # Positions count the messages of the stream, in which the two chats share one order.
    assert {replace(one, last_position=StreamSeq(one.last_seq)) for one in stored} == {
        first.session,
        second.session,
    }
    one = await statistics.find_one({"app_id": KEY.app})
    assert one is not None
    assert one.to_stats() == first.stats
    said = await messages.find({"app_id": WAITING.app}).sort("seq").to_list()
    assert [message.to_message() for message in said] == list(second.messages)


@pytest.mark.usefixtures("written")
async def test_what_lies_inside_of_a_session_is_typed_too(client: Client, database: str) -> None:
    sessions = await bind(ChatSession, client[database])
    (record,) = await sessions.get_pymongo_collection().find({"app_id": WAITING.app}).to_list()
    names = {field.name for field in fields(OpenQuestion)}
    assert [question.keys() for question in record["open_questions"]] == [names, names]
    assert record["last_artifact"].keys() == {field.name for field in fields(ArtifactReference)}
    document = await sessions.find_one({"app_id": WAITING.app})
    assert document is not None
    assert [type(one) for one in document.open_questions] == [OpenQuestion, OpenQuestion]
    assert isinstance(document.last_artifact, ArtifactReference)


async def test_a_class_that_was_bound_before_has_no_defaults(client: Client, database: str) -> None:
    for name in (database, f"{database}_2", database):
        bound = await bind(ChatMessage, client[name])
        with pytest.raises(ValidationError, match="11 validation errors"):
            bound.model_validate({"_id": "incomplete"})
