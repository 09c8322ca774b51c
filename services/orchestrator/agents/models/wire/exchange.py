"""Sends one request to a provider and reads the events of its streamed answer, within limits."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from services.orchestrator.agents.models.wire.provider_error import (
    ErrorBody,
    IncompleteResponseError,
    ProviderStatusError,
    ProviderUnreachableError,
    error_body_of,
)
from services.orchestrator.agents.models.wire.sse import SseDecoder, SseEvent

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
SILENT_SECONDS = 300.0
"""How long a provider may send nothing but keep-alive comments."""
DRAIN_SECONDS = 0.1
"""How long an answer waits for the end of its response, without which its connection is closed."""


class Serializer(Protocol):
    """As much of AG2's serializer as is used."""

    def encode(self, message: Any) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests are sent, and by which connections."""

    url: httpx2.URL
    headers: Mapping[bytes, bytes]
    http: httpx2.AsyncClient


class EventReader(Protocol):
    """Takes the events of one answer."""

    @property
    def ended(self) -> bool:
        """Whether the provider has marked the end; nothing after the mark is taken."""

    async def take(self, event: SseEvent) -> bool:
        """Whether the event is part of an answer, and no ping or the like."""


async def exchange(
    endpoint: Endpoint, body: bytes, reader: EventReader, on_first: Callable[[], None]
) -> None:
    """Send a request, and pass the answer's events to the reader as they arrive.

    One JSON document in place of a stream is passed as one event. `on_first` is called once the
    first event of the answer is there. Raises ProviderError for every
    failure of the provider.
    """
    sent = endpoint.http.stream("POST", endpoint.url, content=body, headers=endpoint.headers)
    try:
        async with sent as response:
            pieces = response.aiter_bytes()
            if not response.is_success:
                raise ProviderStatusError(
                    response.status_code, response.headers, await _error_body(pieces)
                )
            await _read(pieces, reader, on_first)
            await _drain(pieces)
    except (httpx2.HTTPError, httpx2.StreamError) as error:
        raise ProviderUnreachableError(type(error).__name__) from error


async def _read(
    pieces: AsyncIterator[bytes], reader: EventReader, on_first: Callable[[], None]
) -> None:
    """Read to the mark of the end, or to the end of the response."""
    decoder, clock = SseDecoder(), asyncio.get_running_loop().time
    size, silent_since, is_empty = 0, clock(), True
    async for piece in pieces:
        size += len(piece)
        if size > MAX_RESPONSE_BYTES:
            raise IncompleteResponseError(f"more than {MAX_RESPONSE_BYTES} bytes")
        if await _take(decoder.feed(piece), reader):
            if is_empty:
                on_first()
            silent_since, is_empty = clock(), False
        elif clock() - silent_since > SILENT_SECONDS:
            raise ProviderUnreachableError("nothing but keep-alive comments")
        if reader.ended:
            return
    if not await _take(decoder.finish(), reader) and is_empty:
        await _take([SseEvent("", decoder.other)], reader)


async def _take(events: Iterable[SseEvent], reader: EventReader) -> bool:
    """Whether one of the events is part of an answer."""
    found = False
    for event in events:
        found = await reader.take(event) or found
        if reader.ended:
            break
    return found


async def _error_body(pieces: AsyncIterator[bytes]) -> ErrorBody:
    """The error that a response describes, as far as it can be read."""
    body = b""
    with suppress(httpx2.HTTPError):
        async for piece in pieces:
            body += piece
            if len(body) > MAX_ERROR_BYTES:
                break
    return error_body_of(body[:MAX_ERROR_BYTES])


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read what is left after the mark of the end: no failure now makes the answer incomplete."""
    with suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in pieces:
                pass
