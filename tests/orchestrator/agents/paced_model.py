"""A model whose words a test releases one by one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ag2.config import LLMClient, ModelConfig
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelMessageChunk, ModelResponse, Usage

Pace = Callable[[int], Awaitable[None]]
"""Awaited before each word with its number, from 0, and once more before the answer ends."""


async def at_once(_: int) -> None:
    """Lets other tasks run between two words."""
    await asyncio.sleep(0)


class PacedModel(ModelConfig):
    """Answers with `words` whatever it is asked; `requests` are the events that it was given."""

    def __init__(
        self, words: Sequence[str], pace: Pace = at_once, tokens: tuple[int, int] = (1, 1)
    ) -> None:
        """`tokens` are those of prompt and answer, as the provider would count them."""
        self.words = words
        self.tokens = tokens
        self.pace = pace
        self.requests: list[list[BaseEvent]] = []
        self.open = 0
        """Calls that were begun and have neither ended nor been cancelled."""

    @property
    def provider(self) -> Any:
        raise NotImplementedError

    @property
    def model(self) -> str:
        return "paced"

    def copy(self) -> "PacedModel":
        return self

    def create(self) -> LLMClient:
        return _PacedClient(self)

    def create_files_client(self) -> Any:
        raise NotImplementedError


class _PacedClient(LLMClient):
    def __init__(self, model: PacedModel) -> None:
        self._model = model

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **more: Any
    ) -> ModelResponse:
        del more
        model = self._model
        model.requests.append(list(messages))
        model.open += 1
        try:
            for number, word in enumerate(model.words):
                await model.pace(number)
                chunk: BaseEvent = ModelMessageChunk(word)
                await context.send(chunk)
            await model.pace(len(model.words))
        finally:
            model.open -= 1
        prompt, answer = model.tokens
        return ModelResponse(
            ModelMessage("".join(model.words)),
            usage=Usage(prompt_tokens=prompt, completion_tokens=answer),
        )
