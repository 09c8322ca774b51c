"""Calls models by Gemini's API and streams their answers to AG2.

https://ai.google.dev/api/generate-content
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelMessageChunk, ModelReasoning, ModelResponse
from ag2.response import ResponseProto
from ag2.tools.final import FunctionToolSchema
from ag2.tools.schemas import ToolSchema

from services.orchestrator.agents.models.gemini_wire.answer import API, AnswerFold, Shown
from services.orchestrator.agents.models.gemini_wire.request import Request, request_body
from services.orchestrator.agents.models.wire.exchange import Endpoint, Serializer, exchange
from services.orchestrator.agents.models.wire.raised_limit import with_raised_limit
from services.orchestrator.agents.models.wire.sse import SseEvent
from services.orchestrator.agents.session.call_meter import call_meter_of
from services.orchestrator.agents.session.call_settings import call_settings_of


class GeminiWireClient(LLMClient):
    """One model. Raises ProviderError for every failure of the provider."""

    def __init__(self, endpoint: Endpoint, generation: Mapping[str, Any], model: str) -> None:
        """`generation` is the configuration of each request that does not depend on it."""
        self._endpoint = endpoint
        self._model = model
        self._generation = generation

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[ToolSchema],
        response_schema: ResponseProto[Any] | None,
        serializer: Serializer,
    ) -> ModelResponse:
        offered = list(tools)
        settings = call_settings_of(context)
        request = Request(
            self._model,
            with_raised_limit(self._generation, "maxOutputTokens", settings),
            context.prompt,
            messages,
            offered,
            response_schema,
            settings.response_format,
        )
        answer = _Answer(context)
        await exchange(
            self._endpoint, request_body(request, serializer.encode), answer, answer.on_first
        )
        return await answer.finish(
            [tool.function.name for tool in offered if isinstance(tool, FunctionToolSchema)]
        )


class _Answer:
    """One answer: shown while it is read."""

    ended = False
    """The API does not mark the end: it is that of the response."""

    def __init__(self, context: ConversationContext) -> None:
        self._context = context
        self._fold = AnswerFold()
        self.on_first = call_meter_of(context).note_chunk

    async def take(self, event: SseEvent) -> bool:
        shown = self._fold.add(event.data)
        if shown is None:
            return False
        await self._show(shown)
        return True

    async def finish(self, offered_tools: Iterable[str]) -> ModelResponse:
        await self._show(self._fold.finish())
        response = self._fold.response(API, offered_tools)
        if response.message is not None:
            await self._context.send(ModelMessage(response.message.content))
        return response

    async def _show(self, shown: Shown) -> None:
        if shown.reasoning:
            await self._context.send(ModelReasoning(shown.reasoning))
        if shown.text:
            await self._context.send(ModelMessageChunk(shown.text))
