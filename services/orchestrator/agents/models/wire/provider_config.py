"""What the configuration of a model has on every provider's wire."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

import httpx2
from ag2.config import ModelConfig
from pydantic import SecretStr


@dataclass(frozen=True)
class ProviderConfig(ModelConfig):
    """A model of a provider. `http` is closed by the one who opened it."""

    model_name: str
    api_key: SecretStr
    base_url: str
    http: httpx2.AsyncClient = field(repr=False)
    temperature: float | None = None
    max_tokens: int | None = None

    @property
    def model(self) -> str:
        return self.model_name

    def copy(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def create_files_client(self) -> Any:
        raise NotImplementedError("this product stores its files itself")
