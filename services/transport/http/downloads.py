"""Stored content as a response: sent chunk by chunk, never run as script, to a client that reads it."""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import quote

from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'",
    "cache-control": "private, no-store",
}
"""Stored content must never run as script on this origin."""


class DownloadResponse(ASGIResponse):
    """Sends content in chunks; a client that does not read is disconnected."""

    def __init__(
        self,
        chunks: AsyncIterator[bytes],
        *,
        size: int,
        media_type: str,
        filename: str,
        timeout: float,
    ) -> None:
        """`timeout` is for each chunk, in seconds."""
        super().__init__(
            media_type=media_type,
            content_length=size,
            headers={**SAFE_HEADERS, "content-disposition": _disposition(filename)},
        )
        self._chunks = chunks
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await self.start_response(send)
        async for chunk in self._chunks:
            try:
                async with asyncio.timeout(self._timeout):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            except TimeoutError:
                return  # uvicorn closes the connection: less was sent than promised
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _disposition(filename: str) -> str:
    # Browsers that know `filename*` prefer it (RFC 6266); the other one may hold ASCII only.
    plain_name = "".join(c if c.isascii() and c not in '"\\' else "_" for c in filename)
    return f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{quote(filename, safe='')}"
