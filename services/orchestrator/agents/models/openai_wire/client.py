"""Calls models by OpenAI's chat completions API and streams their answers to AG2.

https://platform.openai.com/docs/api-reference/chat
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessage, ModelMessageChunk, ModelReasoning, ModelResponse
from ag2.response import ResponseProto
from ag2.tools.final import FunctionToolSchema
from ag2.tools.schemas import ToolSchema

from contracts.events.turn import RequestOptions
from services.orchestrator.agents.models.openai_wire.accumulate import AnswerFold, Shown
from services.orchestrator.agents.models.openai_wire.chunks import END, Chunk, parse_chunk
from services.orchestrator.agents.models.openai_wire.content import REASONING, without_reasoning
from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.refused_members import (
    MAX_TOKENS,
    RefusedMembers,
    accepted_options,
    refused_member,
)
from services.orchestrator.agents.models.openai_wire.request import request_body
from services.orchestrator.agents.models.wire.exchange import Endpoint, Serializer, exchange
from services.orchestrator.agents.models.wire.provider_error import ProviderStatusError
from services.orchestrator.agents.models.wire.sse import SseEvent
from services.orchestrator.agents.session.call_meter import call_meter_of
from services.orchestrator.agents.session.call_settings import call_settings_of

log = logging.getLogger(__name__)


class OpenAIWireClient(LLMClient):
    """One model of one provider. Raises ProviderError for every failure of the provider."""

    def __init__(
        self,
        endpoint: Endpoint,
        options: Mapping[str, Any],
        message_bytes: MessageBytes,
        refused: RefusedMembers,
        limit_name: str = MAX_TOKENS,
    ) -> None:
        """`options` are the members of each request that do not depend on the conversation.

        `limit_name` is the member for the limit of an answer's tokens.
        """
        self._endpoint = endpoint
        self._options = options
        self._message_bytes = message_bytes
        self._refused = refused
        self._limit_name = limit_name

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
        options, schema = self._asked(response_schema, call_settings_of(context))

        def request(refused: frozenset[str]) -> bytes:
            return request_body(
                accepted_options(options, refused),
                context.prompt,
                messages if REASONING not in refused else list(map(without_reasoning, messages)),
                offered,
                schema,
                encode_data=serializer.encode,
                cache=self._message_bytes,
            )

        answer = _Answer(context)
        await self._exchange_accepted(request, answer)
        names = [tool.function.name for tool in offered if isinstance(tool, FunctionToolSchema)]
        return await answer.finish(names)

    def _asked(
        self, schema: ResponseProto[Any] | None, settings: RequestOptions
    ) -> tuple[Mapping[str, Any], ResponseProto[Any] | None]:
        """The members of a request and the schema of its answer, by the settings of the call."""
        asked = dict(self._options)
        if settings.max_tokens is not None:
            asked[self._limit_name] = settings.max_tokens
        match settings.response_format:
            case "json_object":
                return {**asked, "response_format": {"type": "json_object"}}, None
            case "text":
                return asked, None
            case _:
                return asked, schema

    async def _exchange_accepted(
        self, request: Callable[[frozenset[str]], bytes], answer: "_Answer"
    ) -> None:
        """Exchange a request without those members that the provider refuses."""
        url, model = str(self._endpoint.url), self._options["model"]
        while True:
            refused = self._refused.of(url, model)
            body = request(refused)
            try:
                return await exchange(self._endpoint, body, answer, answer.on_first)
            except ProviderStatusError as error:
                member = refused_member(error, body)
                if member is None or member in refused:
                    raise
                log.warning("model provider refuses a member", extra={"member": member})
                self._refused.add(url, model, member)


class _Answer:
    """One answer: shown while it is read."""

    def __init__(self, context: ConversationContext) -> None:
        self._context = context
        self._fold = AnswerFold()
        self.ended = False
        self.on_first = call_meter_of(context).note_chunk

    async def take(self, event: SseEvent) -> bool:
        if event.data.startswith(END):
            self.ended = True
            return False
        chunk = parse_chunk(event.data, event.name)
        if chunk is None:
            return False
        await self._take_chunk(chunk)
        return True

    async def finish(self, offered_tools: Iterable[str]) -> ModelResponse:
        await self._show(self._fold.finish())
        response = self._fold.response(offered_tools, ended=self.ended)
        if response.message is not None:
            await self._context.send(ModelMessage(response.message.content))
        return response

    async def _take_chunk(self, chunk: Chunk) -> None:
        await self._show(self._fold.add(chunk))

    async def _show(self, shown: Shown) -> None:
        if shown.reasoning:
            await self._context.send(ModelReasoning(shown.reasoning))
        if shown.text:
            await self._context.send(ModelMessageChunk(shown.text))
