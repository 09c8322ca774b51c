"""A provider on the loopback that does what a test tells it to, one reply after the other."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Refuses:
    """An HTTP error, in the form of OpenAI's."""

    status: int
    code: str | None = None
    message: str = "no"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Retry-After-Ms": "1"})


@dataclass(frozen=True)
class Streams:
    """An answer, word by word; `error` is told in mid-stream, `whole` says that it comes to its end."""

    words: Sequence[str] = ("At ", "last.")
    finish: str | None = "stop"
    model: str = "m"
    error: Mapping[str, Any] | None = None
    whole: bool = True


Reply = Refuses | Streams
ANSWERS = Streams()


class ProviderStub:
    """Gives its replies in order, the last one for ever; `bodies` is what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._replies = replies
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

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

    def _reply(self, body: dict[str, Any]) -> Reply:
        self.bodies.append(body)
        return self._replies[min(len(self.bodies), len(self._replies)) - 1]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                match stub._reply(json.loads(body)):
                    case Refuses() as refusal:
                        self._refuse(refusal)
                    case Streams() as answer:
                        self._stream(answer)

            def _refuse(self, refusal: Refuses) -> None:
                error = {"message": refusal.message, "code": refusal.code, "type": None}
                told = json.dumps({"error": error}).encode()
                self.send_response(refusal.status)
                for name, value in refusal.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def _stream(self, answer: Streams) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for word in answer.words:
                    self._tell(_chunk(answer.model, {"content": word}))
                if answer.error is not None:
                    self._tell({"error": answer.error})
                if not answer.whole:
                    self.close_connection = True
                    return
                self._tell(_chunk(answer.model, {}, answer.finish))
                usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
                self._tell({**_chunk(answer.model, {}), "choices": [], "usage": usage})
                self._write(b"data: [DONE]\n\n")
                self._write(b"")

            def _tell(self, message: Mapping[str, Any]) -> None:
                self._write(f"data: {json.dumps(message)}\n\n".encode())

            def _write(self, piece: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

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
