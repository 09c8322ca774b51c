"""ChatUI as far as the wire can tell: its cursor, what it drops, and what its page shows."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

REQUIRED = {
    "print": ("agent", "content"),
    "text": ("agent", "content"),
    "input_request": ("request_id",),
    "tool_call": ("component_type", "tool_call_id", "payload", "display"),
    "ui_tool_complete": ("eventId",),
    "ui_tool_dismiss": ("event_id",),
    "select_speaker": ("agent",),
    "run_complete": ("reason", "status", "duration_sec", "total_tokens"),
    "error": ("message", "error_code"),
    "resume_boundary": (),
    "input_ack": (),
    "mode_changed": ("mode",),
    "general_session_created": ("general_chat_id",),
}
"""What the page reads in each case that it handles; without it a person sees `undefined`."""

IGNORED = {
    "run_start",
    "context_switched",
    "tool_activity",
    "usage_delta",
    "structured_output_ready",
}
TOP_ONLY = {"select_speaker": ("selected_speaker",), "text": ("role",)}
META = ("cache_seed", "chat_exists", "last_artifact")


@dataclass
class Bubble:
    agent: str
    content: str
    streaming: bool = False


@dataclass
class ChatUi:
    """One page. `last_sequence` is what its browser has kept from an earlier one."""

    socket: ClientConnection
    chat_id: str
    last_sequence: int = 0
    resuming: bool = False
    meta: dict[str, Any] = field(default_factory=dict)
    bubbles: list[Bubble] = field(default_factory=list)
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifact: str | None = None
    question: str | None = None
    thinking: str | None = None
    completed: str | None = None
    mode: str = "workflow"
    dividers: int = 0
    dropped: int = 0

    async def resume(self) -> None:
        self.resuming = True
        message = {
            "type": "client.resume",
            "chat_id": self.chat_id,
            "lastClientIndex": self.last_sequence,
        }
        await self.socket.send(json.dumps(message))

    async def submit(self, text: str, **context: Any) -> None:
        said = {"chat_id": self.chat_id, "text": text, "context": context}
        await self.socket.send(json.dumps({"type": "user.input.submit", **said}))

    async def next(self) -> None:
        frame: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), 10))
        seq = frame.get("seq")
        if isinstance(seq, int):
            if seq < self.last_sequence - 1 and not self.resuming:
                self.dropped += 1
                await self.resume()
                return
            self.last_sequence = max(self.last_sequence, seq)
        if frame["type"] == "chat.resume_boundary":
            self.resuming = False
        self.show(frame)

    def show(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "chat_meta":
            self.meta = {name: frame[name] for name in META}
            self.artifact = (self.meta["last_artifact"] or {}).get("event_id")
            return
        if not frame["type"].startswith("chat."):
            return
        case, data = frame["type"].removeprefix("chat."), frame["data"]
        if case in IGNORED:
            return
        missing = [name for name in REQUIRED[case] if {**frame, **data}.get(name) is None]
        missing += [name for name in TOP_ONLY.get(case, ()) if frame.get(name) is None]
        assert not missing, f"{case} would show undefined: {missing}"
        assert "sequence" not in data, "ChatUI swallows a first sequence of 1"
        self._handle(case, data)

    def _handle(self, case: str, data: dict[str, Any]) -> None:
        match case:
            case "print":
                self._streamed(data["agent"], data["content"])
            case "text":
                self._said(data["agent"], data["content"], data.get("metadata") or {})
            case "input_request":
                self.question = data["request_id"]
            case "tool_call":
                shown = data["tool_call_id"]
                self.components[shown] = data
                self.artifact = shown if data["display"] == "artifact" else self.artifact
            case "ui_tool_complete":
                self.components.pop(data["eventId"])
            case "ui_tool_dismiss":
                self.components.pop(data["event_id"])
                self.artifact = None
            case "select_speaker":
                self.thinking, self.artifact = data["agent"], None
            case "run_complete":
                self.completed = data["reason"]
            case "resume_boundary":
                self.dividers += 1
            case "mode_changed":
                self.mode = data["mode"]
            case "general_session_created":
                self.mode = "general"
            case _:
                pass

    def _streamed(self, agent: str, chunk: str) -> None:
        if self.bubbles and self.bubbles[-1].streaming and self.bubbles[-1].agent == agent:
            self.bubbles[-1].content += chunk
        else:
            self.bubbles.append(Bubble(agent, chunk, streaming=True))

    def _said(self, agent: str, text: str, metadata: dict[str, Any]) -> None:
        speaker = "You" if agent == "user" or metadata.get("input_request_id") else agent
        last = self.bubbles[-1] if self.bubbles else None
        if last is not None and last.streaming and last.agent == agent:
            last.content += "" if last.content.endswith(text) else text
            last.streaming = False
        else:
            self.bubbles.append(Bubble(speaker, text))

    @property
    def lines(self) -> list[tuple[str, str]]:
        return [(bubble.agent, bubble.content) for bubble in self.bubbles]


async def open_page(address: str, chat_id: str, path: str, last_sequence: int = 0) -> ChatUi:
    """Load a page and read its history to the end."""
    page = ChatUi(await connect(f"ws://{address}{path}"), chat_id, last_sequence)
    if last_sequence > 0:
        await page.resume()
    while page.dividers == 0:
        await page.next()
    return page
