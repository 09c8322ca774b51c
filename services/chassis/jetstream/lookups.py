"""Lookups: request data that another service stores, and respond, both through JetStream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg

from contracts.ids import new_message_id
from contracts.lookups import LookupAnswer, LookupRequest
from services.chassis.jetstream.publish import Publisher
from services.chassis.jetstream.subscription import subscribed

Answer = TypeVar("Answer", bound=LookupAnswer)


class LookupChannel:
    """Requests and their responses. Methods raise NatsUnavailableError; those that store something
    NatsRejectedError, too."""

    def __init__(self, nc: Client, publisher: Publisher) -> None:
        self._nc = nc
        self._publisher = publisher

    async def request(self, request: LookupRequest) -> None:
        data = request.model_dump_json().encode()
        await self._publisher.publish(request.subject, data, new_message_id())

    async def respond(self, request: LookupRequest, answer: LookupAnswer) -> None:
        data = answer.model_dump_json().encode()
        await self._publisher.publish(request.answer_subject, data, new_message_id())

    @asynccontextmanager
    async def response(
        self, request: LookupRequest, kind: type[Answer]
    ) -> AsyncIterator[asyncio.Future[Answer]]:
        """The future response to a request that is sent within the block."""
        response: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        async def on_message(message: Msg) -> None:
            if not response.done():
                response.set_result(kind.model_validate_json(message.data))

        async with subscribed(self._nc, request.answer_subject, on_message):
            yield response
