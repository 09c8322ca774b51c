"""Spans of model calls, by the GenAI conventions for a client of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from ag2.config import LLMClient, ModelConfig
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelRequest, ModelResponse, ToolResultsEvent
from ag2.events.types import Usage

from contracts.events.parts import text_of
from services.chassis.tracing.content import as_messages, text_part
from services.chassis.tracing.spans import Span, captures_content, is_on, span
from services.orchestrator.agents.ag2.codec import part_of, tokens_of
from services.orchestrator.agents.models.errors import ModelError
from services.orchestrator.agents.session.call_meter import CallMeter, call_meter_of

_WELL_KNOWN = {
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
}
"""Names of providers by the conventions, where they are not those of the manifests."""
_SUFFIX = "-openai"


@dataclass(frozen=True, slots=True)
class CalledModel:
    """A model and where it is called."""

    name: str
    provider: str
    address: str | None = None
    port: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None

    @classmethod
    def of(cls, config: ModelConfig, provider: str | None) -> Self:
        """`provider` is its name where it is not the one whose API it implements."""
        url = urlsplit(getattr(config, "base_url", None) or "")
        name = (provider or str(config.provider)).removesuffix(_SUFFIX)
        return cls(
            config.model,
            _WELL_KNOWN.get(name, name),
            url.hostname,
            url.port or ({"https": 443, "http": 80}.get(url.scheme)),
            getattr(config, "temperature", None),
            getattr(config, "max_tokens", None),
        )


class TracingClient(LLMClient):
    """A model client each of whose calls, with its retries, is a span."""

    def __init__(self, inner: LLMClient, model: CalledModel) -> None:
        self._inner = inner
        self._model = model

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **options: Any
    ) -> ModelResponse:
        if not is_on():
            return await self._inner(messages, context, **options)
        meter = call_meter_of(context)
        with span(f"chat {self._model.name}", "client", attributes=self._attributes(meter)) as now:
            try:
                response = await self._inner(messages, context, **options)
            except ModelError as error:
                now.fail(error.failure.code)
                raise
            finally:
                now.set(
                    {
                        "gen_ai.response.time_to_first_chunk": meter.first_chunk,
                        "mozaiks.retries": max(0, meter.attempts - 1) or None,
                    }
                )
            _note_response(now, response, meter)
            if captures_content():
                _note_content(now, messages, context, response)
            return response

    def _attributes(self, meter: CallMeter) -> dict[str, Any]:
        model = self._model
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider,
            "gen_ai.request.model": model.name,
            "gen_ai.request.temperature": model.temperature,
            "gen_ai.request.max_tokens": model.max_tokens,
            "gen_ai.request.stream": True,
            "gen_ai.conversation.id": None if meter.key is None else meter.key.chat,
            "server.address": model.address,
            "server.port": model.port if model.address else None,
        }


def _note_response(now: Span, response: ModelResponse, meter: CallMeter) -> None:
    tokens = tokens_of(response.usage or Usage())
    now.set(
        {
            "gen_ai.response.model": response.model,
            "gen_ai.response.finish_reasons": [str(response.finish_reason)]
            if response.finish_reason
            else None,
            "gen_ai.usage.input_tokens": _count(tokens.prompt),
            "gen_ai.usage.output_tokens": _count(tokens.completion),
            "gen_ai.usage.cache_read.input_tokens": _count(tokens.cache_read),
            "gen_ai.usage.cache_creation.input_tokens": _count(tokens.cache_creation),
            "gen_ai.usage.reasoning.output_tokens": _count(tokens.thinking),
            "mozaiks.cost_usd": meter.cost,
            "mozaiks.cached": meter.cached or None,
        }
    )


def _count(tokens: float | None) -> int | None:
    return None if tokens is None else int(tokens)


def _note_content(
    now: Span,
    messages: Sequence[BaseEvent],
    context: ConversationContext,
    response: ModelResponse,
) -> None:
    sent = [message for event in messages for message in _messages(event)]
    instructions = [text_part(prompt) for prompt in context.prompt]
    now.set(
        {
            "gen_ai.system_instructions": as_messages(instructions),
            "gen_ai.input.messages": as_messages(sent),
            "gen_ai.output.messages": as_messages(_messages(response)),
        }
    )


def _messages(event: BaseEvent) -> list[dict[str, Any]]:
    """An event of the conversation in the form of the conventions; none for other events."""
    match event:
        case ModelRequest(parts=parts):
            return [{"role": "user", "parts": [text_part(text_of([part_of(p)])) for p in parts]}]
        case ToolResultsEvent(results=results):
            answers = [
                {
                    "type": "tool_call_response",
                    "id": one.parent_id,
                    "response": text_part(text_of([part_of(p) for p in one.result.parts]))[
                        "content"
                    ],
                }
                for one in results
            ]
            return [{"role": "tool", "parts": answers}]
        case ModelResponse():
            calls = [
                {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
                for call in (event.tool_calls.calls if event.tool_calls else ())
            ]
            texts = [text_part(event.content)] if event.content else []
            return [{"role": "assistant", "parts": [*texts, *calls]}]
        case _:
            return []
