"""Recorded answers: what a model said when it was asked the same under the same seed."""

import asyncio
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessageChunk, ModelResponse
from ag2.response import ResponseProto
from ag2.tools.schemas import ToolSchema
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from contracts import subjects
from contracts.events.parts import Tokens
from contracts.events.turn import RUNTIME, ModelResponded
from contracts.ids import ChatKey
from contracts.seed import cache_seed
from services.orchestrator.agents import codec
from services.orchestrator.agents.account import account_of

log = logging.getLogger(__name__)

AWAY_SECONDS = 2.0
"""How long a call waits for the record before it goes on without."""
NOTHING_SPENT = Tokens(prompt=0, completion=0, total=0)
_OF_NO_USE = (NatsError, OSError, TimeoutError, ValidationError)
_WHOLE = ("stop", "tool_calls")
"""How an answer ends that came to its own end."""


@dataclass(frozen=True, slots=True)
class Recording:
    """That answers are recorded, under one seed for all chats or, with none, each chat's own."""

    seed: int | None


def recording(*, wanted: bool | None, seed: int | None, drawn: int | None) -> Recording | None:
    """Whether answers are recorded: as `wanted`, else where a seed is given or was drawn."""
    shared = drawn if seed is None else seed
    asked_for = shared is not None if wanted is None else wanted
    return Recording(shared) if asked_for else None


class Answers:
    """The record of one process: by app, so that no tenant hears what was said to another."""

    def __init__(self, bucket: KeyValue, how: Recording, most_bytes: int) -> None:
        self._bucket = bucket
        self._shared = how.seed
        self._most = most_bytes

    def seed_of(self, key: ChatKey) -> int:
        return cache_seed(key.app, key.chat) if self._shared is None else self._shared

    async def find(self, place: str) -> ModelResponded | None:
        """What is recorded there; none also where the record is away, or holds something else."""
        try:
            async with asyncio.timeout(AWAY_SECONDS):
                entry = await self._bucket.get(place)
            return ModelResponded.model_validate_json(entry.value or b"")
        except KeyNotFoundError:
            return None
        except _OF_NO_USE as trouble:
            _note("find", trouble)
            return None

    async def keep(self, place: str, response: ModelResponse) -> None:
        """Record an answer that is whole and not too large."""
        if response.finish_reason not in _WHOLE:
            return
        answer = codec.responded_of(response, turn=0, call=0, agent=RUNTIME)
        value = answer.model_dump_json().encode()
        if len(value) > self._most:
            return
        try:
            async with asyncio.timeout(AWAY_SECONDS):
                await self._bucket.put(place, value)
        except _OF_NO_USE as trouble:
            _note("keep", trouble)


def _note(what: str, trouble: Exception) -> None:
    extra = {"what": what, "why": type(trouble).__name__}
    log.warning("the record of answers is of no use", extra=extra)


class RememberingClient(LLMClient):
    """Answers from the record where it can; what is asked afresh is recorded."""

    def __init__(self, inner: LLMClient, answers: Answers, identity: Sequence[Any]) -> None:
        """`identity` tells the model behind `inner` from every other."""
        self._inner = inner
        self._answers = answers
        self._identity = identity

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[ToolSchema],
        response_schema: ResponseProto[Any] | None,
        **more: Any,
    ) -> ModelResponse:
        offered = list(tools)
        asked = {"tools": offered, "response_schema": response_schema, **more}
        key = account_of(context).key
        if key is None:
            return await self._inner(messages, context, **asked)
        whom = [self._answers.seed_of(key), *self._identity]
        digest = request_digest(whom, context.prompt, messages, offered, response_schema)
        place = subjects.answer_key(key.app, digest)
        known = await self._answers.find(place)
        if known is not None:
            return await _said_again(known, context)
        response = await self._inner(messages, context, **asked)
        await self._answers.keep(place, response)
        return response


async def _said_again(known: ModelResponded, context: ConversationContext) -> ModelResponse:
    """A recorded answer, in one piece and free of charge."""
    if known.text:
        await context.send(ModelMessageChunk(known.text))
    account_of(context).charge(0.0, cached=True)
    return codec.response_of(known.model_copy(update={"tokens": NOTHING_SPENT}))


def request_digest(
    whom: Sequence[Any],
    prompt: Sequence[str],
    messages: Sequence[BaseEvent],
    tools: Sequence[ToolSchema],
    schema: ResponseProto[Any] | None,
) -> str:
    """SHA-256, in hex, of all that an answer depends on; ids that a provider made up are not."""
    told = [
        whom,
        list(prompt),
        _anonymous([codec.essence(message) for message in messages]),
        to_jsonable_python(list(tools)),
        None if schema is None else [schema.name, schema.json_schema],
    ]
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _anonymous(essences: Sequence[list[Any]]) -> list[list[Any]]:
    """The conversation with its tool calls numbered, whatever their ids."""
    numbers: dict[str, int] = {}

    def number(call: str) -> int:
        return numbers.setdefault(call, len(numbers))

    plain: list[list[Any]] = []
    for essence in essences:
        match essence:
            case ["said", text, calls]:
                plain.append(["said", text, [[number(id_), *call] for id_, *call in calls]])
            case ["returned", results]:
                plain.append(["returned", [[number(id_), *told] for id_, *told in results]])
            case _:
                plain.append(essence)
    return plain
