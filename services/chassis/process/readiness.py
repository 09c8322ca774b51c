"""Answers, for operators, whether this process is ready: the same as its /ready, over NATS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from contracts import subjects
from contracts.ids import new_process_id
from contracts.readiness import ReadinessShown
from services.chassis.jetstream.responder import answering
from services.chassis.process.probes import Probes


@asynccontextmanager
async def answering_readiness(nc: Client, service: str, probes: Probes) -> AsyncIterator[None]:
    """Every process answers, until the end of the block."""
    process = new_process_id()

    async def answer(_: bytes) -> bytes:
        waiting_for = probes.waiting_for
        shown = ReadinessShown(
            service=service,
            process=process,
            is_ready=not waiting_for,
            waiting_for=waiting_for,
        )
        return shown.model_dump_json().encode()

    async with answering(nc, subjects.READINESS, answer):
        yield
