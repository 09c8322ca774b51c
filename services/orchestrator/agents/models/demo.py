"""The demo model: scripted replies that stream and call tools, so that the product runs without a key.

Its reply depends on the request alone (the number of earlier replies, the last user message), so a
resumed turn continues as the uninterrupted one would have.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
    ModelMessage,
    ModelMessageChunk,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResultsEvent,
)
from ag2.events.types import Usage

from contracts.events.parts import text_of
from services.orchestrator.agents.ag2.codec import part_of
from services.orchestrator.agents.models.model_spans import CalledModel, TracingClient
from services.orchestrator.agents.models.offline import OfflineConfig
from services.orchestrator.workflows.demo import DemoReply, DemoScript

MODEL = "demo-model"
NO_MORE_REPLIES = "That is all this demo model has to say."


class DemoConfig(OfflineConfig):
    """Replies by one agent's script; `pause` is the time between two words, in seconds."""

    def __init__(self, script: DemoScript, pause: float) -> None:
        super().__init__(MODEL)
        self._script = script
        self._pause = pause

    def create(self) -> LLMClient:
        return TracingClient(_DemoClient(self._script, self._pause), CalledModel(MODEL, "demo"))


class _DemoClient(LLMClient):
    def __init__(self, script: DemoScript, pause: float) -> None:
        self._script = script
        self._pause = pause

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **_: Any
    ) -> ModelResponse:
        earlier_replies = sum(isinstance(message, ModelResponse) for message in messages)
        reply = self._script.reply(earlier_replies)
        text = _fill_placeholders(reply.say if reply else NO_MORE_REPLIES, messages)
        for word in _words(text):
            await asyncio.sleep(self._pause)
            await context.send(ModelMessageChunk(word))
        return ModelResponse(
            ModelMessage(text) if text else None,
            tool_calls=ToolCallsEvent(_calls(reply, earlier_replies, messages)),
            usage=_usage(context.prompt, messages, text),
            model=MODEL,
            provider="demo",
            finish_reason="tool_calls" if reply and reply.calls else "stop",
        )


def _calls(
    reply: DemoReply | None, earlier_replies: int, messages: Sequence[BaseEvent]
) -> list[ToolCallEvent]:
    if reply is None:
        return []
    return [
        ToolCallEvent(
            call.tool,
            id=f"demo_{earlier_replies}_{index}",
            arguments=json.dumps(_fill_nested(call.arguments, messages)),
        )
        for index, call in enumerate(reply.calls)
    ]


def _fill_placeholders(text: str, messages: Sequence[BaseEvent]) -> str:
    """`{user}` is the last user message, `{result}` what the last tools returned."""
    return text.replace("{user}", _last_user_message(messages)).replace(
        "{result}", _last_tool_result(messages)
    )


def _fill_nested(value: Any, messages: Sequence[BaseEvent]) -> Any:
    match value:
        case str():
            return _fill_placeholders(value, messages)
        case dict():
            return {key: _fill_nested(inner, messages) for key, inner in value.items()}
        case list():
            return [_fill_nested(inner, messages) for inner in value]
        case _:
            return value


def _last_user_message(messages: Sequence[BaseEvent]) -> str:
    requests = [m for m in messages if isinstance(m, ModelRequest)]
    parts = requests[-1].parts if requests else []
    return "".join(part.content for part in parts if isinstance(part, TextInput))


def _last_tool_result(messages: Sequence[BaseEvent]) -> str:
    results = [m for m in messages if isinstance(m, ToolResultsEvent)]
    last = results[-1].results if results else []
    return " ".join(text_of(part_of(part) for part in result.result.parts) for result in last)


def _words(text: str) -> Iterable[str]:
    return re.findall(r"\S+\s*", text)


def _usage(prompt: Iterable[str], messages: Sequence[BaseEvent], text: str) -> Usage:
    """One token per word: enough to see usage in the metrics."""
    prompt_tokens = sum(len(_last_user_message([m]).split()) for m in messages) + sum(
        len(p.split()) for p in prompt
    )
    completion_tokens = len(text.split())
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )
