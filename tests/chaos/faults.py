"""Inject the faults of a schedule into the product, and undo them; record target and time."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

from infra.child_process import Child
from infra.nats_cluster import NoAnswerError, request
from infra.servers import NatsServer
from tests.chaos.facts import Done
from tests.chaos.product import Product
from tests.chaos.schedule import TAKES_A_NODE, Fault, Kind
from tests.chaos.storms import storm
from tests.chaos.users import Users

CURRENT_SECONDS = 20.0
ASK_SECONDS = 8.0
UNDO_SECONDS = 300.0
"""Long enough for other faults of NATS at the same time: a fault must not outlast the run."""
UNLIMITED = {"max_bytes": -1, "discard": "old"}
ROOM_BYTES = 4096
"""How much a stream accepts before it is full."""


class NotPossibleError(Exception):
    """The fault is not possible in the present state of the product; the message says why."""


class Faults:
    """Runs a schedule. Every fault is undone by the time that `run` returns."""

    def __init__(self, product: Product, users: Users, seed: int) -> None:
        self.done: list[Done] = []
        self._product = product
        self._cluster = product.cluster
        self._users = users
        self._random = Random(seed)
        self._node = asyncio.Lock()
        self._doings: Mapping[Kind, Callable[[Fault, Hit], Awaitable[None]]] = {
            "kill service": self._kill_service,
            "stop service": self._stop_service,
            "pause service": self._pause_service,
            "kill NATS node": self._kill_node,
            "stop NATS node": self._stop_node,
            "pause NATS node": self._pause_node,
            "freeze NATS node": self._pause_node,
            "kill all NATS nodes": self._kill_all_nodes,
            "leader step-down": self._step_down,
            "disk full": self._fill_disk,
            "stream full": self._fill_stream,
            "kill MongoDB": self._kill_mongo,
            "pause MongoDB": self._pause_mongo,
            "MongoDB away": self._stop_mongo,
            "viewer storm": self._storm,
        }

    async def run(self, schedule: tuple[Fault, ...]) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as doing:
            for fault in schedule:
                await asyncio.sleep(max(began + fault.at - time.monotonic(), 0))
                doing.create_task(self._do(fault), name=f"fault {fault.number}")

    async def _do(self, fault: Fault) -> None:
        hit = Hit(fault.target)
        chats, trouble = 0, ""
        async with self._node if fault.kind in TAKES_A_NODE else contextlib.nullcontext():
            began, chats = time.time(), len(self._users.in_flight)
            try:
                await self._doings[fault.kind](fault, hit)
            except Exception as reason:  # noqa: BLE001  said in the report; the run goes on
                trouble = (str(reason) or repr(reason)).splitlines()[0][:200]
            done = Done(fault, hit.target, hit.pid, began, time.time(), chats, trouble)
            self.done.append(done)

    # -- services ----------------------------------------------------------------------------------

    async def _kill_service(self, fault: Fault, hit: "Hit") -> None:
        hit.pid = self._product.services[fault.target].signal(SIGKILL)

    async def _stop_service(self, fault: Fault, hit: "Hit") -> None:
        hit.pid = self._product.services[fault.target].signal(SIGTERM)

    async def _pause_service(self, fault: Fault, hit: "Hit") -> None:
        service = self._product.services[fault.target]
        hit.pid = service.signal(SIGSTOP)
        await asyncio.sleep(fault.seconds)
        if service.pid == hit.pid:
            service.signal(SIGCONT)

    # -- NATS ----------------------------------------------------------------------------------------

    async def _kill_node(self, fault: Fault, hit: "Hit") -> None:
        node = await self._one_node(fault, hit)
        await asyncio.to_thread(node.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(node.start)

    async def _stop_node(self, fault: Fault, hit: "Hit") -> None:
        node = await self._one_node(fault, hit)
        await asyncio.to_thread(node.stop)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(node.start)

    async def _pause_node(self, fault: Fault, hit: "Hit") -> None:
        node = await self._one_node(fault, hit)
        node.pause()
        await asyncio.sleep(fault.seconds)
        node.resume()

    async def _kill_all_nodes(self, fault: Fault, hit: "Hit") -> None:
        await self._current()
        hit.target = "all"
        for node in self._cluster.nodes:
            await asyncio.to_thread(node.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._cluster.start)

    async def _fill_disk(self, fault: Fault, hit: "Hit") -> None:
        """The disk of one node is full; then it has space again, and the node is restarted."""
        if not self._product.disks:
            raise NotPossibleError("this machine lets us mount no small disk")
        node = await self._one_node(fault, hit)
        filler = node.folder / "filler"
        await asyncio.to_thread(_fill, filler)
        await asyncio.sleep(fault.seconds)
        filler.unlink()
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)

    async def _fill_stream(self, fault: Fault, hit: "Hit") -> None:
        """The stream accepts only a few bytes, as if the storage of its account were exhausted."""
        info = await self._ask(f"$JS.API.STREAM.INFO.{fault.target}", {})
        config = dict(info["config"])
        most = int(info["state"]["bytes"]) + ROOM_BYTES
        update = f"$JS.API.STREAM.UPDATE.{fault.target}"
        hit.target = f"{fault.target} at {most} bytes"
        try:
            await self._ask(update, {**config, "max_bytes": most, "discard": "new"})
            await asyncio.sleep(fault.seconds)
        finally:  # also without an answer: it may have been done
            await self._ask(update, {**config, **UNLIMITED}, UNDO_SECONDS)

    async def _step_down(self, fault: Fault, hit: "Hit") -> None:
        del hit
        kind = "CONSUMER" if " " in fault.target else "STREAM"
        await self._ask(f"$JS.API.{kind}.LEADER.STEPDOWN.{fault.target.replace(' ', '.')}", {})

    async def _one_node(self, fault: Fault, hit: "Hit") -> NatsServer:
        """The node of that role, while all are healthy: two of three continue without it."""
        await self._current()
        role, _, stream = fault.target.partition(" of ")
        if role == "leader":
            node = await asyncio.to_thread(self._cluster.stream_leader, stream)
        else:
            node = self._random.choice(
                await asyncio.to_thread(self._cluster.stream_followers, stream)
            )
        hit.target = f"{fault.target} ({node.folder.name})"
        hit.pid = node.child.pid
        return node

    async def _current(self) -> None:
        await asyncio.to_thread(
            self._cluster.wait_until_current, "EVENTS", "COMMANDS", seconds=CURRENT_SECONDS
        )

    async def _ask(
        self, subject: str, body: Mapping[str, object], seconds: float = ASK_SECONDS
    ) -> Mapping[str, Any]:
        """From whichever node answers. Raises NotPossibleError."""
        deadline, last = time.monotonic() + seconds, "no node answers"
        while time.monotonic() < deadline:
            for node in self._cluster.nodes:
                try:
                    answer = await asyncio.to_thread(request, node.port, subject, body)
                except (OSError, NoAnswerError) as trouble:
                    last = str(trouble)
                    continue
                if "error" not in answer:
                    return answer
                last = str(answer["error"])
            await asyncio.sleep(0.2)
        raise NotPossibleError(f"{subject}: {last}")

    # -- MongoDB and viewers ---------------------------------------------------------------------------

    async def _kill_mongo(self, fault: Fault, hit: "Hit") -> None:
        hit.pid = _pid(self._product.mongo.child)
        await asyncio.to_thread(self._product.mongo.kill)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._product.mongo.start)

    async def _stop_mongo(self, fault: Fault, hit: "Hit") -> None:
        hit.pid = _pid(self._product.mongo.child)
        await asyncio.to_thread(self._product.mongo.stop)
        await asyncio.sleep(fault.seconds)
        await asyncio.to_thread(self._product.mongo.start)

    async def _pause_mongo(self, fault: Fault, hit: "Hit") -> None:
        hit.pid = _pid(self._product.mongo.child)
        self._product.mongo.child.pause()
        await asyncio.sleep(fault.seconds)
        self._product.mongo.child.resume()

    async def _storm(self, fault: Fault, hit: "Hit") -> None:
        port = self._product.ports[fault.target]
        opened = await storm(port, self._users.an_address(), self._random)
        hit.target = f"{fault.target}, {opened} sockets"


class Hit:
    """The actual target of a fault."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.pid = 0


def _pid(child: Child) -> int:
    return child.pid if child.running else 0


def _fill(filler: Path) -> None:
    """Fill the file system, with single pages at the end, because that may be what is left."""
    with filler.open("wb", buffering=0) as file:
        left = os.statvfs(filler).f_bavail * os.statvfs(filler).f_frsize
        with contextlib.suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(left, 1))
        with contextlib.suppress(OSError):
            file.seek(0, os.SEEK_END)
            while True:
                file.write(b"\0" * 4096)
