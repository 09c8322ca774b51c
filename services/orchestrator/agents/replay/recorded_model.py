"""A model that answers as a recorded chat says that it answered."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from ag2.config import LLMClient
from ag2.config.config import ModelProvider
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelResponse

from contracts.events.turn import ModelCallFailed, ModelResponded, ResponseFormat, TurnFailed
from services.orchestrator.agents.ag2.codec import response_of
from services.orchestrator.agents.execution.outcomes import UNEXPECTED
from services.orchestrator.agents.models.client import ModelCallPolicy, ResilientModelConfig
from services.orchestrator.agents.models.errors import ModelError, ModelFailure
from services.orchestrator.agents.models.model_traits import FORMATS, ModelKey, ModelTraits
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.replay.recorded_chat import RecordedChat
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder

MODEL = "recorded"


class UnexpectedRecordedError(Exception):
    """The turn failed for a reason that the log does not name."""


def recorded_model_factory(chat: "ChatSource") -> ModelFactory:
    """The model of every agent."""
    config = RecordedModelConfig(chat)
    return ModelFactory(MODEL, demo=True, config_for=lambda _, __: config)


class ChatSource:
    """The chat that is replayed: it is made after the agents, whose models answer from it."""

    def __init__(self) -> None:
        self.chat: RecordedChat | None = None

    def get(self) -> RecordedChat:
        assert self.chat is not None  # noqa: S101  set before any agent runs
        return self.chat


class _RecordedTraits(ModelTraits):
    """The form of the first answer is what the log has: it depends on what a process knew."""

    def __init__(self, source: ChatSource) -> None:
        super().__init__()
        self._source = source

    def response_format(
        self, model: ModelKey, schema: str, *, beside_tools: bool
    ) -> ResponseFormat:
        del model, schema, beside_tools
        request = self._source.get().next_request()
        options = None if request is None else request.options
        return (None if options is None else options.response_format) or FORMATS[0]


def _no_time() -> datetime:
    """Nothing is retried, so nobody waits."""
    return datetime.min.replace(tzinfo=UTC)


class RecordedModelConfig(ResilientModelConfig):
    """Neither retries nor costs: those are the provider's, and are in the log."""

    def __init__(self, source: ChatSource) -> None:
        super().__init__((), ModelCallPolicy(_no_time, lambda: 0.0, traits=_RecordedTraits(source)))
        self._source = source

    @property
    def provider(self) -> ModelProvider:
        return ModelProvider.OPENAI

    @property
    def model(self) -> str:
        return MODEL

    @property
    def context_window(self) -> int | None:
        """None: summaries are taken from the log."""
        return None

    @property
    def key(self) -> ModelKey:
        return ModelKey(MODEL, MODEL)

    @property
    def max_tokens(self) -> int | None:
        return None

    def copy(self) -> Self:
        return self

    def create(self) -> LLMClient:
        return _RecordedClient(self._source.get())


class _RecordedClient(LLMClient):
    def __init__(self, chat: RecordedChat) -> None:
        self._chat = chat

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[Any] = (),
        **_: Any,
    ) -> ModelResponse:
        del messages, tools
        recorder: TurnRecorder = context.dependencies[RECORDER]
        answer = await self._chat.model_answer(recorder.turn.number, recorder.call)
        match answer.event:
            case ModelResponded() as responded:
                return response_of(responded)
            case TurnFailed(code=code) if code == UNEXPECTED:
                raise UnexpectedRecordedError
            case (
                ModelCallFailed(code=code, message=message) | TurnFailed(code=code, message=message)
            ):
                raise ModelError(ModelFailure(code, message))
