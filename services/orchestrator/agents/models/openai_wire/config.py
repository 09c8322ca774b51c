"""AG2's configuration of a model behind OpenAI's chat completions API."""

from dataclasses import dataclass, field
from typing import Any

import httpx2
from ag2.config import LLMClient
from ag2.config.config import ModelProvider

from services.orchestrator.agents.models.openai_wire.client import OpenAIWireClient
from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.refused_members import (
    RefusedMembers,
)
from services.orchestrator.agents.models.wire.exchange import Endpoint
from services.orchestrator.agents.models.wire.provider_config import ProviderConfig


@dataclass(frozen=True)
class OpenAIWireConfig(ProviderConfig):
    """A model of a provider.

    Configurations that share `message_bytes` encode a conversation that they share once, and those
    that share `refused` find out once what a provider refuses.
    """

    message_bytes: MessageBytes = field(default_factory=MessageBytes, repr=False)
    refused: RefusedMembers = field(default_factory=RefusedMembers, repr=False)

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.OPENAI

    @property
    def identity(self) -> list[Any]:
        """What distinguishes this model from all others that may get the same request."""
        limit = [] if self.max_tokens is None else [self.max_tokens]
        return [self.base_url, self.model_name, self.temperature, *limit]

    def create(self) -> LLMClient:
        """Raises httpx2.InvalidURL if `base_url` is none."""
        return OpenAIWireClient(
            self._endpoint(), self.options(), self.message_bytes, self.refused, self._limit_name()
        )

    def options(self) -> dict[str, Any]:
        """The members of each request that do not depend on the conversation."""
        options: dict[str, Any] = {
            "model": self.model_name,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.temperature is not None:
            options["temperature"] = self.temperature
        if self.max_tokens is not None:
            options[self._limit_name()] = self.max_tokens
        return options

    def _limit_name(self) -> str:
        """OpenAI's newer models refuse the name by which other servers know the limit."""
        is_openai = httpx2.URL(self.base_url).host.endswith("openai.com")
        return "max_completion_tokens" if is_openai else "max_tokens"

    def _endpoint(self) -> Endpoint:
        base = httpx2.URL(self.base_url)
        headers = {
            b"Authorization": f"Bearer {self.api_key.get_secret_value().strip()}".encode(),
            b"Content-Type": b"application/json",
            b"Accept": b"text/event-stream, application/json",
        }
        url = base.copy_with(path=f"{base.path.rstrip('/')}/chat/completions")
        return Endpoint(url, headers, self.http)
