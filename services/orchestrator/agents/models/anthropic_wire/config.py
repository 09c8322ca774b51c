"""AG2's configuration of a model behind Anthropic's Messages API.

AG2's own (`ag2.config.anthropic`) shows thinking and forgets it: the API then refuses the results of
the calls that were made after it.
"""

from dataclasses import dataclass
from typing import Any

import httpx2
from ag2.config import LLMClient
from ag2.config.config import ModelProvider

from services.orchestrator.agents.models.anthropic_wire.client import AnthropicWireClient
from services.orchestrator.agents.models.wire.exchange import Endpoint
from services.orchestrator.agents.models.wire.provider_config import ProviderConfig
from services.orchestrator.workflows.known_providers import Thinking

VERSION = b"2023-06-01"
MAX_TOKENS = 16_384
"""What an answer may have, besides its thinking, where nothing is configured; the API needs a limit."""


@dataclass(frozen=True)
class AnthropicWireConfig(ProviderConfig):
    """A model of Anthropic."""

    thinking: Thinking | None = None

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.ANTHROPIC

    @property
    def identity(self) -> list[Any]:
        """What distinguishes this model from all others that may get the same request."""
        return [
            *(self.base_url, self.model_name, self.temperature),
            *("anthropic", self.max_tokens, self.thinking),
        ]

    def create(self) -> LLMClient:
        """Raises httpx2.InvalidURL if `base_url` is none."""
        return AnthropicWireClient(self._endpoint(), self.options())

    def options(self) -> dict[str, Any]:
        """The members of each request that do not depend on the conversation."""
        options: dict[str, Any] = {
            "model": self.model_name,
            "max_tokens": self.max_tokens or MAX_TOKENS,
            "stream": True,
        }
        match self.thinking:
            case None:
                pass
            case int(tokens):
                options["thinking"] = {"type": "enabled", "budget_tokens": tokens}
                options["max_tokens"] += tokens  # the limit is of both together
            case "off":
                options["thinking"] = {"type": "disabled"}
            case effort:
                options["thinking"] = {"type": "adaptive"}
                options["output_config"] = {"effort": effort}
        if self.temperature is not None and self.thinking in (None, "off"):
            options["temperature"] = self.temperature  # with thinking the API refuses it
        return options

    def _endpoint(self) -> Endpoint:
        base = httpx2.URL(self.base_url)
        headers = {
            b"x-api-key": self.api_key.get_secret_value().strip().encode(),
            b"anthropic-version": VERSION,
            b"Content-Type": b"application/json",
            b"Accept": b"text/event-stream, application/json",
        }
        path = base.path.rstrip("/").removesuffix("/v1")
        return Endpoint(base.copy_with(path=f"{path}/v1/messages"), headers, self.http)
