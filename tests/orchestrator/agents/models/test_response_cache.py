"""The cache of model responses, and which requests count as equal."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from ag2.events import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextInput,
    ToolCallEvent,
    ToolCallsEvent,
    ToolResult,
    ToolResultEvent,
    ToolResultsEvent,
)
from ag2.events.types import Usage
from ag2.response import ResponseSchema
from nats.js.api import KeyValueConfig

from contracts import subjects
from contracts.events.parts import Tokens
from contracts.events.turn import ModelRequested, ModelResponded, UsageRecorded
from contracts.ids import AppId, ChatId, ChatKey, new_chat_id
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.agents.models.response_cache import (
    CachePolicy,
    ResponseCache,
    cache_policy,
    request_digest,
)
from services.orchestrator.agents.models.response_check import CUT_MARK
from services.orchestrator.agents.tools.function_tools import build_handoff
from services.orchestrator.domain.turn_steps import Completed, Outcome
from services.orchestrator.workflows.spec import Handoff
from tests.gateway import connected_gateway
from tests.orchestrator.agents.native_turn import WIRES, Wire, native_turn
from tests.orchestrator.agents.provider_stub import ANSWER, ProviderStub, StreamedReply
from tests.orchestrator.agents.provider_turn import POLICY, PROVIDER, run_turn
from tests.orchestrator.agents.turn_harness import MemoryJournal
from tests.story import EDITOR, KEY

REQUEST = ModelRequest([TextInput("Write about rain.")])
MAX_BYTES = 100_000


@dataclass
class CachedProvider:
    """A cache of one test, and the provider that is called when the cache has no response."""

    cache: ResponseCache
    stub: ProviderStub

    async def run_turn(self, key: ChatKey = KEY, **provider: Any) -> tuple[Outcome, MemoryJournal]:
        policy = replace(POLICY, cache=self.cache)
        return await run_turn(self.stub, policy, replace(PROVIDER, **provider), key=key)


@pytest.fixture
async def gateway(nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    async with connected_gateway(nats.url) as gateway:
        yield gateway


async def cached_provider(
    gateway: JetStreamGateway, stub: ProviderStub, seed: int | None = 7, max_bytes: int = MAX_BYTES
) -> CachedProvider:
    config = KeyValueConfig(bucket=f"answers-{new_chat_id()}")
    bucket = await gateway.js.create_key_value(config)
    return CachedProvider(ResponseCache(bucket, CachePolicy(seed), max_bytes), stub)


@pytest.mark.broker
async def test_an_equal_request_is_answered_from_the_cache_without_cost(
    gateway: JetStreamGateway,
) -> None:
    with ProviderStub(ANSWER, StreamedReply(words=("Never.",))).running() as stub:
        cached = await cached_provider(gateway, stub)
        first, _ = await cached.run_turn()
        again, journal = await cached.run_turn(ChatKey(KEY.app, ChatId("another")))
        assert len(stub.bodies) == 1
    assert first == again == Completed("At last.", None)
    assert [text for _, _, text in journal.shown] == ["At last."]
    assert [type(event) for event in journal.events] == [
        ModelRequested,
        ModelResponded,
        UsageRecorded,
    ]
    (usage,) = journal.of(UsageRecorded)
    assert (usage.cached, usage.cost) == (True, 0.0)
    assert usage.tokens == Tokens(prompt=0, completion=0, total=0)
    assert journal.of(ModelResponded)[0].model == "m"


@pytest.mark.broker
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
async def test_signed_thinking_is_answered_from_the_cache_too(
    gateway: JetStreamGateway, wire: Wire
) -> None:
    stub = wire.stub(*wire.turn)
    with stub.running():
        cached = await cached_provider(gateway, stub)
        policy = replace(POLICY, cache=cached.cache)
        first, whole = await native_turn(stub, wire.provider, policy=policy)
        asked = len(stub.bodies)
        again, repeated = await native_turn(stub, wire.provider, policy=policy)
    assert again == first
    assert len(stub.bodies) == asked == 3
    natives = [[one.native for one in run.of(ModelResponded)] for run in (whole, repeated)]
    assert natives[0] == natives[1]
    assert any(natives[0])
    assert all(usage.cached for usage in repeated.of(UsageRecorded))


@pytest.mark.broker
async def test_an_app_never_gets_a_response_cached_for_another_app(
    gateway: JetStreamGateway,
) -> None:
    with ProviderStub(ANSWER).running() as stub:
        cached = await cached_provider(gateway, stub)
        await cached.run_turn()
        _, journal = await cached.run_turn(ChatKey(AppId("other"), KEY.chat))
        assert len(stub.bodies) == 2
    assert not journal.of(UsageRecorded)[0].cached


@pytest.mark.broker
async def test_without_a_shared_seed_a_response_is_cached_for_its_chat_only(
    gateway: JetStreamGateway,
) -> None:
    with ProviderStub(ANSWER).running() as stub:
        cached = await cached_provider(gateway, stub, seed=None)
        for chat in ("one", "two", "one"):
            await cached.run_turn(ChatKey(KEY.app, ChatId(chat)))
        assert len(stub.bodies) == 2


@pytest.mark.broker
async def test_another_model_or_temperature_is_another_request(gateway: JetStreamGateway) -> None:
    with ProviderStub(ANSWER).running() as stub:
        cached = await cached_provider(gateway, stub)
        for _ in range(2):
            await cached.run_turn()
            await cached.run_turn(model="gpt-4.1-nano")
            await cached.run_turn(temperature=0.5)
        assert len(stub.bodies) == 3


@pytest.mark.broker
@pytest.mark.parametrize(
    ("reply", "max_bytes", "text"),
    [
        (StreamedReply(finish="length"), MAX_BYTES, f"At last.{CUT_MARK}"),
        (ANSWER, 100, "At last."),
    ],
    ids=["cut", "large"],
)
async def test_an_incomplete_or_too_large_response_is_not_cached(
    gateway: JetStreamGateway, reply: StreamedReply, max_bytes: int, text: str
) -> None:
    with ProviderStub(reply).running() as stub:
        cached = await cached_provider(gateway, stub, max_bytes=max_bytes)
        await cached.run_turn()
        outcome, _ = await cached.run_turn()
        assert len(stub.bodies) == 2
    assert outcome == Completed(text, None)


@pytest.mark.broker
async def test_a_cache_that_does_not_answer_fails_no_turn(gateway: JetStreamGateway) -> None:
    with ProviderStub(ANSWER).running() as stub:
        cached = await cached_provider(gateway, stub)
        await gateway.js.delete_stream(subjects.bucket_stream(cached.cache._bucket._name))
        outcome, journal = await cached.run_turn()
    assert outcome == Completed("At last.", None)
    assert not journal.of(UsageRecorded)[0].cached


@pytest.mark.broker
async def test_an_invalid_cache_entry_is_replaced_by_a_new_response(
    gateway: JetStreamGateway,
) -> None:
    with ProviderStub(ANSWER).running() as stub:
        cached = await cached_provider(gateway, stub)
        await cached.run_turn()
        bucket = cached.cache._bucket
        (index,) = await bucket.keys()
        await bucket.put(index, b'{"type": "os.system"}')
        outcome, _ = await cached.run_turn()
        assert len(stub.bodies) == 2
    assert outcome == Completed("At last.", None)


@pytest.mark.parametrize(
    ("enabled", "seed", "random_seed", "expected"),
    [
        (None, None, None, None),
        (None, 7, None, CachePolicy(7)),
        (None, 7, 8, CachePolicy(7)),
        (None, None, 8, CachePolicy(8)),
        (True, None, None, CachePolicy(None)),
        (False, 7, 8, None),
    ],
)
def test_responses_are_cached_if_enabled_or_by_default_with_a_seed(
    *, enabled: bool | None, seed: int | None, random_seed: int | None, expected: CachePolicy | None
) -> None:
    assert cache_policy(enabled=enabled, seed=seed, random_seed=random_seed) == expected


TOOL = build_handoff(Handoff(EDITOR, "when it is time")).schema
SCHEMA = ResponseSchema.from_schema({"type": "object", "properties": {}}, name="plan")


def digest(**changed: Any) -> str:
    asked = {
        "identity": [7],
        "prompt": ["Write."],
        "messages": [REQUEST],
        "tools": [],
        "schema": None,
    }
    return request_digest(**{**asked, **changed})


def test_the_request_digest_depends_on_everything_that_the_answer_depends_on() -> None:
    others = [
        digest(),
        digest(identity=[8]),
        digest(prompt=["Write well."]),
        digest(messages=[REQUEST, REQUEST]),
        digest(tools=[TOOL]),
        digest(schema=SCHEMA),
    ]
    assert len(set(others)) == len(others)
    assert digest() == digest()


def conversation(ids: tuple[str, str], tokens: int, text: str = "seen") -> list[Any]:
    """Two calls and their results, of which the second comes first."""
    calls = [ToolCallEvent("look", id=one, arguments="{}") for one in ids]
    results = [
        ToolResultEvent(parent_id=one, name="look", result=ToolResult(f"{text} {index}"))
        for index, one in enumerate(ids)
    ]
    reply = ModelResponse(
        ModelMessage("I look."),
        tool_calls=ToolCallsEvent(calls),
        usage=Usage(prompt_tokens=tokens),
        response_id=f"of {ids}",
    )
    return [REQUEST, reply, ToolResultsEvent(results[::-1])]


def test_the_request_digest_does_not_depend_on_ids_and_token_counts() -> None:
    assert digest(messages=conversation(("a", "b"), 3)) == digest(
        messages=conversation(("c", "d"), 4)
    )
    assert digest(messages=conversation(("a", "b"), 3)) != digest(
        messages=conversation(("a", "a"), 3)
    )
    assert digest(messages=conversation(("a", "b"), 3)) != digest(
        messages=conversation(("a", "b"), 3, text="heard")
    )
