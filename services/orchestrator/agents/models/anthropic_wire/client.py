"""Calls models by Anthropic's Messages API and streams their answers to AG2.

https://platform.claude.com/docs/en/api/messages
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelMessageChunk, ModelReasoning, ModelResponse
from ag2.response import ResponseProto
from ag2.tools.final import FunctionToolSchema
from ag2.tools.schemas import ToolSchema

from services.orchestrator.agents.models.anthropic_wire.answer import API, AnswerFold, Shown
from services.orchestrator.agents.models.anthropic_wire.request import (
    Request,
    names_files,
    request_body,
)
from services.orchestrator.agents.models.wire.exchange import Endpoint, Serializer, exchange
from services.orchestrator.agents.models.wire.raised_limit import with_raised_limit
from services.orchestrator.agents.models.wire.sse import SseEvent
from services.orchestrator.agents.session.call_meter import call_meter_of
from services.orchestrator.agents.session.call_settings import call_settings_of

MAX_CONTINUATIONS = 5
"""How often a paused answer is continued; what is paused then counts as broken off."""
_FILES_HEADER = {b"anthropic-beta": b"files-api-2025-04-14"}


class AnthropicWireClient(LLMClient):
    """One model. Raises ProviderError for every failure of the provider."""

    def __init__(self, endpoint: Endpoint, options: Mapping[str, Any]) -> None:
        """`options` are the members of each request that do not depend on the conversation."""
        self._endpoint = endpoint
        self._options = options

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
            with_raised_limit(self._options, "max_tokens", settings),
            context.prompt,
            messages,
            offered,
            response_schema,
            settings.response_format,
        )
        answer = _Answer(context)
        await self._send(request, answer, serializer)
        return await answer.finish(
            [tool.function.name for tool in offered if isinstance(tool, FunctionToolSchema)]
        )

    async def _send(self, request: Request, answer: "_Answer", serializer: Serializer) -> None:
        """Send a request, and go on with its answer while the provider pauses it."""
        endpoint, fold = self._endpoint, answer.fold
        if names_files(request.messages):
            endpoint = replace(endpoint, headers={**endpoint.headers, **_FILES_HEADER})
        await exchange(endpoint, request_body(request, serializer.encode), answer, answer.on_first)
        for _ in range(MAX_CONTINUATIONS):
            if not fold.is_paused:
                return
            body = request_body(replace(request, paused=fold.so_far()), serializer.encode)
            fold.continue_answer()
            await exchange(endpoint, body, answer, answer.on_first)


class _Answer:
    """One answer: shown while it is read."""

    def __init__(self, context: ConversationContext) -> None:
        self._context = context
        self.fold = AnswerFold()
        self.on_first = call_meter_of(context).note_chunk

    @property
    def ended(self) -> bool:
        return self.fold.ended

    async def take(self, event: SseEvent) -> bool:
        shown = self.fold.add(event.data, event.name)
        if shown is None:
            return False
        await self._show(shown)
        return True

    async def finish(self, offered_tools: Iterable[str]) -> ModelResponse:
        response = self.fold.response(API, offered_tools)
        if response.message is not None:
            await self._context.send(ModelMessage(response.message.content))
        return response

    async def _show(self, shown: Shown) -> None:
        if shown.reasoning:
            await self._context.send(ModelReasoning(shown.reasoning))
        if shown.text:
            await self._context.send(ModelMessageChunk(shown.text))
