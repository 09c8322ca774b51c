"""An OpenAI-compatible model on the loopback whose answers depend on the request alone."""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.strict_provider import refusals

Request = dict[str, Any]
Answer = dict[str, Any]
"""What the assistant says: {"content": str, "tool_calls": [(name, arguments), ...]}; `usage`, if any."""
_USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


class ModelStub:
    """Answers `POST /<chat>/v1/chat/completions` by `script`, streaming; keeps every body as sent.

    What a strict provider refuses is answered with 400, and is in `refused`.

    `hold` is called before each chunk with the chat's name and the chunk's number: a test may wait
    in it, to have the stream stand still.
    """

    def __init__(self, script: Callable[[Request], Answer]) -> None:
        self.bodies: dict[str, list[bytes]] = defaultdict(list)
        self.refused: list[str] = []
        self.hold: Callable[[str, int], None] = lambda _chat, _chunk: None
        self._script = script
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Raises AssertionError if a request was refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        assert not self.refused

    def base_url(self, chat: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{chat}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                chat = self.path.split("/")[1]
                stub.bodies[chat].append(body)
                if found := refusals(json.loads(body)):
                    stub.refused += found
                    self._refuse(found)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                try:
                    for number, chunk in enumerate(_chunks(stub._script(json.loads(body)))):
                        stub.hold(chat, number)
                        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                        self.wfile.flush()
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    pass  # whoever asked was killed
                self.close_connection = True

            def _refuse(self, found: list[str]) -> None:
                error = json.dumps({"error": {"message": str(found)}}).encode()
                self.send_response(400)
                self.send_header("Content-Length", str(len(error)))
                self.end_headers()
                self.wfile.write(error)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _chunks(answer: Answer) -> Iterator[Answer]:
    for word in re.findall(r"\s*\S+\s*", answer["content"]):
        yield _chunk({"content": word})
    calls = [
        {
            "index": place,
            "id": f"call_{name}_{place}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for place, (name, arguments) in enumerate(answer["tool_calls"])
    ]
    if calls:
        yield _chunk({"tool_calls": calls})
    yield _chunk({}, finish="tool_calls" if calls else "stop")
    usage = answer.get("usage") or _USAGE
    yield {**_chunk({}), "choices": [], "usage": usage}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "stub-model",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }


def generator_script(request: Request) -> Answer:
    """The Generator workflow's agents, by what they have said and done in the request so far."""
    messages = request["messages"]
    system = next(m["content"] for m in messages if m["role"] == "system")
    spoken = sum(m["role"] == "assistant" for m in messages)
    for opening, lines in _LINES.items():
        if system.startswith(opening):
            content, calls = lines[min(spoken, len(lines) - 1)]
            return {"content": content, "tool_calls": calls}
    raise ValueError(f"no lines for {system[:40]}")


def one_tool_at_a_time(request: Request) -> Answer:
    """The same without parallel calls, whose results come in an order of their own."""
    answer = generator_script(request)
    return {**answer, "tool_calls": answer["tool_calls"][:1]}


_LINES: dict[str, list[tuple[str, list[tuple[str, dict[str, Any]]]]]] = {
    "You interview": [
        ("Let me ask you one thing.", [("ask_user", {"question": "What shall we build?"})]),
        ("Thank you very much.", [("transfer_to_Planner", {"reason": "The idea is known."})]),
    ],
    "You turn": [
        (
            "Two estimates at once.",
            [
                ("estimate_effort", {"steps": ["Sketch the screens"]}),
                ("estimate_effort", {"steps": ["Model the data", "Try it"]}),
            ],
        ),
        ("The plan stands.", [("transfer_to_Architect", {"reason": "The plan is ready."})]),
    ],
    "You design": [
        (
            "I draw the blueprint.",
            [("save_blueprint", {"title": "Shop", "components": ["Web app", "Event log"]})],
        ),
        ("Please have a look.", [("request_approval", {})]),
        ("Approved, and done.", []),
    ],
}
