"""A provider's model as agents ask it: with patience, from the record, at a price, or the next one."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from ag2.config import LLMClient, ModelConfig, OpenAIConfig
from ag2.config.config import ModelProvider
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelResponse
from ag2.tools.schemas import ToolSchema
from openai import Omit

from contracts.prices import PRICES, Prices, cost_of, known_of
from services.orchestrator.agents.account import account_of
from services.orchestrator.agents.answers import Answers, RememberingClient
from services.orchestrator.agents.codec import tokens_of
from services.orchestrator.agents.faults import DENIED, UNKNOWN_MODEL, ModelFaultError
from services.orchestrator.agents.patience import Clock, Lot, Patience, PatientClient
from services.orchestrator.agents.windows import WINDOWS, Windows


@dataclass(frozen=True, slots=True)
class Manner:
    """How this process asks its models: with which patience, at which prices, within which windows."""

    clock: Clock
    lot: Lot
    patience: Patience = field(default_factory=Patience)
    prices: Prices = field(default_factory=lambda: PRICES)
    windows: Windows = field(default_factory=lambda: WINDOWS)
    answers: Answers | None = None
    """Where answers are recorded and found again; none where each request is to be made."""


class AskedConfig(ModelConfig):
    """One model, or the next where the provider has not got it; asked with patience, and charged."""

    def __init__(
        self, wires: Sequence[ModelConfig], manner: Manner, name: str | None = None
    ) -> None:
        """`name` is the provider's, where the wire is not all there is to know."""
        self.wires = tuple(wires)
        self.manner = manner
        self._name = name

    @property
    def provider(self) -> ModelProvider:
        return self.wires[0].provider

    @property
    def model(self) -> str:
        return self.wires[0].model

    @property
    def window(self) -> int | None:
        """How many tokens the model can take; none where nobody knows."""
        return known_of(self.model, self.manner.windows)

    def copy(self) -> Self:
        return self  # nothing in it changes

    def create(self) -> LLMClient:
        return _Falling([self._client_of(wire) for wire in self.wires])

    def _client_of(self, wire: ModelConfig) -> LLMClient:
        manner = self.manner
        patient = PatientClient(
            wire.create(), wire.model, manner.patience, manner.clock, manner.lot
        )
        charged = _Charged(patient, wire.model, manner.prices, self._name)
        if manner.answers is None:
            return charged
        return RememberingClient(charged, manner.answers, _identity(wire))

    def create_files_client(self) -> Any:
        return self.wires[0].create_files_client()


def _identity(wire: ModelConfig) -> list[Any]:
    """What tells a provider's model from every other that may be asked the same."""
    if not isinstance(wire, OpenAIConfig):
        return [wire.model]
    warmth = None if isinstance(wire.temperature, Omit) else wire.temperature
    return [wire.base_url, wire.model, warmth]


class _Falling(LLMClient):
    """Asks the next model where one is not to be had; what is told then is why the first was not."""

    def __init__(self, clients: Sequence[LLMClient]) -> None:
        self._clients = clients

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[ToolSchema],
        **more: Any,
    ) -> ModelResponse:
        more["tools"] = list(tools)  # which may be read once only, and are needed for every try
        first, *others = self._clients
        try:
            return await first(messages, context, **more)
        except ModelFaultError as told:
            if told.fault.code not in (UNKNOWN_MODEL, DENIED.code):
                raise
            for other in others:
                with suppress(ModelFaultError):
                    return await other(messages, context, **more)
            raise


class _Charged(LLMClient):
    """Says whose the answer is, and tells whoever asked what it cost."""

    def __init__(self, inner: LLMClient, model: str, prices: Prices, name: str | None) -> None:
        self._inner = inner
        self._model = model
        self._prices = prices
        self._name = name

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **more: Any
    ) -> ModelResponse:
        response = await self._inner(messages, context, **more)
        response.provider = self._name or response.provider
        tokens = tokens_of(response.usage)
        cost = cost_of(response.model or self._model, tokens, self._prices)
        account_of(context).charge(cost, cached=False)
        return response
