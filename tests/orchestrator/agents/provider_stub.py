"""A model provider on the loopback interface that gives the replies of a test, one after the other."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.strict_provider import refusals


@dataclass(frozen=True)
class ErrorReply:
    """An HTTP error in OpenAI's format."""

    status: int
    code: str | None = None
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Retry-After-Ms": "1"})


@dataclass(frozen=True)
class StreamedReply:
    """An answer streamed word by word; `error` is sent within the stream.

    Without `complete` the connection is closed before the end of the stream.
    """

    words: Sequence[str] = ("At ", "last.")
    finish: str | None = "stop"
    model: str = "m"
    error: Mapping[str, Any] | None = None
    complete: bool = True


@dataclass(frozen=True)
class RawReply:
    """A response as it is sent; `pieces` are its HTTP chunks."""

    pieces: Sequence[bytes]
    status: int = 200
    content_type: str = "text/event-stream"


Reply = ErrorReply | StreamedReply | RawReply
Rule = Callable[[Mapping[str, Any]], Reply]
"""The reply to a request, by its body."""
ANSWER = StreamedReply()


class ProviderStub:
    """Gives its replies in order and then repeats the last one; `bodies` are the requests it got.

    A rule in place of a reply decides by the request.

    A request that a strict provider refuses is answered with 400 and is in `refused`. Stubs of other
    APIs say what they refuse and what an error is there.
    """

    path = "/v1"

    def __init__(self, *replies: Reply | Rule) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.sent: list[bytes] = []
        """The same as they were sent."""
        self.paths: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.refused: list[str] = []
        self._replies = replies
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self.path}"

    @contextmanager
    def running(self) -> Iterator["ProviderStub"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(10)
        assert not self.refused

    def refusals(self, body: dict[str, Any]) -> list[str]:
        """Why a request is refused; empty for a good one."""
        return refusals(body)

    def error_body(self, reply: ErrorReply) -> dict[str, Any]:
        return {"error": {"message": reply.message, "code": reply.code, "type": None}}

    def reply_to(self, body: dict[str, Any]) -> Reply:
        """The reply to a request that is not refused; it is the last of `bodies`."""
        return self.reply_number(min(len(self.bodies), len(self._replies)) - 1, body)

    def reply_number(self, number: int, body: dict[str, Any]) -> Reply:
        reply = self._replies[number]
        return reply(body) if callable(reply) else reply

    def _reply(self, sent: bytes) -> Reply:
        body: dict[str, Any] = json.loads(sent)
        self.bodies.append(body)
        self.sent.append(sent)
        if found := self.refusals(body):
            self.refused += found
            return ErrorReply(400, "invalid_value", str(found))
        return self.reply_to(body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.paths.append(self.path)
                stub.headers.append(dict(self.headers.items()))
                match stub._reply(body):
                    case ErrorReply() as reply:
                        self._send_error(reply)
                    case StreamedReply() as reply:
                        self._stream(reply)
                    case RawReply() as reply:
                        self._send_raw(reply)

            def _send_error(self, reply: ErrorReply) -> None:
                body = json.dumps(stub.error_body(reply)).encode()
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _send_raw(self, reply: RawReply) -> None:
                self._send_head(reply.status, reply.content_type)
                for piece in reply.pieces:
                    self._write(piece)
                self._write(b"")

            def _send_head(self, status: int, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()

            def _stream(self, reply: StreamedReply) -> None:
                self._send_head(200, "text/event-stream")
                for word in reply.words:
                    self._send_event(_chunk(reply.model, {"content": word}))
                if reply.error is not None:
                    self._send_event({"error": reply.error})
                if not reply.complete:
                    self.close_connection = True
                    return
                self._send_event(_chunk(reply.model, {}, reply.finish))
                usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
                self._send_event({**_chunk(reply.model, {}), "choices": [], "usage": usage})
                self._write(b"data: [DONE]\n\n")
                self._write(b"")

            def _send_event(self, message: Mapping[str, Any]) -> None:
                self._write(f"data: {json.dumps(message)}\n\n".encode())

            def _write(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _chunk(model: str, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
