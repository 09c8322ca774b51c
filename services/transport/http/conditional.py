"""Smaller answers to GET: 304 where the client has the same document, gzip where it accepts it."""

import zlib
from hashlib import blake2b
from typing import Any, cast

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message

from services.chassis.process.asgi_front import Asgi

GZIP_BYTES = 1024
"""Size from which a document is compressed: below, it is one packet anyway."""
GZIP_LEVEL = 3
"""Of zlib: higher levels take three times as long for a tenth fewer bytes of JSON."""
_GZIP_FORMAT = 31
"""Window bits that make zlib write the header and trailer of gzip."""
COMPRESSIBLE = ("application/json", "text/", "image/svg+xml")


def answer_conditionally(app: Asgi) -> Asgi:
    """Wrap an app: documents that are sent at once get an ETag; streams pass as they are."""

    async def handle(scope: dict[str, Any], receive: Any, send: Any) -> None:
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        await app(scope, receive, _Answer(scope, send).send if is_get else send)

    return handle


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a header `Accept-Encoding` names gzip, and not only to refuse it."""
    named = (item.partition(";") for item in accept_encoding.lower().split(","))
    return any(
        name.strip() == "gzip" and params.strip().rstrip("0.") != "q=" for name, _, params in named
    )


class _Answer:
    """Holds the start of an answer back until it is known whether the body comes at once."""

    def __init__(self, scope: dict[str, Any], send: Any) -> None:
        self._request = MutableScopeHeaders({"headers": scope["headers"]})
        self._send = send
        self._start: dict[str, Any] | None = None
        self._is_known = False

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            self._start = message
        elif self._start is not None:
            start, self._start = self._start, None
            await self._send_first(start, message)
        elif not self._is_known:
            await self._send(message)

    async def _send_first(self, start: dict[str, Any], message: dict[str, Any]) -> None:
        content: bytes = message.get("body", b"")
        headers = MutableScopeHeaders.from_message(cast(Message, start))
        is_whole = message["type"] == "http.response.body" and not message.get("more_body")
        if is_whole and "no-store" not in headers.get("cache-control", ""):
            headers.setdefault("etag", f'W/"{blake2b(content, digest_size=16).hexdigest()}"')
            headers.setdefault("cache-control", "private, no-cache")
            content = self._compressed(headers, content)
        if (etag := headers.get("etag")) is not None and etag in self._request.get(
            "if-none-match", ""
        ):
            self._is_known = True
            start["status"] = 304
            headers.pop("content-length", None)
            message = {"type": "http.response.body", "body": b""}
        elif is_whole:
            message = {**message, "body": content}
        await self._send(start)
        await self._send(message)

    def _compressed(self, headers: MutableScopeHeaders, content: bytes) -> bytes:
        """The content as it is sent; changes the headers accordingly."""
        is_compressible = headers.get("content-type", "").startswith(COMPRESSIBLE)
        if not is_compressible or len(content) < GZIP_BYTES or "content-encoding" in headers:
            return content
        headers["vary"] = ", ".join(filter(None, [headers.get("vary"), "Accept-Encoding"]))
        if not accepts_gzip(self._request.get("accept-encoding", "")):
            return content
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
        compressed = compressor.compress(content) + compressor.flush()
        headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(compressed))
        if not headers["etag"].startswith("W/"):
            headers["etag"] = f"W/{headers['etag']}"
        return compressed
