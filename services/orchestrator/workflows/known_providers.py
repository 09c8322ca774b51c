"""Model providers: API, base URL, and environment variables of the key and of another base URL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

ProviderName = Literal[
    "openai",
    "anthropic",
    "anthropic-openai",
    "deepseek",
    "gemini",
    "gemini-openai",
    "groq",
    "mistral",
    "ollama",
    "openrouter",
    "xai",
]
Wire = Literal["openai", "anthropic", "gemini"]
"""The API of a provider: OpenAI's chat completions, Anthropic's Messages, Gemini's."""
Thinking = Annotated[int, Field(ge=1)] | Literal["off", "low", "medium", "high"]
"""How much a model thinks before it answers: a number of tokens, or how much effort it makes."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`key_env` is None if no key is needed; `other_key_env` is read where it is not set."""

    base_url: str
    key_env: str | None
    wire: Wire = "openai"
    other_key_env: str | None = None
    base_url_env: str | None = None

    def key(self, environment: Mapping[str, str]) -> str | None:
        """The API key; None where there is none."""
        names = [name for name in (self.key_env, self.other_key_env) if name]
        return next((environment[name] for name in names if environment.get(name)), None)

    def url(self, environment: Mapping[str, str]) -> str:
        """The base URL: that of the environment if it has one."""
        return (self.base_url_env and environment.get(self.base_url_env)) or self.base_url


_ANTHROPIC = "https://api.anthropic.com"
_GOOGLE = "https://generativelanguage.googleapis.com"

ENDPOINTS: Mapping[ProviderName, Endpoint] = {
    "openai": Endpoint("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": Endpoint(
        _ANTHROPIC, "ANTHROPIC_API_KEY", "anthropic", base_url_env="ANTHROPIC_BASE_URL"
    ),
    "anthropic-openai": Endpoint(f"{_ANTHROPIC}/v1", "ANTHROPIC_API_KEY"),
    "deepseek": Endpoint("https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    "gemini": Endpoint(
        _GOOGLE, "GEMINI_API_KEY", "gemini", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"
    ),
    "gemini-openai": Endpoint(
        f"{_GOOGLE}/v1beta/openai", "GEMINI_API_KEY", other_key_env="GOOGLE_API_KEY"
    ),
    "groq": Endpoint("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Endpoint("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "ollama": Endpoint("http://127.0.0.1:11434/v1", None),
    "openrouter": Endpoint("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "xai": Endpoint("https://api.x.ai/v1", "XAI_API_KEY"),
}


def wire_of(provider: ProviderName, base_url: str) -> Wire:
    """The API that is spoken with a provider at an address.

    A base URL that ends in `/openai` is that of a provider's OpenAI-compatible API: with it,
    manifests that name `gemini` mean that one.
    """
    return "openai" if base_url.rstrip("/").endswith("/openai") else ENDPOINTS[provider].wire
