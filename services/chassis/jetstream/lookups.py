"""Lookups: request data that another service stores, and respond, both through JetStream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts import encryption, subjects
from contracts.encryption import app_scope
from contracts.ids import AppId, ChatId, ChatKey, new_message_id
from contracts.lookups import LookupAnswer, LookupRequest, RestoreFound, RestoreRequested
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.publish import Publisher
from services.chassis.jetstream.subscription import subscribed

Answer = TypeVar("Answer", bound=LookupAnswer)

RESTORE_SECONDS = 30.0
"""How long the events of a chat may take to come back from the archive."""
PLACE = "lookup"
"""Of what is sealed in this channel."""


class LookupChannel:
    """Requests and their responses. Methods raise NatsUnavailableError; those that store something
    NatsRejectedError, too."""

    def __init__(self, nc: Client, publisher: Publisher) -> None:
        self._nc = nc
        self._publisher = publisher

    async def request(self, request: LookupRequest) -> None:
        data = await _sealed(_scope_of_request(request.subject), request)
        await self._publisher.publish(request.subject, data, new_message_id())

    async def respond(self, request: LookupRequest, answer: LookupAnswer) -> None:
        data = await _sealed(_scope_of_answer(request), answer)
        await self._publisher.publish(request.answer_subject, data, new_message_id())

    async def restore(self, key: ChatKey) -> None:
        """Have persistence restore the log of a chat. Raises NatsUnavailableError where it does not
        within RESTORE_SECONDS."""
        query = RestoreRequested(request_id=new_message_id(), app_id=key.app, chat_id=key.chat)
        try:
            async with (
                asyncio.timeout(RESTORE_SECONDS),
                self.response(query, RestoreFound) as response,
            ):
                await self.request(query)
                answer = await response
        except TimeoutError:
            raise NatsUnavailableError("the events of the chat are not restored yet") from None
        if answer.problem is not None:
            raise NatsUnavailableError(f"the chat is not restored: {answer.problem}")

    @asynccontextmanager
    async def response(
        self, request: LookupRequest, kind: type[Answer]
    ) -> AsyncIterator[asyncio.Future[Answer]]:
        """The future response to a request that is sent within the block."""
        response: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        async def on_message(message: Msg) -> None:
            if not response.done():
                opened = await _opened(_scope_of_answer(request), message.data)
                response.set_result(kind.model_validate_json(opened))

        async with subscribed(self._nc, request.answer_subject, on_message):
            yield response


async def _sealed(scope: ChatKey, message: LookupRequest | LookupAnswer) -> bytes:
    await encryption.ensure(scope)
    return encryption.seal_json(scope, PLACE, message.model_dump_json().encode())


async def _opened(scope: ChatKey, data: bytes) -> bytes:
    await encryption.load(scope)
    opened = encryption.open_json(scope, PLACE, data)
    if opened is None:
        raise ValueError("the key of its chat or app is gone")
    return opened


async def opened_request(subject: str, data: bytes) -> bytes:
    """The JSON of a request. Raises ValueError without the key, NatsUnavailableError."""
    match subject.split("."):
        case ["mozaiks", "lookup", app, *_] | ["mozaiks", "query", _, app, *_]:
            return await _opened(app_scope(AppId(subjects.untoken(app))), data)
        case _:
            return data


def _scope_of_request(subject: str) -> ChatKey:
    """Requests are sealed with the key of their app: who receives one knows no more of it."""
    tokens = subject.split(".")
    return app_scope(AppId(subjects.untoken(tokens[3 if tokens[1] == "query" else 2])))


def _scope_of_answer(request: LookupRequest) -> ChatKey:
    """The chat that an answer is about; the app, where it is about several."""
    chat = getattr(request, "chat_id", None)
    app = _scope_of_request(request.subject).app
    return ChatKey(app, ChatId(chat)) if isinstance(chat, str) else app_scope(app)
