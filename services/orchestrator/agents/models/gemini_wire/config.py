"""AG2's configuration of a model behind Gemini's API.

AG2's own (`ag2.config.gemini`) has no setting for the address, and keeps thought signatures of calls
in a class of its own only, those of texts not at all.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2
from ag2.config import LLMClient
from ag2.config.config import ModelProvider

from services.orchestrator.agents.models.gemini_wire.client import GeminiWireClient
from services.orchestrator.agents.models.wire.exchange import Endpoint
from services.orchestrator.agents.models.wire.provider_config import ProviderConfig
from services.orchestrator.workflows.known_providers import Thinking


@dataclass(frozen=True)
class GeminiWireConfig(ProviderConfig):
    """A model of Google."""

    thinking: Thinking | None = None

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.GEMINI

    @property
    def identity(self) -> list[Any]:
        """What distinguishes this model from all others that may get the same request."""
        return [
            *(self.base_url, self.model_name, self.temperature),
            *("gemini", self.max_tokens, self.thinking),
        ]

    def create(self) -> LLMClient:
        """Raises httpx2.InvalidURL if `base_url` is none."""
        return GeminiWireClient(self._endpoint(), self.generation(), self.model_name)

    def generation(self) -> dict[str, Any]:
        """The configuration of each request that does not depend on the conversation."""
        generation: dict[str, Any] = {}
        if self.temperature is not None:
            generation["temperature"] = self.temperature
        if self.max_tokens is not None:
            generation["maxOutputTokens"] = self.max_tokens
        match self.thinking:
            case None:
                pass
            case int(tokens):
                generation["thinkingConfig"] = {"thinkingBudget": tokens}
                if self.max_tokens is not None:  # the limit is of both together
                    generation["maxOutputTokens"] = self.max_tokens + tokens
            case "off":
                generation["thinkingConfig"] = {"thinkingBudget": 0}
            case level:
                generation["thinkingConfig"] = {"thinkingLevel": level.upper()}
        return generation

    def _endpoint(self) -> Endpoint:
        base = httpx2.URL(self.base_url)
        headers = {
            b"x-goog-api-key": self.api_key.get_secret_value().strip().encode(),
            b"Content-Type": b"application/json",
            b"Accept": b"text/event-stream, application/json",
        }
        path = base.path.rstrip("/")
        if not path.rsplit("/", 1)[-1].startswith("v1"):
            path = f"{path}/v1beta"
        name = self.model_name if "/" in self.model_name else f"models/{self.model_name}"
        url = base.copy_with(path=f"{path}/{quote(name)}:streamGenerateContent", query=b"alt=sse")
        return Endpoint(url, headers, self.http)
