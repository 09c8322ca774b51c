"""Lookup requests from the queue: each is answered, and what is not a request is dead-lettered."""

from typing import Any

import pytest
from nats.aio.msg import Msg

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from contracts.lookups import DataFound, DataRequested
from services.chassis.consumers.errors import UnprocessableMessageError
from services.persistence.lookup_responder import LookupResponder, request_of
from services.persistence.store.document_query import allowed_sources
from services.persistence.store.memory import MemoryDocumentReader

ACME = AppId("acme")
ALLOWED = allowed_sources("shop", "MozaiksAI")


def request(database: str = "shop", collection: str = "menus", **more: Any) -> DataRequested:
    return DataRequested(
        request_id="r1",
        app_id=ACME,
        chat_id=ChatId("chat 1"),
        database=database,
        collection=collection,
        **more,
    )


class Responder:
    """A responder that reads from memory, and its answers."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        reader = MemoryDocumentReader()
        reader.documents["shop.menus"] = list(documents)
        self.answers: list[tuple[ChatKey, DataFound]] = []
        self.responder = LookupResponder(reader, ALLOWED, self._answer)

    async def _answer(self, request: DataRequested, found: DataFound) -> None:
        self.answers.append((request.key, found))


def delivered(data: bytes, subject: str) -> Msg:
    return Msg(_client=None, subject=subject, data=data)  # type: ignore[arg-type]


def delivery(given: DataRequested) -> Msg:
    subject = subjects.lookup(given.key, given.request_id)
    return delivered(given.model_dump_json().encode(), subject)


async def test_every_request_is_answered_with_a_value_without_one_or_with_a_problem() -> None:
    lookups = Responder({"app_id": "acme", "soup": "leek"})
    for one in (
        request(fields=["soup"]),
        request(query={"soup": "fish"}),
        request("elsewhere"),
    ):
        await lookups.responder.on_request(request_of(delivery(one)))
    assert [found for _, found in lookups.answers] == [
        DataFound(request_id="r1", found=True, value="leek"),
        DataFound(request_id="r1"),
        DataFound(request_id="r1", problem="elsewhere.menus is not among DATA_REFERENCE_DATABASES"),
    ]
    assert {key for key, _ in lookups.answers} == {ChatKey(ACME, ChatId("chat 1"))}


def test_a_request_in_the_name_of_another_chat_is_dead_lettered() -> None:
    forged = subjects.lookup(ChatKey(AppId("other"), ChatId("chat 1")), "r1")
    with pytest.raises(UnprocessableMessageError, match="does not match its subject"):
        request_of(delivered(request().model_dump_json().encode(), forged))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"request_id": 1}'])
async def test_what_is_not_a_request_is_dead_lettered_without_an_answer(data: bytes) -> None:
    lookups = Responder()
    with pytest.raises(UnprocessableMessageError, match="not a lookup request"):
        request_of(delivered(data, "mozaiks.lookup.acme.chat.r1"))
    await lookups.responder.on_dead_letter(
        delivered(data, "mozaiks.lookup.acme.chat.r1"), "not a lookup request"
    )
    assert lookups.answers == []


async def test_a_request_that_was_given_up_is_answered_with_a_problem() -> None:
    lookups = Responder()
    await lookups.responder.on_dead_letter(delivery(request()), "dead-lettered after 3 attempts")
    assert lookups.answers[0][1].problem == "the lookup failed"
