"""Queries of the read models: each is answered for whom it may be, and nothing else is."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts.chat_snapshot import ChatSnapshot
from contracts.ids import AppId, ChatId, ChatKey, QuestionId, UserId, WorkflowName
from contracts.inbox import of_role, of_user
from contracts.lookups import (
    InboxFound,
    InboxRequested,
    LookupAnswer,
    LookupRequest,
    MessagesFound,
    MessagesRequested,
    Query,
    SnapshotFound,
    SnapshotRequested,
    WorkflowStatsFound,
    WorkflowStatsRequested,
)
from services.chassis.consumers.errors import UnprocessableMessageError
from services.persistence.domain.projection import advance
from services.persistence.query_responder import MAX_AGE, QueryResponder, ReceivedQuery, query_of
from services.persistence.store.memory import MemoryStore
from tests.persistence.story import ANN, KEY, archived_events, asked, decisions_of, interview

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def messages(user: UserId = ANN, **more: object) -> MessagesRequested:
    ids = {"request_id": "r1", "app_id": KEY.app, "chat_id": KEY.chat, "user_id": user}
    return MessagesRequested.model_validate({**ids, **more})


def stats(workflow: str = "Generator") -> WorkflowStatsRequested:
    return WorkflowStatsRequested(
        request_id="r1", app_id=KEY.app, workflow_name=WorkflowName(workflow)
    )


class Responder:
    """A responder over a store in memory that holds one chat, and its answers."""

    def __init__(self, max_payload: int = 1_000_000) -> None:
        self.answers: list[LookupAnswer] = []
        self.store = MemoryStore()
        self.responder = QueryResponder(self.store, self._answer, lambda: max_payload)

    async def _answer(self, _: LookupRequest, answer: LookupAnswer) -> None:
        self.answers.append(answer)

    async def ask(self, query: Query, age: timedelta = timedelta()) -> LookupAnswer | None:
        made = advance(None, archived_events(decisions_of(interview())))
        assert made is not None
        await self.store.save([made])
        await self.responder.on_query(ReceivedQuery(query=query, stored_at=NOON - age), NOON)
        return self.answers[-1] if self.answers else None


async def test_the_snapshot_of_a_chat_is_the_fold_of_its_events_and_says_where_it_ends() -> None:
    query = SnapshotRequested(request_id="r1", app_id=KEY.app, chat_id=KEY.chat)
    found = await Responder().ask(query)
    assert isinstance(found, SnapshotFound)
    received = SnapshotFound.model_validate_json(found.model_dump_json())
    made = advance(None, archived_events(decisions_of(interview())))
    assert made is not None
    assert received.snapshot is not None
    for field in fields(ChatSnapshot):
        assert getattr(received.snapshot, field.name) == getattr(made.session, field.name)
    assert received.digest == made.session.last_digest
    assert received.position == made.session.last_position


async def inbox_of(count: int, **query: Any) -> InboxFound:
    """The inbox of an app in which so many chats ask ann two questions each."""
    responder = Responder()
    for number in range(count):
        key = ChatKey(KEY.app, ChatId(f"c{number}"))
        second = asked(key).model_copy(update={"question_id": QuestionId(f"second {number}")})
        events = archived_events(decisions_of([*interview(key)[:6], second], key))
        made = advance(None, events)
        assert made is not None
        await responder.store.save([made])
    request = InboxRequested(request_id="r1", app_id=KEY.app, **query)
    found = await responder.ask(request)
    assert isinstance(found, InboxFound)
    return InboxFound.model_validate_json(found.model_dump_json())


async def test_an_inbox_keeps_the_questions_of_a_chat_together_and_pages_them_all() -> None:
    wanted = [of_user(ANN)]
    whole = await inbox_of(5, recipients=wanted)
    assert (len(whole.questions), whole.next) == (10, None)
    first = await inbox_of(5, recipients=wanted, limit=3)
    assert [one.chat_id for one in first.questions] == ["c0", "c0", "c1", "c1"]
    pages = [*first.questions]
    cursor = first.next
    while cursor is not None:
        page = await inbox_of(5, recipients=wanted, limit=3, cursor=cursor)
        pages += page.questions
        cursor = page.next
    assert pages == whole.questions


async def test_an_inbox_has_only_the_questions_of_its_recipients() -> None:
    assert (await inbox_of(2, recipients=[of_user("bob"), of_role("ann")])).questions == []
    assert len((await inbox_of(2)).questions) == 4


async def test_there_is_no_snapshot_of_an_unknown_chat() -> None:
    query = SnapshotRequested(request_id="r1", app_id=KEY.app, chat_id=ChatId("another"))
    assert await Responder().ask(query) == SnapshotFound(request_id="r1")


async def test_the_chats_own_user_gets_its_transcript() -> None:
    found = await Responder().ask(messages())
    assert isinstance(found, MessagesFound)
    assert [one.role for one in found.messages] == ["assistant", "tool", "assistant", "assistant"]
    assert (found.next, found.last_seq, found.problem) == (None, 18, None)


@pytest.mark.parametrize(
    "query",
    [
        messages(UserId("bob")),
        messages(chat_id=ChatId("another")),
        messages(app_id=AppId("another")),
    ],
)
async def test_anybody_else_gets_nothing(query: MessagesRequested) -> None:
    assert await Responder().ask(query) == MessagesFound(request_id="r1")


async def test_an_answer_is_half_as_large_as_the_largest_message_of_nats_at_most() -> None:
    found = await Responder(max_payload=1_200).ask(messages())
    assert isinstance(found, MessagesFound)
    assert found.next is not None
    assert len(found.model_dump_json()) < 1_200


async def test_statistics_are_those_of_one_app_and_workflow() -> None:
    assert await Responder().ask(stats()) == WorkflowStatsFound(
        request_id="r1",
        chats={"completed": 1},
        duration_sec=17.0,
        agent_turns=2,
        tool_calls=1,
        prompt_tokens=300,
        completion_tokens=30,
        cost=6.3e-05,
    )
    assert await Responder().ask(stats("Never")) == WorkflowStatsFound(request_id="r1")


async def test_a_query_that_is_too_old_is_not_answered() -> None:
    assert await Responder().ask(messages(), age=MAX_AGE + timedelta(seconds=1)) is None


def delivered(data: bytes, subject: str) -> Msg:
    return Msg(_client=None, subject=subject, data=data)  # type: ignore[arg-type]


@pytest.mark.parametrize("query", [messages(), stats()])
def test_a_query_reads_back_from_its_message(query: Query) -> None:
    assert query_of(delivered(query.model_dump_json().encode(), query.subject)) == query


@pytest.mark.parametrize(
    ("data", "subject", "why"),
    [
        (messages().model_dump_json().encode(), stats().subject, "not a query"),
        (messages().model_dump_json().encode(), f"{messages().subject}x", "does not match"),
        (messages().model_dump_json().encode(), "mozaiks.query.other.a.b.c", "no kind of query"),
        (b"{", messages().subject, "not a query"),
    ],
)
def test_what_is_not_a_query_is_unprocessable(data: bytes, subject: str, why: str) -> None:
    with pytest.raises(UnprocessableMessageError, match=why):
        query_of(delivered(data, subject))


async def test_a_dead_lettered_query_is_answered_with_a_problem() -> None:
    asked = Responder()
    query = messages()
    message = delivered(query.model_dump_json().encode(), query.subject)
    await asked.responder.on_dead_letter(message, "given up")
    assert asked.answers == [LookupAnswer(request_id="r1", problem="query failed")]
    await asked.responder.on_dead_letter(delivered(b"{", "mozaiks.query.x"), "given up")
    assert len(asked.answers) == 1
