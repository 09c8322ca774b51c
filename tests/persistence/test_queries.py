"""Transcripts and statistics: asked over a real log by the transport's client, answered from MongoDB."""

import asyncio
from collections.abc import Collection

import pytest

from contracts import subjects
from contracts.events import Event
from contracts.events.chat import ChatStarted
from contracts.events.turn import ModelResponded
from contracts.ids import AgentName, WorkflowName
from contracts.lookups import MessagesFound, MessagesRequested
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.settings import Settings
from services.transport.chats import read_models
from services.transport.chats.read_models import ReadModels
from services.transport.errors import ApiError
from services.transport.protocol.chat_projection import ChatView, apply
from tests.logs import stored
from tests.persistence.live import append, is_published, running, until
from tests.persistence.story import ANN, INTERVIEWER, KEY, decisions_of, hello, interview

pytestmark = [pytest.mark.broker, pytest.mark.mongo]


def view_of(events: list[Event]) -> ChatView:
    log = stored(decisions_of(events))
    view = ChatView.before(log[0].envelope)
    for one in log:
        view = apply(view, one.envelope, one.event)
    return view


async def whole(
    models: ReadModels, view: ChatView, limit: int, agents: Collection[AgentName] = ()
) -> list[MessagesFound]:
    pages = [await models.messages(view, None, limit, agents)]
    while (cursor := pages[-1].next) is not None:
        pages.append(await models.messages(view, cursor, limit, agents))
    return pages


async def test_a_transcript_is_read_page_by_page(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    await append(gateway, decisions_of(interview()))
    models, view = ReadModels(gateway.lookups), view_of(interview())
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 18))
        pages = await whole(models, view, 1)
        assert [[one.role for one in page.messages] for page in pages] == [
            ["assistant", "tool"],
            ["assistant"],
            ["assistant"],
        ]
        assert {page.last_seq for page in pages} == {18}
        (page,) = await whole(models, view, 50, [INTERVIEWER])
        assert {one.name for one in page.messages} == {"InterviewAgent", "ask_person"}


async def test_pages_of_long_messages_stay_below_what_nats_takes(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    long = [
        ModelResponded(turn=1, call=call, agent=INTERVIEWER, text='"ü' * 100_000)
        for call in range(8)
    ]
    events: list[Event] = [ChatStarted(user_id=ANN, seed=7), *long]
    await append(gateway, decisions_of(events))
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, len(events)))
        pages = await whole(ReadModels(gateway.lookups), view_of(events), 200)
    assert len(pages) > 1
    assert [one.content for page in pages for one in page.messages] == [one.text for one in long]


async def test_statistics_are_read_from_the_workflows_collection(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    await append(gateway, decisions_of(interview()))
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 18))
        found = await ReadModels(gateway.lookups).workflow_stats(KEY.app, WorkflowName("Generator"))
    assert (found.chats, found.agent_turns, found.prompt_tokens) == ({"completed": 1}, 2, 300)


async def test_a_query_that_is_sent_while_persistence_is_down_is_answered_when_it_is_back(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    await append(gateway, decisions_of(hello()))
    async with running(settings):
        await until(lambda: is_published(gateway, KEY, 6))
    asking = asyncio.create_task(ReadModels(gateway.lookups).messages(view_of(hello()), None, 50))
    async with running(settings):
        assert [one.role for one in (await asking).messages] == ["user", "assistant"]


async def test_without_persistence_a_query_fails_in_time(
    gateway: JetStreamGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_models, "TIMEOUT_SECONDS", 0.1)
    with pytest.raises(ApiError) as failed:
        await ReadModels(gateway.lookups).messages(view_of(hello()), None, 50)
    assert (failed.value.status, failed.value.retry_after) == (503, 2.0)


async def test_a_message_that_is_not_a_query_is_dead_lettered(
    gateway: JetStreamGateway, settings: Settings
) -> None:
    query = MessagesRequested(request_id="r1", app_id=KEY.app, chat_id=KEY.chat, user_id=ANN)
    async with running(settings):
        await gateway.js.publish(query.subject, b"{}")

        async def is_dead_lettered() -> bool:
            letters = await gateway.js.stream_info(subjects.DEAD_LETTERS)
            return letters.state.messages == 1

        await until(is_dead_lettered)
