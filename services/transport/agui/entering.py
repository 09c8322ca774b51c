"""A client comes with a run: its thread is found or begun, and what it wants is ordered, once."""

from dataclasses import dataclass

from contracts.commands import StartChat
from contracts.ids import AppId, ChatId, ChatKey, UserId, WorkflowName, chat_id_of_start
from services.transport.agui import naming
from services.transport.agui.asking import Asked
from services.transport.agui.standing import Past, Standing, beginning, pass_on
from services.transport.agui.wanting import (
    AnswerComponent,
    AnswerWords,
    Deed,
    Say,
    awaited,
    deeds,
    refuse_what_is_not_new,
)
from services.transport.chatview import ChatView
from services.transport.desk import Desk
from services.transport.refusals import RefusalError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a client comes in, and who it is."""

    app: AppId
    workflow: WorkflowName
    user: UserId


@dataclass(frozen=True, slots=True)
class Entered:
    """A run that was let in: from where it is told, and what has to come to pass in it."""

    view: ChatView
    standing: Standing
    awaited: frozenset[str]


async def enter(desk: Desk, place: Place, asked: Asked) -> Entered | None:
    """None where the chat was ordered to begin and has not yet: the same run may come again.

    Raises RefusalError, InvalidIdError, UnavailableError, RefusedError.
    """
    key = await _found(desk, place, asked) or await _begun(desk, place, asked)
    if key is None:
        return None
    past = await _past(desk, key, asked)
    view = await desk.chats.find(key, place.workflow, place.user)
    wanted = deeds(asked, past)
    for deed in wanted:
        await _order(desk, view, deed)
    return Entered(view, beginning(past, asked.after, asked.things), awaited(wanted))


async def _found(desk: Desk, place: Place, asked: Asked) -> ChatKey | None:
    """The chat that the thread began, else the person's chat of that very id."""
    for chat in (_chat_of(place, asked), ChatId(asked.thread)):
        key = ChatKey(place.app, chat)
        try:
            await desk.chats.find(key, place.workflow, place.user)
        except RefusalError as refusal:
            # Somebody else's chat of that id is none: this person may begin one all the same.
            if refusal.code != "CHAT_NOT_FOUND" and refusal.field != "user_id":
                raise
        else:
            return key
    return None


def _chat_of(place: Place, asked: Asked) -> ChatId:
    return chat_id_of_start(place.app, place.workflow, place.user, asked.thread)


async def _begun(desk: Desk, place: Place, asked: Asked) -> ChatKey | None:
    refuse_what_is_not_new(asked)
    await desk.workflows.offered(place.workflow)
    key, words = ChatKey(place.app, _chat_of(place, asked)), asked.words
    order = StartChat(
        command_id=naming.starting_order(key, asked.thread if words is None else words.id),
        app_id=key.app,
        chat_id=key.chat,
        user_id=place.user,
        workflow_name=place.workflow,
        client_request_id=asked.thread,
        message=None if words is None else words.text,
        variables=dict(asked.variables),
    )
    return key if await desk.chats.begin(order) else None


async def _past(desk: Desk, key: ChatKey, asked: Asked) -> Past:
    past = Past()
    async for commit in desk.bus.events.read(key):
        for fact in commit.facts:
            past = pass_on(past, fact, asked.after, asked.things)
    return past


async def _order(desk: Desk, view: ChatView, deed: Deed) -> None:
    match deed:
        case Say(words):
            order = naming.saying_order(view.key, words.id)
            await desk.chats.say(view, words.text, order)
        case AnswerWords(question, text, words):
            named = None if words is None else naming.saying_order(view.key, words.id)
            await desk.chats.answer(view, question, text, named)
        case AnswerComponent(question, response):
            await desk.chats.answer_component(view, question, response, "resume")
