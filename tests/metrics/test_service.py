"""The whole service on a real log: its pages, and its numbers after a kill."""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

import httpx
import nats as nats_client
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from contracts.prices import PRICES, Price
from infra.ports import free_port
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.streams.ensure import ensure_streams
from services.metrics import app, consumer
from services.metrics.app import build_app
from services.metrics.metrics_state import MetricsState
from services.metrics.settings import Settings
from tests.foreign_messages import FOREIGN
from tests.metrics.story import BEGAN, KEY, append, chat, decisions_of, log_of

pytestmark = [pytest.mark.broker]
TIMEOUT_SECONDS = 60.0
THEIRS = ChatKey(AppId("other corp"), KEY.chat)
ODD = ChatKey(AppId("acme"), ChatId("a/b c.d*ü"))
Client = AsyncTestClient[Litestar]


@pytest.fixture
async def gateway(empty_nats: NatsServer) -> AsyncIterator[JetStreamGateway]:
    nc = await nats_client.connect(empty_nats.url, max_reconnect_attempts=-1, reconnect_time_wait=1)
    await ensure_streams(nc, replicas=1)
    yield JetStreamGateway(nc)
    await nc.close()


@asynccontextmanager
async def running(server: NatsServer, **more: Any) -> AsyncIterator[Client]:
    app, _ = build_app(Settings(nats_url=server.url, drain_seconds=2, **more))
    async with AsyncTestClient(cast(Litestar, app)) as client:
        yield client


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await holds():  # noqa: ASYNC110  # a page sets no event
            await asyncio.sleep(0.05)


async def counted(client: Client, turns: int) -> bool:
    page = (await client.get("/metrics/perf/aggregate")).json()
    return bool(page["total_agent_turns"] >= turns)


async def test_the_routes_answer_what_the_log_has(
    gateway: JetStreamGateway, empty_nats: NatsServer
) -> None:
    for key in (KEY, THEIRS, ODD):
        await append(gateway, decisions_of(chat(), key))
    async with running(empty_nats) as client:
        await until(lambda: counted(client, 6))
        aggregate = (await client.get("/metrics/perf/aggregate")).json()
        assert (aggregate["active_chats"], aggregate["tracked_chats"]) == (0, 3)
        assert aggregate["total_cost"] == pytest.approx(3 * 3 * (0.00015 + 0.00006))
        assert len((await client.get("/metrics/perf/chats")).json()) == 3
        theirs = await client.get("/metrics/perf/chats", params={"app_id": THEIRS.app})
        assert [one["app_id"] for one in theirs.json()] == [THEIRS.app]
        odd = await client.get("/metrics/perf/chats/a%2Fb%20c.d%2A%C3%BC")
        assert odd.json()["chat_id"] == ODD.chat
        assert datetime.fromisoformat(odd.json()["started_at"]) == BEGAN + timedelta(seconds=1)


