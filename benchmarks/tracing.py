"""Tracing: what a turn of the whole runtime costs with exported traces, beside the same without them."""

import tempfile
from pathlib import Path

from benchmarks.figures import Aim, Figure
from benchmarks.load.runtime import Measured, Runtime, Size, running
from infra.servers import NatsServer
from tests.system.trace_receiver import receiving

ROUNDS = 5
SECONDS = 3.0
CHATS = 8
AIM = Aim(ratio=1.05)


class NoSpansError(Exception):
    """The receiver got no spans: the figures would mean nothing."""


async def measure(_: NatsServer) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder, receiving(Path(folder)) as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
        async with running(Size()) as plain, running(Size(), environment) as traced:
            figures = await _compare(traced, plain)
        if not any(one.name.startswith("execute_tool") for one in receiver.spans()):
            raise NoSpansError
    return figures


async def _compare(traced: Runtime, plain: Runtime) -> list[Figure]:
    for runtime in (traced, plain):
        await runtime.load(CHATS, 1)  # loads what is loaded once
    ours, floor = list[Measured](), list[Measured]()
    for _ in range(ROUNDS):
        floor.append(await plain.load(CHATS, SECONDS))
        ours.append(await traced.load(CHATS, SECONDS))
    cost = Figure(
        "a turn of all processes, traced: CPU",
        "ms",
        [one.cost for one in ours],
        [one.cost for one in floor],
        AIM,
    )
    rate = Figure(
        f"turns with {CHATS} chats, traced",
        "/s",
        [one.rate for one in ours],
        [one.rate for one in floor],
        AIM,
        more_is_better=True,
    )
    return [cost, rate]
