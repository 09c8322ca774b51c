"""An OpenAI-compatible model without latency: python -m benchmarks.load.model PORT

A request whose newest message is a tool's result is answered with 100 words in 20 chunks, any other
with one call of the first tool. The bytes are made once, and a request is not parsed: what the model
costs is little beside the runtime, and the same in every run.

A request whose text says `Answer after 2000 ms` is answered so much later.

`POST /pace/20` sets a pause of 20 ms between two chunks of text and has the time of sending written
into each of them (SENT_AT); `POST /pace/0` ends that. `GET /requests` returns the monotonic seconds at
which requests came since the last such GET.
"""

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from infra.ports import LOOPBACK

CHUNKS = 20
WORDS_PER_CHUNK = 5
TOOL = "look_up"
ARGUMENTS = '{"topic": "bread"}'
LAST_WORD = "finished"
"""Ends the text of every turn, and is in no other text."""
FIRST_WORD = "word0"
"""Begins it."""
SENT_AT = re.compile(rb"\bt(\d{10,})\b")
"""In paced text: when it was sent, in nanoseconds of the monotonic clock of this machine."""
DELAY = re.compile(rb"Answer after (\d+) ms")

_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_USAGE = {"prompt_tokens": 350, "completion_tokens": 130, "total_tokens": 480}
_TOOL_RESULT = b'"role":"tool"'
_CALL_ID = b"call_00000000"
_PACE = b"/pace/"
_REQUESTS = b"/requests"
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


def text() -> str:
    """What the model says at the end of a turn: 100 words."""
    words = [f"word{number}" for number in range(CHUNKS * WORDS_PER_CHUNK - 1)]
    return " ".join([*words, LAST_WORD])


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-stub",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": "stub-model",
        "choices": [choice],
    }


def _text_chunks() -> Iterator[dict[str, Any]]:
    words = text().split(" ")
    yield _chunk({"role": "assistant", "content": ""})
    for place in range(0, len(words), WORDS_PER_CHUNK):
        begin = " " if place else ""
        yield _chunk({"content": begin + " ".join(words[place : place + WORDS_PER_CHUNK])})
    yield _chunk({}, "stop")


def _call_chunks() -> Iterator[dict[str, Any]]:
    function = {"name": TOOL, "arguments": ARGUMENTS}
    call = {"index": 0, "id": _CALL_ID.decode(), "type": "function", "function": function}
    yield _chunk({"role": "assistant", "content": None, "tool_calls": [call]})
    yield _chunk({}, "tool_calls")


def _response(chunks: Iterator[dict[str, Any]]) -> list[bytes]:
    """The parts of one answer as they are written, one write for each chunk."""
    usage = {**_chunk({}), "choices": [], "usage": _USAGE}
    parts = [*map(_part, chunks), _part(usage), _framed("data: [DONE]\n\n")]
    return [_HEAD + parts[0], *parts[1:-1], parts[-1] + b"0\r\n\r\n"]


def _part(chunk: dict[str, Any]) -> bytes:
    return _framed(f"data: {json.dumps(chunk)}\n\n")


def _framed(line: str) -> bytes:
    """A chunk of HTTP's chunked encoding."""
    return f"{len(line.encode()):x}\r\n{line}\r\n".encode()


_TEXT = _response(_text_chunks())
_CALL = b"".join(_response(_call_chunks()))


@dataclass(slots=True)
class State:
    """What all connections share."""

    pause: float = 0.0
    """Seconds between two chunks of text."""
    calls: int = 0
    """Tool calls so far: each has an id of its own."""
    requests: list[float] = field(default_factory=list)
    """When they came, on the monotonic clock."""
    paced: set[asyncio.Task[None]] = field(default_factory=set)


class Model(asyncio.Protocol):
    """One connection, kept alive; a client sends a request when it has the answer before."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            self._answer(*request)

    def _next_request(self) -> tuple[bytes, bytes] | None:
        """The path and the body of a whole request."""
        head, end, rest = self._received.partition(_HEAD_END)
        if not end:
            return None
        length = head.lower().partition(_LENGTH)[2].partition(b"\r\n")[0]
        size = int(length or 0)
        if len(rest) < size:
            return None
        self._received = rest[size:]
        return head.split(b" ", 2)[1], rest[:size]

    def _answer(self, path: bytes, body: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if path.startswith(_PACE):
            self._state.pause = float(path.removeprefix(_PACE)) / 1000
            self._transport.write(_page([]))
        elif path == _REQUESTS:
            came, self._state.requests = self._state.requests, []
            self._transport.write(_page(came))
        else:
            self._state.requests.append(time.monotonic())
            self._complete(self._transport, body)

    def _complete(self, transport: asyncio.Transport, body: bytes) -> None:
        delay = DELAY.search(body)
        if delay is None:
            self._reply(transport, body)
        else:
            seconds = int(delay[1]) / 1000
            asyncio.get_running_loop().call_later(seconds, self._reply, transport, body)

    def _reply(self, transport: asyncio.Transport, body: bytes) -> None:
        if transport.is_closing():
            return
        newest = body[body.rfind(b'"role"') :].replace(b'": "', b'":"')
        if not newest.startswith(_TOOL_RESULT):
            self._state.calls += 1
            transport.write(_CALL.replace(_CALL_ID, b"call_%08d" % self._state.calls))
        elif self._state.pause:
            task = asyncio.create_task(_pace(transport, self._state.pause))
            self._state.paced.add(task)
            task.add_done_callback(self._state.paced.discard)
        else:
            for part in _TEXT:
                transport.write(part)


async def _pace(transport: asyncio.Transport, pause: float) -> None:
    first, *texts = _text_chunks()
    *texts, stop = texts
    head, *_ = _response(iter([first]))
    transport.write(head)
    for place, chunk in enumerate(texts):
        if place:
            await asyncio.sleep(pause)
        delta = chunk["choices"][0]["delta"]
        delta["content"] += f" t{time.monotonic_ns()}"
        transport.write(_part(chunk))
    _, *end = _response(iter([first, stop]))
    for part in end:
        transport.write(part)


def _page(times: list[float]) -> bytes:
    body = json.dumps(times).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


async def _serve(port: int) -> None:
    state = State()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Model(state), LOOPBACK, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
