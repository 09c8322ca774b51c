"""Seals what users and agents say in the documents of read models, and opens it again.

Ids, roles, numbers and times stay readable: queries and indexes need them. The archive needs
nothing of this: the events in it are sealed already.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import TypeVar

from contracts import encryption
from contracts.chat_snapshot import OpenQuestion
from contracts.effects import EffectRecord
from contracts.encryption import open_text, seal_text
from contracts.frozen import replace
from contracts.ids import ChatKey
from contracts.transcript import MessageToolCall
from services.persistence.store.interface import Message, Session
from services.persistence.store.mongo.client import Record
from services.persistence.store.mongo.documents import ChatEffect, ChatMessage, ChatSession

D = TypeVar("D", ChatSession, ChatMessage, ChatEffect)


async def sealed(
    records: Iterable[Record], seal: Callable[[ChatKey, Record], Record]
) -> list[Record]:
    """The documents as they are stored. Raises NatsUnavailableError."""
    if not encryption.is_on():
        return list(records)
    found: list[Record] = []
    for record in records:
        key = ChatKey(record["app_id"], record["chat_id"])
        await encryption.ensure(key)
        found.append(seal(key, record))
    return found


async def with_keys(documents: AsyncIterator[D]) -> AsyncIterator[D]:
    """The documents, each once the key of its chat is known. Raises NatsUnavailableError."""
    async for document in documents:
        await encryption.load(ChatKey(document.app_id, document.chat_id))
        yield document


# -- sessions --------------------------------------------------------------------------------------


def seal_session(key: ChatKey, record: Record) -> Record:
    questions = [
        {
            **one,
            "subject": seal_text(key, "question", one["subject"]),
            "options": [seal_text(key, "option", option) for option in one["options"]],
        }
        for one in record["open_questions"]
    ]
    title = seal_text(key, "title", record["title"])
    return {**record, "title": title, "open_questions": questions}


def opened_session(document: ChatSession) -> Session:
    stored = document.to_session()
    if not encryption.is_on():
        return stored
    key = stored.key
    return replace(
        stored,
        title=open_text(key, "title", stored.title),
        open_questions=tuple(_opened_question(key, one) for one in stored.open_questions),
    )


def _opened_question(key: ChatKey, stored: OpenQuestion) -> OpenQuestion:
    return replace(
        stored,
        subject=open_text(key, "question", stored.subject),
        options=tuple(open_text(key, "option", one) for one in stored.options),
    )


# -- messages --------------------------------------------------------------------------------------


def seal_message(key: ChatKey, record: Record) -> Record:
    content, calls = record["content"], record["tool_calls"]
    made: Record = {**record}
    if content is not None:
        made["content"] = seal_text(key, _of(record["seq"]), content)
    if calls is not None:
        made["tool_calls"] = [
            {**call, "function": _sealed_function(key, record["seq"], call["function"])}
            for call in calls
        ]
    return made


def _sealed_function(key: ChatKey, seq: int, function: Record) -> Record:
    return {**function, "arguments": seal_text(key, _of(seq), function["arguments"])}


def opened_message(document: ChatMessage) -> Message:
    stored = document.to_message()
    if not encryption.is_on():
        return stored
    key, place = stored.key, _of(stored.seq)
    changes: dict[str, object] = {}
    if stored.content is not None:
        changes["content"] = open_text(key, place, stored.content)
    if stored.tool_calls is not None:
        changes["tool_calls"] = _opened_calls(key, place, stored.tool_calls)
    return stored.model_copy(update=changes)


def _opened_calls(
    key: ChatKey, place: str, stored: Sequence[MessageToolCall]
) -> tuple[MessageToolCall, ...]:
    found: list[MessageToolCall] = []
    for call in stored:
        arguments = open_text(key, place, call.function.arguments)
        function = call.function.model_copy(update={"arguments": arguments})
        found.append(call.model_copy(update={"function": function}))
    return tuple(found)


# -- effects ---------------------------------------------------------------------------------------


def seal_effect(key: ChatKey, record: Record) -> Record:
    return {**record, "body": seal_text(key, _of(record["seq"]), record["body"])}


def opened_effect(document: ChatEffect) -> EffectRecord | None:
    """The record; None without the key of its chat."""
    key = ChatKey(document.app_id, document.chat_id)
    text = open_text(key, _of(document.seq), document.body)
    return None if text == encryption.ERASED_TEXT else document.to_record(text)


def _of(seq: int) -> str:
    return f"document {seq}"
