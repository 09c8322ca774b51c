"""Cache of model responses: an equal request under the same seed gets the recorded answer."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

from ag2.config import LLMClient
from ag2.context import ConversationContext
from ag2.events import BaseEvent, ModelMessageChunk, ModelResponse
from ag2.response import ResponseProto
from ag2.tools.schemas import ToolSchema
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic_core import to_jsonable_python

from contracts import encryption, subjects
from contracts.cache_seed import cache_seed
from contracts.encryption import app_scope
from contracts.events.parts import Tokens
from contracts.events.turn import RUNTIME, ModelResponded
from contracts.ids import AppId, ChatKey
from contracts.subjects import untoken
from services.chassis.nats.unavailable import ServerUnavailableError
from services.orchestrator.agents.ag2 import codec
from services.orchestrator.agents.session.call_meter import call_meter_of

log = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_SECONDS = 2.0
"""How long a call waits for the cache before it goes on without."""
NO_TOKENS = Tokens(prompt=0, completion=0, total=0)
_CACHE_ERRORS = (NatsError, OSError, TimeoutError, ValueError, ServerUnavailableError)
_COMPLETE = ("stop", "tool_calls")
"""The finish reasons of answers that are complete."""


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Responses are cached: under one `seed` for all chats or, without one, each chat's own."""

    seed: int | None


def cache_policy(
    *, enabled: bool | None, seed: int | None, random_seed: int | None
) -> CachePolicy | None:
    """Whether to cache: as `enabled` says, by default only with a configured or random seed."""
    shared = random_seed if seed is None else seed
    is_enabled = shared is not None if enabled is None else enabled
    return CachePolicy(shared) if is_enabled else None


class ResponseCache:
    """The cache of one process, in a key-value bucket; keys contain the app, so none is shared."""

    def __init__(self, bucket: KeyValue, policy: CachePolicy, max_bytes: int) -> None:
        self._bucket = bucket
        self._shared_seed = policy.seed
        self._max_bytes = max_bytes

    def seed_of(self, key: ChatKey) -> int:
        return cache_seed(key.app, key.chat) if self._shared_seed is None else self._shared_seed

    async def get(self, cache_key: str) -> ModelResponded | None:
        """The cached response; none also when the cache does not answer or the entry is invalid."""
        return await _within_timeout("get", self._read(cache_key))

    async def put(self, cache_key: str, response: ModelResponse) -> None:
        """Store a response if it is complete and not too large."""
        if response.finish_reason not in _COMPLETE:
            return
        responded = codec.responded_of(response, turn=0, call=0, agent=RUNTIME)
        value = responded.model_dump_json().encode()
        if len(value) <= self._max_bytes:
            await _within_timeout("put", self._write(cache_key, value))

    async def _write(self, cache_key: str, value: bytes) -> None:
        scope = scope_of_answer(cache_key)
        await encryption.ensure(scope)
        await self._bucket.put(cache_key, encryption.seal_json(scope, cache_key, value))

    async def _read(self, cache_key: str) -> ModelResponded | None:
        try:
            entry = await self._bucket.get(cache_key)
        except KeyNotFoundError:
            return None
        scope = scope_of_answer(cache_key)
        await encryption.load(scope)
        opened = encryption.open_json(scope, cache_key, entry.value or b"")
        return None if opened is None else ModelResponded.model_validate_json(opened)


def scope_of_answer(cache_key: str) -> ChatKey:
    """Recorded answers are those of an app: other chats of it get them, too."""
    return app_scope(AppId(untoken(cache_key.partition(".")[0])))


async def _within_timeout(operation: str, work: Awaitable[T]) -> T | None:
    """The result; none when the cache fails: it must never fail a model call."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await work
    except _CACHE_ERRORS as error:
        extra = {"operation": operation, "error": type(error).__name__}
        log.warning("response cache failed", extra=extra)
        return None


class CachingClient(LLMClient):
    """Answers from the cache if it can; otherwise calls the model and caches its response."""

    def __init__(self, inner: LLMClient, cache: ResponseCache, identity: Sequence[Any]) -> None:
        """`identity` distinguishes the model behind `inner` from all others."""
        self._inner = inner
        self._cache = cache
        self._identity = identity

    async def __call__(
        self,
        messages: Sequence[BaseEvent],
        context: ConversationContext,
        *,
        tools: Iterable[ToolSchema],
        response_schema: ResponseProto[Any] | None,
        **options: Any,
    ) -> ModelResponse:
        schemas = list(tools)
        options = {"tools": schemas, "response_schema": response_schema, **options}
        key = call_meter_of(context).key
        if key is None:
            return await self._inner(messages, context, **options)
        identity = [self._cache.seed_of(key), *self._identity]
        digest = request_digest(identity, context.prompt, messages, schemas, response_schema)
        cache_key = subjects.answer_key(key.app, digest)
        cached = await self._cache.get(cache_key)
        if cached is not None:
            return await _replay(cached, context)
        response = await self._inner(messages, context, **options)
        await self._cache.put(cache_key, response)
        return response


async def _replay(cached: ModelResponded, context: ConversationContext) -> ModelResponse:
    """A cached response: streamed in one chunk, without tokens or cost."""
    if cached.text:
        await context.send(ModelMessageChunk(cached.text))
    call_meter_of(context).record_cost(0.0, cached=True)
    return codec.response_of(cached.model_copy(update={"tokens": NO_TOKENS}))


def request_digest(
    identity: Sequence[Any],
    prompt: Sequence[str],
    messages: Sequence[BaseEvent],
    tools: Sequence[ToolSchema],
    schema: ResponseProto[Any] | None,
) -> str:
    """SHA-256, in hex, of all that an answer depends on; without ids that a provider generated."""
    request = [
        identity,
        list(prompt),
        _with_numbered_calls([codec.content_of(message) for message in messages]),
        to_jsonable_python(list(tools)),
        None if schema is None else [schema.name, schema.json_schema],
    ]
    return sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()


def _with_numbered_calls(contents: Sequence[list[Any]]) -> list[list[Any]]:
    """The conversation with numbers in place of the ids of tool calls."""
    numbers: dict[str, int] = {}

    def number(call: str) -> int:
        return numbers.setdefault(call, len(numbers))

    numbered: list[list[Any]] = []
    for content in contents:
        match content:
            case ["said", text, calls, *native]:
                renumbered = [[number(id_), *call] for id_, *call in calls]
                numbered.append(["said", text, renumbered, *native])
            case ["returned", results]:
                numbered.append(["returned", [[number(id_), *rest] for id_, *rest in results]])
            case _:
                numbered.append(content)
    return numbered
