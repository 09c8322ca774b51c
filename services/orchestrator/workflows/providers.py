"""Model providers that speak OpenAI's wire: where each answers, and where its key is found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ProviderName = Literal[
    "openai", "deepseek", "gemini", "groq", "mistral", "ollama", "openrouter", "xai"
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`base_url` is none where the client knows it, `key_env` where no key is wanted."""

    base_url: str | None
    key_env: str | None


ENDPOINTS: Mapping[ProviderName, Endpoint] = {
    "openai": Endpoint(None, "OPENAI_API_KEY"),
    "deepseek": Endpoint("https://api.deepseek.com", "DEEPSEEK_API_KEY"),
    "gemini": Endpoint("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "groq": Endpoint("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": Endpoint("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "ollama": Endpoint("http://127.0.0.1:11434/v1", None),
    "openrouter": Endpoint("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "xai": Endpoint("https://api.x.ai/v1", "XAI_API_KEY"),
}
