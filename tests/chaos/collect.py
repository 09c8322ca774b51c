"""Read the results of a run: the log, what is derived from it, and what is left in the queues."""

import asyncio
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig

from contracts import event_log, subjects
from contracts.event_log import EMPTY, Head, RejectedMessageError
from contracts.ids import ChatKey, StreamSeq
from contracts.prices import with_own_prices
from services.chassis.jetstream.direct_get import BEFORE_FIRST, RawMessage
from services.chassis.jetstream.gateway import JetStreamGateway
from services.metrics.metrics_state import MetricsState
from tests.chaos.facts import Letter, Logged

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 1.0
PAGE = 500
READ_SECONDS = 20.0

Logs = Mapping[ChatKey, tuple[Logged, ...]]


@dataclass(frozen=True, slots=True)
class Stream:
    """All of EVENTS: valid messages by chat, and descriptions of the invalid ones."""

    logs: Logs
    not_counted: tuple[str, ...]
    messages: tuple[RawMessage, ...]


async def settled(
    differences: Callable[[], Awaitable[list[str]]], seconds: float
) -> tuple[str, ...]:
    """What still differs when it had so many seconds to become equal."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = await differences()
        except Exception as trouble:  # noqa: BLE001  what cannot be read is a finding, too
            found = [repr(trouble)]
        if not found or time.monotonic() > deadline:
            return tuple(found)
        await asyncio.sleep(LOOK_SECONDS)


# -- the log ----------------------------------------------------------------------------------------


async def read_events(nc: Client) -> Stream:
    heads: dict[ChatKey, Head] = defaultdict(lambda: EMPTY)
    logs: dict[ChatKey, list[Logged]] = defaultdict(list)
    rejected: list[str] = []
    messages: list[RawMessage] = []
    async for raw, stored in _all_events(nc):
        messages.append(raw)
        try:
            decision = event_log.read(raw.subject, raw.data)
        except RejectedMessageError as broken:
            rejected.append(f"message {raw.position} on {raw.subject}: {broken}")
            continue
        head = heads[decision.key]
        if not decision.follows(head):
            why = event_log.why_it_does_not_follow(decision, head)
            rejected.append(f"message {raw.position} on {raw.subject}: {why}")
            continue
        heads[decision.key] = decision.head
        logs[decision.key] += [Logged(one, raw.position, stored) for one in decision.events]
    counted = {key: tuple(log) for key, log in logs.items()}
    return Stream(counted, tuple(rejected), tuple(messages))


async def _all_events(nc: Client) -> AsyncIterator[tuple[RawMessage, float]]:
    """Every message of EVENTS, and when it was stored in seconds of Unix time."""
    js = nc.jetstream()
    left = (await js.stream_info(subjects.EVENTS)).state.messages
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, num_replicas=1)
    reading = await js.pull_subscribe(subjects.ALL_EVENTS, stream=subjects.EVENTS, config=config)
    while left:
        for message in await reading.fetch(min(left, PAGE), timeout=READ_SECONDS):
            place = StreamSeq(message.metadata.sequence.stream)
            stored = message.metadata.timestamp.timestamp()
            yield RawMessage(place, message.subject, message.data), stored
            left -= 1
    await reading.unsubscribe()


def tracebacks(logs: Path) -> dict[str, int]:
    """How many a service has written, for those that have written any."""
    counted = {log.stem: log.read_bytes().count(b"Traceback (most") for log in logs.glob("*.log")}
    return {name: count for name, count in counted.items() if count}


# -- what is left over --------------------------------------------------------------------------------


async def commands_left(nc: Client) -> list[str]:
    """Commands that nobody has acknowledged; timers wait for their time and do not count."""
    reader = JetStreamGateway(nc).reader
    newest = await reader.last(subjects.COMMANDS, subjects.ALL_COMMANDS)
    if newest is None:
        return []
    pages = reader.pages(
        subjects.COMMANDS, subjects.ALL_COMMANDS, BEFORE_FIRST, goal=newest.position
    )
    return [message.subject async for message in pages]


async def dead_letters(nc: Client) -> tuple[Letter, ...]:
    js, found = nc.jetstream(), []
    state = (await js.stream_info(subjects.DEAD_LETTERS)).state
    for position in range(max(state.first_seq, 1), state.last_seq + 1):
        message = await js.get_msg(subjects.DEAD_LETTERS, position)
        reason = (message.headers or {}).get("Mozaiks-Reason", "")
        found.append(Letter(message.subject or "", reason))
    return tuple(found)


# -- what follows from the log ------------------------------------------------------------------------


async def said_by(module: str, servers: Mapping[str, str], folder: Path = ROOT) -> list[str]:
    """What a command line tool of the product reports; nothing if it exits with 0."""
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**os.environ, **servers, "PYTHONPATH": str(folder), "LOG_LEVEL": "ERROR"},
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    written, _ = await command.communicate()
    if command.returncode == 0:
        return []
    return written.decode(errors="replace").splitlines() or [f"exit code {command.returncode}"]


async def metrics_differences(port: int, messages: tuple[RawMessage, ...]) -> list[str]:
    """Metrics that differ from the log, counted here again."""
    state = MetricsState(with_own_prices({}))
    for message in messages:
        state.record(message)
    wanted = state.aggregate(datetime.now(UTC)).model_dump(mode="json")
    async with httpx.AsyncClient(timeout=10) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/metrics/perf/aggregate")
    return differing(wanted, answer.json())


def differing(wanted: Mapping[str, Any], shown: Mapping[str, Any]) -> list[str]:
    """The totals that differ, in words."""
    return [
        f"{name} is {shown.get(name)}, the log makes {value}"
        for name, value in wanted.items()
        if name.startswith(("total_", "active_")) and not _same(value, shown.get(name))
    ]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= 1e-6 * max(1.0, abs(one))
    return bool(one == other)
