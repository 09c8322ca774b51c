"""HTTP requests to the transport: authorised, repeated while it cannot serve, errors by field."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any
from urllib.parse import quote

import httpx

from mozaiks_client.errors import ApiError, ServiceUnavailableError

Token = str | Callable[[], Awaitable[str]]
"""An access token, or what returns a fresh one; asked for each request and connection."""

RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 5.0
SILENT_SECONDS = 30.0
"""A stream without a line for so long is lost: the transport sends heartbeats."""


def quoted(part: str) -> str:
    """An id as one segment of a path."""
    return quote(part, safe="")


async def bearer(token: Token | None) -> str | None:
    return token if token is None or isinstance(token, str) else await token()


class Requests:
    """`timeout` bounds each request with all its repetitions, in seconds."""

    def __init__(self, http: httpx.AsyncClient, token: Token | None, timeout: float) -> None:
        self._http = http
        self._token = token
        self._timeout = timeout

    async def send(
        self, method: str, path: str, *, repeatable: bool = False, **parts: Any
    ) -> httpx.Response:
        """A successful answer; `repeatable` requests are sent again where none came.

        Raises ApiError where the transport refuses it, ServiceUnavailableError where it does not
        answer in time.
        """
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + self._timeout, RETRY_SECONDS
        while True:
            try:
                return await self._once(method, path, parts)
            except ApiError as error:
                pause = max(error.retry_after or 0.0, pause)
                if not error.is_temporary or clock() + pause > deadline:
                    raise
            except httpx.ConnectError as away:  # it was not sent
                if clock() + pause > deadline:
                    raise ServiceUnavailableError(f"no connection: {away}") from away
            except httpx.HTTPError as away:
                if not repeatable or clock() + pause > deadline:
                    raise ServiceUnavailableError(f"no answer: {away!r}") from away
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_RETRY_SECONDS)

    async def lines(self, path: str, params: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """The lines of a response that goes on; ends with its connection.

        Raises ApiError where the transport refuses it, ServiceUnavailableError where it is not there.
        """
        async with self._opened(path, params, "stream", {"Accept": "text/event-stream"}) as answer:
            async for line in answer.aiter_lines():
                yield line

    async def save(self, path: str, params: Mapping[str, Any], file: IO[bytes]) -> None:
        """Write the content of a response to a file, as it comes.

        Raises ApiError where the transport refuses it, ServiceUnavailableError where it breaks off.
        """
        async with self._opened(path, params, "download", {}) as answer:
            async for block in answer.aiter_bytes():
                file.write(block)

    @asynccontextmanager
    async def _opened(
        self, path: str, params: Mapping[str, Any], what: str, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx.Response]:
        """A response that is read as it comes.

        Raises ApiError where the transport refuses it, ServiceUnavailableError where it breaks off.
        """
        token = await bearer(self._token)
        signed_in = {} if token is None else {"Authorization": f"Bearer {token}"}
        timeout = httpx.Timeout(self._timeout, read=SILENT_SECONDS)
        try:
            async with self._http.stream(
                "GET",
                path,
                params=dict(params),
                headers={**headers, **signed_in},
                timeout=timeout,
            ) as answer:
                if not answer.is_success:
                    await answer.aread()
                    raise ApiError(
                        _detail(answer), status=answer.status_code, retry_after=_retry_after(answer)
                    )
                yield answer
        except httpx.HTTPError as away:
            raise ServiceUnavailableError(f"the {what} ended: {away!r}") from away

    async def _once(self, method: str, path: str, parts: dict[str, Any]) -> httpx.Response:
        token = await bearer(self._token)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = await self._http.request(method, path, headers=headers, **parts)
        if answer.is_success:
            return answer
        raise ApiError(
            _detail(answer),
            status=answer.status_code,
            retry_after=_retry_after(answer),
            body=_body(answer),
        )


def _body(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}"


def _retry_after(answer: httpx.Response) -> float | None:
    try:
        return float(answer.headers["Retry-After"])
    except (KeyError, ValueError):
        return None
