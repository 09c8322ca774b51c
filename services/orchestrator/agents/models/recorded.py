"""A model that gives the replies of a cassette, each to the request that it answered."""

from collections.abc import Iterable, Sequence
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessageChunk, ModelResponse

from contracts.events.turn import ModelResponded
from services.orchestrator.agents.ag2.codec import response_of
from services.orchestrator.agents.models.errors import ModelError, ModelFailure
from services.orchestrator.agents.models.offline import OfflineConfig
from services.orchestrator.agents.models.providers import ModelFactory
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder

MODEL = "recorded"


def recorded_models(replies: Iterable[ModelResponded]) -> ModelFactory:
    """The model of every agent; a request without a recorded reply fails the chat by name."""
    recorded = RecordedConfig({(one.turn, one.call): one for one in replies})
    return ModelFactory(MODEL, demo=True, config_for=lambda _, __: recorded)


class RecordedConfig(OfflineConfig):
    """The replies by turn and model call."""

    def __init__(self, replies: dict[tuple[int, int], ModelResponded]) -> None:
        super().__init__(MODEL)
        self._replies = replies

    def create(self) -> LLMClient:
        return _RecordedClient(self._replies)


class _RecordedClient(LLMClient):
    def __init__(self, replies: dict[tuple[int, int], ModelResponded]) -> None:
        self._replies = replies

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **_: Any
    ) -> ModelResponse:
        del messages
        recorder: TurnRecorder = context.dependencies[RECORDER]
        turn, call = recorder.turn.number, recorder.call
        reply = self._replies.get((turn, call))
        if reply is None:
            why = (
                f"The cassette has no reply to call {call} of turn {turn} ({recorder.turn.agent})."
            )
            raise ModelError(ModelFailure("NOT_RECORDED", why))
        if reply.text:
            await context.send(ModelMessageChunk(reply.text))
        return response_of(reply)
