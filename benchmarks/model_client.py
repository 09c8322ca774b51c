"""Model client: CPU of one model call in this process, beside AG2's own client of the same API."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import process_time

import httpx2
from ag2.config import LLMClient
from ag2.config.openai import OpenAIConfig
from ag2.context import ConversationContext
from ag2.events import (
    BaseEvent,
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
from ag2.tools import tool
from fast_depends.pydantic.serializer import PydanticSerializer
from pydantic import SecretStr

from benchmarks.figures import Aim, Figure
from benchmarks.load import model
from infra.child_process import Child
from infra.ports import LOOPBACK, answers, free_port
from infra.servers import NatsServer
from infra.stack import ROOT
from services.orchestrator.agents.ag2.durable_stream import DurableStream
from services.orchestrator.agents.models.http_client import shared_http_client
from services.orchestrator.agents.models.openai_wire.config import OpenAIWireConfig

LENGTHS = (10, 800)
"""Messages of the conversation that is sent."""
REPETITIONS = 7
CALLS = 10
READY_SECONDS = 20.0
AIM = Aim(ratio=0.5)
WORDS = "One of the hundred words that a model says, more or less. " * 8


@tool
def look_up(topic: str) -> str:
    """Look a topic up."""
    return topic


async def measure(_: NatsServer) -> list[Figure]:
    async with _model() as url, shared_http_client() as http, httpx2.AsyncClient() as plain:
        ours = OpenAIWireConfig("m", SecretStr("key"), url, http).create()
        theirs = OpenAIConfig(
            "m", api_key="key", base_url=url, streaming=True, max_retries=0, http_client=plain
        ).create()
        return [await _compare(ours, theirs, length) for length in LENGTHS]


async def _compare(ours: LLMClient, theirs: LLMClient, length: int) -> Figure:
    events = _conversation(length)
    costs: dict[int, list[float]] = {id(ours): [], id(theirs): []}
    for _ in range(REPETITIONS):
        for client in (theirs, ours):
            costs[id(client)].append(await _cost(client, events))
    name = f"model call at message {length}: CPU"
    note = "peer: AG2's OpenAIClient"
    return Figure(name, "ms", costs[id(ours)], costs[id(theirs)], AIM, note=note)


async def _cost(client: LLMClient, events: Sequence[BaseEvent]) -> float:
    """Milliseconds of this process's CPU for one call, the mean."""
    began = process_time()
    for _ in range(CALLS):
        await _call(client, events)
    return 1000 * (process_time() - began) / CALLS


async def _call(client: LLMClient, events: Sequence[BaseEvent]) -> None:
    async def persist(event: BaseEvent, _: ConversationContext) -> BaseEvent:
        return event

    response = await client(
        events,
        ConversationContext(DurableStream(persist), prompt=["You look things up."]),
        tools=[look_up.schema],
        response_schema=None,
        serializer=PydanticSerializer(),
    )
    if response.content != model.text():
        raise ValueError(f"the model answered {response.content!r}")


def _conversation(length: int) -> list[BaseEvent]:
    """Turns of four messages; the last one is a tool's result, so the model answers in words."""
    events: list[BaseEvent] = []
    for number in range(length // 4 + 1):
        call = ToolCallEvent("look_up", id=f"call_{number}", arguments=model.ARGUMENTS)
        result = ToolResult(parts=[TextInput("r" * 200)])
        events += [
            ModelRequest([TextInput(f"Question {number}: what would it cost?")]),
            ModelResponse(tool_calls=ToolCallsEvent([call])),
            ToolResultsEvent([ToolResultEvent(parent_id=call.id, name=call.name, result=result)]),
            ModelResponse(ModelMessage(f"Answer {number}. {WORDS}")),
        ]
    return events[:-1][-length:]


@asynccontextmanager
async def _model() -> AsyncIterator[str]:
    """The address of a model without latency, in a process of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.load.model", str(port)]
        child = Child("model", command, Path(folder) / "model.log", folder=ROOT)
        child.start()
        try:
            await asyncio.to_thread(child.wait_until, lambda: answers(port), READY_SECONDS)
            yield f"http://{LOOPBACK}:{port}/v1"
        finally:
            await asyncio.to_thread(child.stop)