async def test_a_recreated_bucket_is_saved_and_a_recreated_log_counted_again(
    gateway: JetStreamGateway, empty_nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.chassis.streams.monitor.CHECK_SECONDS", 0.1)
    perf = subjects.bucket_stream(subjects.PERF)

    async def is_saved() -> bool:
        try:
            return (await gateway.js.stream_info(perf)).state.messages == 1
        except NotFoundError:
            return False

    await append(gateway, decisions_of(chat()))
    async with running(empty_nats) as client:
        await until(lambda: counted(client, 2))
        await until(is_saved)
        await gateway.js.delete_stream(perf)
        await until(is_saved)
        await gateway.js.delete_stream(subjects.EVENTS)
        await until(lambda: nothing_counted(client))
        await append(gateway, decisions_of(chat(), THEIRS))
        await until(lambda: counted(client, 2))
        (known,) = (await client.get("/metrics/perf/chats")).json()
        assert known["app_id"] == THEIRS.app


async def nothing_counted(client: Client) -> bool:
    page = (await client.get("/metrics/perf/aggregate")).json()
    return bool(page["tracked_chats"] == 0)


async def test_an_unknown_or_ambiguous_chat_is_refused_with_a_reason(
    gateway: JetStreamGateway, empty_nats: NatsServer
) -> None:
    for key in (KEY, THEIRS):
        await append(gateway, decisions_of(chat(), key))
    async with running(empty_nats) as client:
        await until(lambda: counted(client, 4))
        unknown = await client.get("/metrics/perf/chats/nobody")
        assert unknown.status_code == 404
        assert unknown.json() == {"detail": "chat_id: this chat is not tracked"}
        ambiguous = await client.get("/metrics/perf/chats/chat%201")
        assert ambiguous.status_code == 409
        assert ambiguous.json() == {
            "detail": "app_id: required, because several apps have a chat with this id"
        }
        named = await client.get("/metrics/perf/chats/chat%201", params={"app_id": THEIRS.app})
        assert named.json()["app_id"] == THEIRS.app
        assert set((await client.get("/metrics/nothing")).json()) == {"detail"}


async def test_prometheus_reads_the_text_format(
    gateway: JetStreamGateway, empty_nats: NatsServer
) -> None:
    await append(gateway, decisions_of(chat()))
    async with running(empty_nats) as client:
        await until(lambda: counted(client, 2))
        page = await client.get("/metrics/prometheus")
        assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'mozaiks_agent_turns_total{app="acme",workflow="Generator"} 2.0' in page.text


def test_an_invalid_price_table_is_rejected_by_the_name_of_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_PRICING_JSON", '{"m": {"prompt": -1, "completion": 0}}')
    with pytest.raises(ValidationError, match="model_pricing_json"):
        Settings()


def test_the_price_table_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_PRICING_JSON", '{"m": {"prompt": 1, "completion": 2}}')
    assert Settings().model_pricing_json == {"m": Price(prompt=1, completion=2)}


async def test_counting_continues_after_nats_was_killed(
    gateway: JetStreamGateway, empty_nats: NatsServer
) -> None:
    await append(gateway, decisions_of(chat()))
    async with running(empty_nats) as client:
        await until(lambda: counted(client, 2))
        empty_nats.kill()
        empty_nats.start()
        await append(gateway, decisions_of(chat(), THEIRS))
        await until(lambda: counted(client, 4))
        aggregate = (await client.get("/metrics/perf/aggregate")).json()
        assert (aggregate["total_agent_turns"], aggregate["total_errors"]) == (4, 2)


async def test_after_being_killed_it_has_the_same_numbers_as_without(
    gateway: JetStreamGateway, empty_nats: NatsServer
) -> None:
    keys = [ChatKey(AppId(f"app {n % 2}"), ChatId(str(n))) for n in range(9)]
    histories = [decisions_of(chat(), key) for key in keys]
    places = {key: StreamSeq(0) for key in keys}
    got: dict[str, Any] = {}
    for start, stop, tokens in ((0, 4, 9_000), (4, 7, 18_000), (7, 11, 27_000)):
        async with killed_at_the_end(empty_nats) as client:
            for key, history in zip(keys, histories, strict=True):
                places[key] = await append(gateway, history[start:stop], after=places[key])
            await until(partial(_saw, client, tokens))
            await until(partial(_saw_all, client, ended=9 if stop == 11 else 0))
            got = await _page(client)
    straight = MetricsState(PRICES)
    for message in log_of(*histories):
        straight.record(message)
    want = straight.aggregate(BEGAN).model_dump(mode="json")
    assert {**got, "chats": _by_name(got)} == {**want, "chats": _by_name(want)}


def messages_of(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The messages that are logged from now on, wherever the service's handlers send them."""
    logged: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append(record.getMessage())

    monkeypatch.setattr(log, "handlers", [Collector()])
    return logged


async def test_messages_that_are_not_events_change_no_number_also_of_an_evicted_chat(
    gateway: JetStreamGateway,
    empty_nats: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged = messages_of(consumer.log, monkeypatch)
    monkeypatch.setattr(app, "MetricsState", partial(MetricsState, chats=1))
    history, subject = decisions_of(chat()), subjects.event(KEY, "runtime")
    position = await append(gateway, history[:5])
    await append(gateway, decisions_of(chat(), THEIRS))  # and the first is evicted
    for bytes_of in FOREIGN.values():
        position = StreamSeq((await gateway.js.publish(subject, bytes_of(history[4]))).seq)
    await append(gateway, history[5:], after=position)
    async with running(empty_nats) as client:
        await until(lambda: counted(client, 4))
        aggregate = (await client.get("/metrics/perf/aggregate")).json()
        assert (aggregate["active_chats"], aggregate["total_agent_turns"]) == (0, 4)
        assert aggregate["total_prompt_tokens"] == 6000
        page = (await client.get("/metrics/prometheus")).text
        assert f"mozaiks_rejected_messages_total {len(FOREIGN)}.0" in page
    assert logged.count(
        "a message in a chat's log is not an event of it and is not counted"
    ) == len(FOREIGN)


@asynccontextmanager
async def killed_at_the_end(server: NatsServer) -> AsyncIterator[httpx.AsyncClient]:
    """A process of the service, ended by SIGKILL: whatever it had not saved is lost."""
    port = free_port()
    env = {**os.environ, "NATS_URL": server.url, "METRICS_PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.metrics"), env=env, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        process.kill()
        await process.wait()


async def _page(client: httpx.AsyncClient) -> dict[str, Any]:
    try:
        answer = await client.get("/metrics/perf/aggregate")
    except httpx.TransportError:
        return NOT_YET_UP
    return cast(dict[str, Any], answer.json()) if answer.is_success else NOT_YET_UP


NOT_YET_UP: dict[str, Any] = {"total_prompt_tokens": 0, "chats": []}


async def _saw(client: httpx.AsyncClient, prompt_tokens: int) -> bool:
    return bool((await _page(client))["total_prompt_tokens"] >= prompt_tokens)


async def _saw_all(client: httpx.AsyncClient, ended: int) -> bool:
    chats = (await _page(client))["chats"]
    return sum(one["ended_at"] is not None for one in chats) == ended


def _by_name(page: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {chat["chat_id"]: chat for chat in page["chats"]}


async def test_two_replicas_show_the_same_numbers_also_after_one_was_replaced(
    gateway: JetStreamGateway, empty_nats: NatsServer
) -> None:
    await append(gateway, decisions_of(chat()))
    async with running(empty_nats) as first:
        async with running(empty_nats) as second:
            await until(lambda: both_counted(first, second, 2))
            assert await series(first) == await series(second)
        await append(gateway, decisions_of(chat(), THEIRS))
        async with running(empty_nats) as third:
            await until(lambda: both_counted(first, third, 4))
            assert await series(first) == await series(third)


async def both_counted(one: Client, other: Client, turns: int) -> bool:
    return await counted(one, turns) and await counted(other, turns)


async def series(client: Client) -> list[str]:
    """What is counted, without what depends on the time at which it is asked."""
    page = (await client.get("/metrics/prometheus")).text
    return [line for line in page.splitlines() if "silence" not in line]
