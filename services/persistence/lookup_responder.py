"""Answers lookups of workflows: decodes a request, queries MongoDB, publishes the answer."""

from collections.abc import Awaitable, Callable

from faststream import StreamMessage
from nats.aio.msg import Msg
from pydantic import ValidationError

from contracts import subjects
from contracts.codec import describe
from contracts.lookups import DataFound, DataRequested
from contracts.subjects import InvalidSubjectError
from services.chassis.consumers.errors import UnprocessableMessageError
from services.chassis.jetstream.lookups import opened_request
from services.chassis.nats.unavailable import ServerUnavailableError
from services.persistence.store.document_query import (
    AllowedSources,
    DocumentReader,
    QueryRejectedError,
    build_query,
    select_value,
)
from services.persistence.store.interface import StoreUnavailableError

Answer = Callable[[DataRequested, DataFound], Awaitable[None]]


class LookupResponder:
    """The handler of lookup requests."""

    def __init__(self, reader: DocumentReader, sources: AllowedSources, answer: Answer) -> None:
        self._reader = reader
        self._sources = sources
        self._answer = answer

    async def on_request(self, request: DataRequested) -> None:
        """Raises ServerUnavailableError: then the request is delivered again."""
        try:
            found = await self._find(request)
        except StoreUnavailableError as unavailable:
            raise ServerUnavailableError(str(unavailable)) from unavailable
        await self._answer(request, found)

    async def on_dead_letter(self, message: Msg, reason: str) -> None:
        """Answers a dead-lettered request, so that nobody waits until the time limit."""
        del reason  # for operators only: it may hold what workflows must not see
        try:
            request = request_of(message, await opened_request(message.subject, message.data))
        except (UnprocessableMessageError, ValueError):
            return
        await self._answer(request, _problem(request, "the lookup failed"))

    async def _find(self, request: DataRequested) -> DataFound:
        try:
            document = await self._reader.newest(build_query(request, self._sources))
            if document is None:
                return DataFound(request_id=request.request_id)
            value = select_value(document, request.fields)
        except QueryRejectedError as rejected:
            return _problem(request, str(rejected))
        return DataFound(request_id=request.request_id, found=True, value=value)


async def decode_request(message: StreamMessage[Msg]) -> DataRequested:
    """FastStream's decoder of lookup requests. Raises UnprocessableMessageError."""
    raw = message.raw_message
    try:
        data = await opened_request(raw.subject, raw.data)
    except ValueError as sealed:
        raise UnprocessableMessageError(f"not a lookup request: {sealed}") from sealed
    return request_of(raw, data)


def request_of(message: Msg, data: bytes | None = None) -> DataRequested:
    """The request that a message holds, or its opened `data`. Raises UnprocessableMessageError."""
    try:
        request = DataRequested.model_validate_json(message.data if data is None else data)
        subject = subjects.lookup(request.key, request.request_id)
    except ValidationError as invalid:
        raise UnprocessableMessageError(f"not a lookup request: {describe(invalid)}") from invalid
    except (InvalidSubjectError, ValueError) as invalid:
        raise UnprocessableMessageError(f"not a lookup request: {invalid}") from invalid
    if subject != message.subject:  # else one chat could ask in the name of another
        raise UnprocessableMessageError("the lookup request does not match its subject")
    return request


def _problem(request: DataRequested, why: str) -> DataFound:
    return DataFound(request_id=request.request_id, problem=why)
