"""A model of ChatUI's client: its cursor, the frames it drops, and what its page shows."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.patience import PATIENCE_SECONDS
from tests.transport.story import open_socket

Json = dict[str, Any]

PROMOTED = (
    *("agent", "agent_name", "content", "is_visual", "is_structured_capable", "is_tool_agent"),
    *("structured_output", "structured_schema", "component_type", "ui_tool_id", "tool_name"),
    *("tool_call_id", "request_id", "progress_percent", "prompt", "success", "interaction_type"),
    *("status", "corr", "call_id", "payload", "message", "error_code"),
)
"""What the page lifts out of `data` before it looks at a frame."""

SHOWN: dict[str, tuple[str, ...]] = {
    "print": ("agent", "content"),
    "text": ("agent", "content", "role"),
    "input_request": ("request_id",),
    "input_ack": (),
    "input_timeout": (),
    "tool_call": ("component_type", "tool_call_id", "payload", "tool_name"),
    "tool_response": ("success", "content", "tool_name"),
    "tool_progress": ("tool_name", "progress_percent"),
    "ui_tool_complete": ("both:eventId",),
    "ui_tool_dismiss": ("data:event_id",),
    "select_speaker": ("agent", "selected_speaker"),
    "run_complete": ("both:reason", "status", "both:duration_sec", "both:total_tokens"),
    "error": ("message", "error_code"),
    "mode_changed": ("data:mode",),
    "general_session_created": ("data:general_chat_id",),
    "context_switched": ("data:to_chat_id", "data:workflow_name"),
    "resume_boundary": (),
}
"""What each case of the page reads, beside `type` unless it says where; a hole shows `undefined`."""

IGNORED = {
    *("workflow_started", "workflow_batch_started", "navigate", "prereq_blocked", "run_start"),
    *("attachment_uploaded", "usage_delta", "structured_output_ready"),
    # ours: for clients that came after ChatUI
    *("tool_activity", "event", "turn_limit", "budget", "question_escalated"),
    *("answer_stopped", "messages_consumed", "message_refused", "waiting"),
    *("rewound", "rewind_refused", "rewind_unconfirmed"),
    *("forked", "fork_started"),
    *("renamed", "archived", "deleted", "undeleted"),
}
META = ("cache_seed", "chat_exists", "last_artifact")


def promoted(frame: Json) -> Json:
    """The frame as the cases see it."""
    data = frame["data"]
    lifted = {name: data[name] for name in PROMOTED if name in data and name not in frame}
    return {**frame, **lifted}


def holes(frame: Json) -> list[str]:
    """What the page would read and not find. Raises KeyError for a case it does not know."""
    case = frame["type"].removeprefix("chat.")
    if not frame["type"].startswith("chat.") or case in IGNORED:
        return []
    lifted, data = promoted(frame), frame["data"]
    missing = []
    for wanted in SHOWN[case]:
        where, _, name = wanted.rpartition(":")
        found = {"": lifted, "data": data, "both": {**data, **lifted}}[where]
        if found.get(name) is None:
            missing.append(wanted)
    return missing


@dataclass
class Bubble:
    agent: str
    content: str
    streaming: bool = False


@dataclass
class Page:
    """What a user sees on the page after some frames."""

    meta: Json = field(default_factory=dict)
    bubbles: list[Bubble] = field(default_factory=list)
    components: dict[str, Json] = field(default_factory=dict)
    artifact: str | None = None
    question: str | None = None
    thinking: str | None = None
    completed: str | None = None
    system: list[str] = field(default_factory=list)
    mode: str = "workflow"
    dividers: int = 0
    ignored: Counter[str] = field(default_factory=Counter)

    def show(self, frame: Json) -> None:
        if frame["type"] == "chat_meta":
            self.meta = {name: frame[name] for name in META}
            self.artifact = (self.meta["last_artifact"] or {}).get("event_id")
            return
        missing = holes(frame)
        assert not missing, f"{frame['type']} would show undefined: {missing}"
        assert "sequence" not in frame["data"], "ChatUI swallows a first sequence of 1"
        if frame["type"].startswith("chat."):
            self._handle(frame["type"].removeprefix("chat."), promoted(frame), frame["data"])
        assert "undefined" not in str(self.system)

    def _handle(self, case: str, frame: Json, data: Json) -> None:
        match case:
            case "print":
                self._streamed(frame["agent"], frame["content"])
            case "text":
                self._said(frame["agent"], frame["content"], data.get("metadata") or {})
            case "input_request":
                self.question = frame["request_id"]
            case "tool_call":
                self._called(frame, data)
            case "ui_tool_complete":
                self.components.pop(data["eventId"], None)
            case "ui_tool_dismiss":
                self.components.pop(data["event_id"], None)
                self.artifact = None
            case "tool_response":
                self._returned(frame)
            case "tool_progress":
                self.system.append(f"{frame['tool_name']}: {frame['progress_percent']}%")
            case "error":
                self.system.append(f"{frame['error_code']}: {frame['message']}")
            case "select_speaker":
                self.thinking, self.artifact = frame["agent"], None
            case "run_complete":
                self.completed = data["reason"]
            case "resume_boundary":
                self.dividers += 1
            case "mode_changed":
                self.mode = data["mode"]
            case "general_session_created":
                self.mode = "general"
            case _:
                self.ignored[case] += 1

    def _called(self, frame: Json, data: Json) -> None:
        payload = frame["payload"]
        display = data.get("display") or data.get("display_type") or data.get("mode")
        if display is None and payload.get("interaction_type") == "auto_tool":
            return
        self.components[frame["tool_call_id"]] = data
        if display == "artifact":
            self.artifact = frame["tool_call_id"]

    def _returned(self, frame: Json) -> None:
        if not (frame["success"] and frame.get("interaction_type") == "auto_tool"):
            self.system.append(f"{frame['tool_name']}: {frame['content']}")

    def _streamed(self, agent: str, chunk: str) -> None:
        self.thinking = None
        if self.bubbles and self.bubbles[-1].streaming and self.bubbles[-1].agent == agent:
            self.bubbles[-1].content += chunk
        else:
            self.bubbles.append(Bubble(agent, chunk, streaming=True))

    def _said(self, agent: str, text: str, metadata: Json) -> None:
        self.thinking = None
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


class ChatUi(Page):
    """A page on its socket; `last_sequence` is what its browser has kept from an earlier one."""

    def __init__(self, socket: ClientConnection, chat_id: str, last_sequence: int = 0) -> None:
        super().__init__()
        self.socket = socket
        self.chat_id = chat_id
        self.last_sequence = last_sequence
        self.resuming = False
        self.dropped = 0

    async def resume(self) -> None:
        self.resuming = True
        message = {
            "type": "client.resume",
            "chat_id": self.chat_id,
            "lastClientIndex": self.last_sequence,
        }
        await self.socket.send(json.dumps(message))

    async def submit(self, text: str, **context: Any) -> None:
        message = {"chat_id": self.chat_id, "text": text, "context": context}
        await self.socket.send(json.dumps({"type": "user.input.submit", **message}))

    async def next(self) -> None:
        frame: Json = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_SECONDS))
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


async def open_page(address: str, chat_id: str, path: str, last_sequence: int = 0) -> ChatUi:
    """Load a page and read its history to the end."""
    page = ChatUi(await open_socket(f"{address}{path}"), chat_id, last_sequence)
    if last_sequence > 0:
        await page.resume()
    while page.dividers == 0:
        await page.next()
    return page
