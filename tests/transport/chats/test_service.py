from collections.abc import Callable

import pytest

from contracts.commands import AnswerQuestion, SendMessage
from contracts.events.chat import ChatRewound, RestoredChat
from contracts.ids import AppId, ChatKey, Seq, UserId
from contracts.subjects import question
from services.chassis.jetstream.gateway import JetStreamGateway
from services.transport.auth.principal import UNRESTRICTED, Identity, Principal
from services.transport.chats.answers import TextAnswer
from services.transport.chats.app_capacity import AppCapacity
from services.transport.chats.catalogue import WorkflowCatalogue
from services.transport.chats.service import ChatService
from services.transport.delivery.projection_cache import ProjectionCache
from services.transport.errors import ApiError
from services.transport.protocol.chat_projection import ChatView
from tests.transport.story import (
    COMPLETED,
    NOON,
    STARTED,
    Chat,
    last_command,
    question_answered,
    question_asked,
)

pytestmark = pytest.mark.broker


class LogWasReadError(Exception):
    """The log was read where it should not be."""


class NoLog(ProjectionCache):
    async def get(self, key: ChatKey) -> ChatView | None:
        raise LogWasReadError(key)


async def view_of(chat: Chat) -> ChatView:
    view = await ProjectionCache(chat.gateway.events).get(chat.key)
    assert view is not None
    return view


def service(
    gateway: JetStreamGateway,
    live: ChatView | None,
    identity: Identity = UNRESTRICTED,
    projections: Callable[..., ProjectionCache] = ProjectionCache,
) -> ChatService:
    capacity = AppCapacity(gateway.commands, 0, lambda: 0.0)
    cache = projections(gateway.events)
    workflows = WorkflowCatalogue(gateway.key_values)
    return ChatService(gateway, cache, workflows, 0.3, lambda _: live, capacity, identity)


async def test_a_message_to_a_watched_chat_is_sent_without_reading_the_log(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    chats = service(gateway, await view_of(chat), projections=NoLog)
    await chats.send_message(await chats.find_for_command(chat.key), "hi")
    assert isinstance(await last_command(gateway, chat.key), SendMessage)


async def test_a_watched_chat_is_hidden_from_whoever_may_not_access_it(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    view = await view_of(chat)
    for user, app in (("bob", "acme"), ("ana", "other")):
        identity = Principal(
            user=UserId(user), apps=frozenset([AppId(app)]), scopes=frozenset(), expires_at=NOON
        )
        with pytest.raises(ApiError, match="chat_id: no such chat"):
            await service(gateway, view, identity).find_for_command(chat.key)


async def test_a_question_that_the_view_does_not_know_yet_can_be_answered(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED)
    asked, trailing = question(chat.key, 1, "call-1", 0), await view_of(chat)
    await chat.append(question_asked(asked))
    chats = service(gateway, trailing)
    view = await chats.find_by_question(asked, "q")
    await chats.answer_question(view, asked, TextAnswer("red"), "q")
    assert isinstance(await last_command(gateway, chat.key), AnswerQuestion)


async def test_a_question_that_is_answered_is_refused(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    asked = question(chat.key, 1, "call-1", 0)
    await chat.append(STARTED, question_asked(asked), question_answered(asked))
    chats = service(gateway, await view_of(chat))
    view = await chats.find_by_question(asked, "q")
    with pytest.raises(ApiError, match="no such question is open"):
        await chats.answer_question(view, asked, TextAnswer("red"), "q")


async def test_an_ended_chat_that_is_watched_refuses_messages(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, COMPLETED)
    chats = service(gateway, await view_of(chat))
    with pytest.raises(ApiError, match="the chat is completed"):
        await chats.send_message(await chats.find_for_command(chat.key), "hi")


async def test_a_chat_that_was_opened_again_since_takes_a_message(
    gateway: JetStreamGateway, chat: Chat
) -> None:
    await chat.append(STARTED, COMPLETED)
    trailing = await view_of(chat)
    await chat.append(
        ChatRewound(
            to_seq=Seq(1),
            kind="rewind",
            user_id=UserId("ana"),
            restored=RestoredChat(status="waiting", turn=0),
        )
    )
    chats = service(gateway, trailing)
    await chats.send_message(await chats.find_for_command(chat.key), "hi")
    assert isinstance(await last_command(gateway, chat.key), SendMessage)
