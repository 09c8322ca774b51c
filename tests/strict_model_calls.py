"""Every model call of a test in this process is checked as a strict provider would check it.

Models that answer in process (AG2's scripted ones, the demo model, recorded ones) send nothing: what
would be sent for their calls is built by the product's own code and given to the strict checks.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from ag2 import Agent
from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelResponse

from services.orchestrator.agents.models.openai_wire.message_bytes import MessageBytes
from services.orchestrator.agents.models.openai_wire.request import request_body
from tests.strict_provider import refusals


class CheckedClient(LLMClient):
    """Adds to `refused` what a strict provider would refuse of a call, and lets the model answer it."""

    def __init__(self, inner: LLMClient, refused: list[str]) -> None:
        self._inner = inner
        self._refused = refused

    async def __call__(
        self, messages: Sequence[BaseEvent], context: ConversationContext, **options: Any
    ) -> ModelResponse:
        body = request_body(
            {"model": "m", "stream": True},
            context.prompt,
            messages,
            list(options["tools"]),
            options["response_schema"],
            encode_data=options["serializer"].encode,
            cache=MessageBytes(),
        )
        self._refused += refusals(json.loads(body))
        return await self._inner(messages, context, **options)


@pytest.fixture(autouse=True)
def strict_model_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What strict providers would refuse of the test's model calls; the test fails where there is any.

    AG2 has one place through which every model call of an agent goes, whatever its model is.
    """
    refused: list[str] = []
    drive_scope = Agent._drive_scope

    def checked(
        agent: Agent, event: BaseEvent, *, client: LLMClient, **more: Any
    ) -> AbstractAsyncContextManager[Any]:
        return drive_scope(agent, event, client=CheckedClient(client, refused), **more)

    monkeypatch.setattr(Agent, "_drive_scope", checked)
    yield refused
    assert not refused
