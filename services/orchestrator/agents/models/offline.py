"""The configuration of models that this process answers for itself: nothing is sent to a provider."""

from typing import Any, Self

from ag2.config import ModelConfig
from ag2.config.config import ModelProvider


class OfflineConfig(ModelConfig):
    """What AG2 asks of a configuration, but for the client that it creates."""

    def __init__(self, model: str) -> None:
        self._model = model

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.OPENAI  # the message format that it uses

    @property
    def model(self) -> str:
        return self._model

    def copy(self) -> Self:
        return self  # immutable

    def create_files_client(self) -> Any:
        raise TypeError(f"{self._model} stores no files")
