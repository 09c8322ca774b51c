"""The demo model: scripted lines that stream, call tools and ask, so that a product runs with no key.

What it says depends on the request alone (how often this agent has spoken, what it last heard), so
a resumed turn goes on as the uninterrupted one would have.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Self

from ag2.config import LLMClient, ModelConfig
from ag2.config.config import ModelProvider
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
from services.orchestrator.agents.codec import part_of
from services.orchestrator.workflows.demo import DemoLine, Script

MODEL = "demo-model"
NO_MORE_LINES = "That is all this demo model has to say."


class DemoConfig(ModelConfig):
    """Plays one agent's script; `pause` is the time between words, in seconds."""

    def __init__(self, script: Script, pause: float) -> None:
        self._script = script
        self._pause = pause

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.OPENAI  # whose message form it speaks; never asked

    @property
    def model(self) -> str:
        return MODEL

    def copy(self) -> Self:
        return self

    def create(self) -> LLMClient:
        return _Client(self._script, self._pause)

    def create_files_client(self) -> Any:
        raise TypeError("the demo model keeps no files")


class _Client(LLMClient):
    def __init__(self, script: Script, pause: float) -> None:
        self._script = script
        self._pause = pause

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **_: Any
    ) -> ModelResponse:
        spoken = sum(isinstance(message, ModelResponse) for message in messages)
        line = self._script.line(spoken)
        text = _filled(line.say if line else NO_MORE_LINES, messages)
        for word in _words(text):
            await asyncio.sleep(self._pause)
            await context.send(ModelMessageChunk(word))
        return ModelResponse(
            ModelMessage(text) if text else None,
            tool_calls=ToolCallsEvent(_calls(line, spoken, messages)),
            usage=_usage(context.prompt, messages, text),
            model=MODEL,
            provider="demo",
            finish_reason="tool_calls" if line and line.calls else "stop",
        )


def _calls(
    line: DemoLine | None, spoken: int, messages: Sequence[BaseEvent]
) -> list[ToolCallEvent]:
    if line is None:
        return []
    return [
        ToolCallEvent(
            call.tool,
            id=f"demo_{spoken}_{place}",
            arguments=json.dumps(_filled_deep(call.arguments, messages)),
        )
        for place, call in enumerate(line.calls)
    ]


def _filled(text: str, messages: Sequence[BaseEvent]) -> str:
    """`{user}` is what was heard last, `{result}` what the last tool returned."""
    return text.replace("{user}", _heard(messages)).replace("{result}", _result(messages))


def _filled_deep(value: Any, messages: Sequence[BaseEvent]) -> Any:
    match value:
        case str():
            return _filled(value, messages)
        case dict():
            return {key: _filled_deep(inner, messages) for key, inner in value.items()}
        case list():
            return [_filled_deep(inner, messages) for inner in value]
        case _:
            return value


def _heard(messages: Sequence[BaseEvent]) -> str:
    requests = [m for m in messages if isinstance(m, ModelRequest)]
    parts = requests[-1].parts if requests else []
    return "".join(part.content for part in parts if isinstance(part, TextInput))


def _result(messages: Sequence[BaseEvent]) -> str:
    results = [m for m in messages if isinstance(m, ToolResultsEvent)]
    last = results[-1].results if results else []
    return " ".join(text_of(part_of(part) for part in result.result.parts) for result in last)


def _words(text: str) -> Iterable[str]:
    return re.findall(r"\S+\s*", text)


def _usage(prompt: Iterable[str], messages: Sequence[BaseEvent], text: str) -> Usage:
    """One token a word: enough for the meters to move."""
    heard = sum(len(_heard([m]).split()) for m in messages) + sum(len(p.split()) for p in prompt)
    said = len(text.split())
    return Usage(prompt_tokens=heard, completion_tokens=said, total_tokens=heard + said)
