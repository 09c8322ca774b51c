"""The shared model as a child process, and what a measurement asks of it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from infra.child_process import Child
from infra.ports import LOOPBACK, answers, free_port
from infra.stack import ROOT

READY_SECONDS = 30.0


class Model:
    """`benchmarks.load.model`, running."""

    def __init__(self, port: int, http: httpx.AsyncClient) -> None:
        self.url = f"http://{LOOPBACK}:{port}/v1"
        self._http = http

    @asynccontextmanager
    async def paced(self, milliseconds: float) -> AsyncIterator[None]:
        """A pause before each piece of text, which then has the time of its sending in it."""
        await self._http.post(f"/pace/{milliseconds:g}")
        try:
            yield
        finally:
            await self._http.post("/pace/0")

    async def requests(self) -> list[float]:
        """When requests came since this was last asked, on the monotonic clock of this machine."""
        answer = await self._http.get("/requests")
        return [float(came) for came in answer.json()]


@asynccontextmanager
async def model(folder: Path) -> AsyncIterator[Model]:
    """The model, ready. Raises StartError."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.load.model", str(port)]
    child = Child("model", command, folder / "model.log", folder=ROOT)
    child.start()
    try:
        await asyncio.to_thread(child.wait_until, lambda: answers(port), READY_SECONDS)
        async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}") as http:
            yield Model(port, http)
    finally:
        await asyncio.to_thread(child.stop)
