"""Measure what a turn, a socket and a subject cost: python -m benchmarks.coefficients [--write]

Writes infra/scaling_coefficients.json, from which `python -m infra.simulate` computes docs/scaling.md. A
second load, of other size, is measured beside what the model says of it.
"""

import argparse
import asyncio
import json
import logging
import platform
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import nats
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from pymongo import AsyncMongoClient

from benchmarks import stage
from benchmarks.crowd import address_of, memory, open_files, replayed
from benchmarks.load.process_times import times_of
from benchmarks.load.runtime import MONGO, NATS, Runtime, Size, running
from benchmarks.sockets import stored_chats, weight
from contracts import subjects
from infra.servers import NatsServer
from infra.simulate import COEFFICIENTS, Check, Coefficients

CHATS, SECONDS = 16, 10.0
"""Of the load that the coefficients are taken from."""
CHECK_CHATS, CHECK_SECONDS = 8, 8.0
"""Of the load that the model is held against."""
SETTLE_SECONDS = 2.0
SUBJECTS = 100_000
SOCKETS = 500
WRITERS = 64
WRITE_SECONDS = 3.0
BODY = b"x" * 700


async def measured() -> Coefficients:
    """Everything, one after the other, on a machine that should do nothing else."""
    async with running(Size()) as runtime:
        load = await _loaded(runtime, CHATS, SECONDS)
        check = await _loaded(runtime, CHECK_CHATS, CHECK_SECONDS)
    per_turn = {label: load[label] for label in (*_SERVICES, NATS, MONGO)}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = NatsServer(Path(folder) / "nats")
        server.start()
        try:
            subject_bytes = await _subject_bytes(server)
            writes = await _writes_per_second(server)
        finally:
            server.stop()
    return Coefficients(
        machine=f"{platform.machine()}, Python {platform.python_version()}",
        measured_at=f"{datetime.now(UTC):%Y-%m-%d}",
        cpu_ms_per_turn=per_turn,
        events_per_turn=load["events"],
        messages_per_turn=load["messages"],
        log_bytes_per_turn=load["log bytes"],
        mongo_bytes_per_turn=load["mongo bytes"],
        ram_bytes_per_subject=subject_bytes,
        ram_kb_per_socket=await _socket_kilobytes(),
        stream_messages_per_second=writes,
        check=Check(
            turns_per_second=check["rate"],
            cores_measured=check["cores"],
            log_bytes_per_second_measured=check["log bytes"] * check["rate"],
        ),
    )


_SERVICES = ("orchestrator", "transport", "persistence", "metrics")


async def _loaded(runtime: Runtime, chats: int, seconds: float) -> dict[str, float]:
    """Per turn: events, messages, bytes, and milliseconds of each process; and turns per second."""
    async with runtime.clients(chats, seconds) as clients:
        await asyncio.sleep(SETTLE_SECONDS)
        before = await _stored(runtime)
        load = await runtime.measure(clients)
        await asyncio.sleep(SETTLE_SECONDS)  # until all that follows the log has caught up
        after = await _stored(runtime)
    turns = load.answered.turns
    per_turn = {name: (after[name] - before[name]) / turns for name in after}
    costs = {label: load.cost_of(label) for label in (*_SERVICES, NATS, MONGO)}
    cores = load.rate * sum(costs.values()) / 1000
    return {**per_turn, **costs, "rate": load.rate, "cores": cores}


async def _stored(runtime: Runtime) -> dict[str, float]:
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(runtime.mongodb_uri)
    nc = await nats.connect(runtime.nats_url)
    try:
        js = nc.jetstream()
        state = (await js.stream_info(subjects.EVENTS)).state
        size = await client["MozaiksAI"].command("dbStats")
        return {
            "messages": state.messages,
            "log bytes": state.bytes,
            "events": await _events(js, state.messages),
            "mongo bytes": float(size["dataSize"]),
        }
    finally:
        await nc.close()
        await client.close()


async def _events(js: JetStreamContext, left: int) -> int:
    """How many events the log has: each is a line of a message."""
    config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True)
    reading = await js.pull_subscribe(subjects.ALL_EVENTS, stream=subjects.EVENTS, config=config)
    found = 0
    while left > 0:
        page = await reading.fetch(min(left, 500), timeout=10)
        found += sum(message.data.count(b"\n") + 1 for message in page)
        left -= len(page)
    await reading.unsubscribe()
    return found


async def _subject_bytes(server: NatsServer) -> float:
    """Bytes of memory of nats-server for each subject of a stream of files, while it is written."""
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="SUBJECTS", subjects=["subjects.>"]))
    await _write(nc, "subjects.warm", 2000)
    before = memory(server.child.pid)
    await _write(nc, "subjects.chat", SUBJECTS)
    grown = memory(server.child.pid) - before
    await js.delete_stream("SUBJECTS")
    await nc.close()
    return grown / SUBJECTS


async def _write(nc: Client, subject: str, count: int) -> None:
    for number in range(count):
        await nc.publish(f"{subject}.{number}.chat", BODY)
        if number % 1000 == 0:
            await nc.flush()
    await nc.flush()


async def _writes_per_second(server: NatsServer) -> float:
    """Acknowledged messages into one stream in a second of a core of nats-server."""
    nc = await nats.connect(server.url)
    js = nc.jetstream()
    await js.add_stream(StreamConfig(name="WRITES", subjects=["writes.>"]))
    written, ends = 0, perf_counter() + WRITE_SECONDS
    before = times_of(server.child.pid).used

    async def write(number: int) -> None:
        nonlocal written
        while perf_counter() < ends:
            await js.publish(f"writes.{number}", BODY)
            written += 1

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    used = times_of(server.child.pid).used - before
    await nc.close()
    return written / used


async def _socket_kilobytes() -> float:
    """Kilobytes of a transport for each idle socket of a chat of its own."""
    with stage.nats_server() as server, open_files(SOCKETS):
        async with stage.gateway(server) as gateway:
            last = await stored_chats(gateway, SOCKETS)
            async with stage.process("transport", server) as transport:
                addresses = [address_of(transport.port, one.key) for one in last]
                return await weight(transport.pid, addresses, replayed)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coefficients")
    parser.add_argument("--write", action="store_true", help=f"replace {COEFFICIENTS.name}")
    write = parser.parse_args().write
    logging.disable(logging.WARNING)
    text = json.dumps(asdict(asyncio.run(measured())), indent=2) + "\n"
    print(text)
    if write:
        COEFFICIENTS.write_text(text)


if __name__ == "__main__":
    main()
