"""The whole product as processes of this machine: started in order, watched, stopped in order."""

import fcntl
import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

from infra.children import Asked, Child, StartError, StopAskedError
from infra.plan import (
    SERVICES,
    Plan,
    Service,
    after_death,
    environment_of,
    environment_of_ensure,
)
from infra.ports import LOOPBACK, free_port, holder, is_free
from infra.servers import MongoServer, NatsServer
from infra.upkeep import LOOK_SECONDS, Sparse, Upkeep, health_of

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 60.0
DEATHS_AT_START = 3
"""So many ends of one process while the product starts are no accident."""
STOP_SECONDS = 12.0
ENSURE_SECONDS = 60.0
WATCH_SECONDS = 0.1
STREAMS_LOOK_SECONDS = 1.0
"""Between two looks at what a service waits for, each time another one."""
IS_MISSING = "is missing"
"""How a service says that there is no such stream."""
ENSURE = (sys.executable, "-m", "services.chassis.streams", "ensure")
"""Creates and upgrades the streams: a program, because what runs the services does not import them."""

Say = Callable[[str], None]


class TakenError(Exception):
    """A port or the data folder is somebody else's; says whose, and what to change."""


@dataclass(slots=True)
class Part:
    """A process that is kept running. `due`: when to start it again, on the monotonic clock."""

    child: Child
    start: Callable[[], None]
    started: float
    deaths: int = 0
    due: float | None = None


@contextmanager
def owning(data: Path) -> Iterator[None]:
    """Hold the data folder for ourselves. Raises TakenError."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise TakenError(
                f"the data folder {data} is in use by another run (pid {pid}): "
                "stop that one, or set DATA_DIR to another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def refuse_taken_ports(plan: Plan) -> None:
    """Raises TakenError naming every taken port, its holder and the variable that moves ours."""
    taken = [
        f"port {one.port} for {one.name} is taken by {holder(one.port)}: set {one.variable}"
        for one in plan.listeners()
        if not is_free(one.port)
    ]
    if taken:
        raise TakenError("\n".join(taken))


def command_of(service: Service) -> list[str]:
    return [sys.executable, "-m", f"services.{service}"]


class Stack:
    """Embedded servers where none were given, and the four services."""

    def __init__(
        self,
        plan: Plan,
        environ: Mapping[str, str],
        say: Say,
        command_of: Callable[[Service], list[str]] = command_of,
        ensure: Sequence[str] = ENSURE,
    ) -> None:
        self._plan = plan
        self._command_of = command_of
        self._ensure = list(ensure)
        self._environ = environ
        self._say = say
        self._parts: list[Part] = []
        self._nats: NatsServer | None = None
        self._mongo: MongoServer | None = None
        self._upkeep = Upkeep()
        self._health_look = Sparse(LOOK_SECONDS)
        self._streams_look = Sparse(STREAMS_LOOK_SECONDS)
        self._looked_at = cycle(SERVICES)
        self._ensuring: Child | None = None

    @property
    def nats_url(self) -> str:
        return self._plan.nats_url or (self._nats.url if self._nats else "")

    @property
    def mongodb_uri(self) -> str:
        return self._plan.mongodb_uri or (self._mongo.uri if self._mongo else "")

    def start(self, asked: Asked) -> None:
        """Return once every service is ready. Raises StartError, MissingServerError, StopAskedError.

        Whatever it raises, `stop` has to be called.
        """
        self._start_servers(asked)
        if self._plan.ensure_streams:
            self._ensure_streams(asked)
        for name in SERVICES:
            child = self._service(name)
            self._keep(child, child.start)
        self._wait_until_ready(asked)

    def watch(self, asked: Asked) -> None:
        """Start again what dies, until we are asked to stop. May raise StopAskedError."""
        while not asked():
            for part in self._parts:
                self._look_after(part)
            if self._nats is not None and self._health_look.is_due():
                self._keep_storing(self._nats)
            if self._plan.ensure_streams and self._streams_look.is_due():
                self._keep_streams(next(self._looked_at))
            time.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """Services first, so that they can still hand over what they hold; then the servers."""
        if self._ensuring is not None:
            self._ensuring.kill()
        services = [part.child for part in self._parts if part.child.name in SERVICES]
        deadline = time.monotonic() + STOP_SECONDS
        for child in services:
            child.ask_to_stop()
        for child in services:
            if not child.stop(max(deadline - time.monotonic(), 0.1)):
                self._say(f"{child.name} did not stop within {STOP_SECONDS:g} s and was killed")
        if self._mongo:
            self._mongo.stop()
        if self._nats:
            self._nats.stop()

    def _start_servers(self, asked: Asked) -> None:
        plan = self._plan
        if plan.nats_url is None:
            log = plan.logs / "nats-server.log"
            self._nats = NatsServer(
                plan.data / "nats",
                port=plan.nats_port,
                sync_interval=plan.nats_sync_interval,
                log=log,
                monitor_port=free_port(),
            )
            self._keep(self._nats.child, partial(self._nats.start, asked))
        if plan.mongodb_uri is None:
            log = plan.logs / "mongod.log"
            self._mongo = MongoServer(plan.data / "mongodb", port=plan.mongo_port, log=log)
            self._keep(self._mongo.child, partial(self._mongo.start, asked))

    def _ensure_streams(self, asked: Asked) -> None:
        """Once, before the services: they start at the same time and would each do it."""
        self._ensurer().run_to_end(ENSURE_SECONDS, asked)

    def _ensurer(self) -> Child:
        return Child(
            "streams",
            self._ensure,
            (self._plan.logs / "streams.log").resolve(),
            environment=environment_of_ensure(self._environ, nats_url=self.nats_url),
            folder=ROOT,
        )

    def _keep_streams(self, name: Service) -> None:
        """Have streams made again that somebody deleted: the services only say that they miss them."""
        if self._ensuring is not None and self._ensuring.running:
            return
        why = waiting_for(self._plan.ports[name])
        if IS_MISSING in why:
            self._say(f"{name} waits for {why}: streams are made again")
            self._ensuring = self._ensurer()
            self._ensuring.start()

    def _keep_storing(self, nats: NatsServer) -> None:
        health = health_of(nats.monitor_port, nats.folder) if nats.child.running else None
        if health is None:  # it starts, or is paused: what dies is started again as anything else
            return
        restart, line = self._upkeep.decide(health, time.monotonic())
        if line:
            self._say(line)
        if restart:
            nats.stop()
            self._start_again(next(part for part in self._parts if part.child is nats.child))

    def _keep(self, child: Child, start: Callable[[], None]) -> None:
        start()
        self._parts.append(Part(child, start, time.monotonic()))

    def _service(self, name: Service) -> Child:
        told = environment_of(
            name, self._plan, self._environ, nats_url=self.nats_url, mongodb_uri=self.mongodb_uri
        )
        return Child(
            name,
            self._command_of(name),
            (self._plan.logs / f"{name}.log").resolve(),
            environment=told,
            folder=ROOT,
        )

    def _wait_until_ready(self, asked: Asked) -> None:
        """What dies meanwhile is started again, as it would be later, but not for ever."""
        waiting = [part for part in self._parts if part.child.name in SERVICES]
        while waiting:
            if asked():
                raise StopAskedError
            for part in self._parts:
                _refuse_endless_deaths(part)
                self._look_after(part)
            waiting = [part for part in waiting if not self._is_ready(part)]
            time.sleep(WATCH_SECONDS)

    def _is_ready(self, part: Part) -> bool:
        name = next(service for service in SERVICES if service == part.child.name)
        if not part.child.running:
            return False
        why = waiting_for(self._plan.ports[name])
        if why and time.monotonic() > part.started + READY_SECONDS:
            late = f"still waits for {why}: it was not ready within {READY_SECONDS:g} s"
            raise StartError(name, late, part.child.tail())
        return not why

    def _look_after(self, part: Part) -> None:
        if part.child.running:
            return
        now = time.monotonic()
        if part.due is None:
            self._note_death(part, now)
        elif now >= part.due:
            self._start_again(part)

    def _note_death(self, part: Part, now: float) -> None:
        part.deaths, pause = after_death(part.deaths, now - part.started)
        part.due = now + pause
        self._say(
            f"{part.child.name} {part.child.ending}; it is started again in {pause:g} s. "
            f"The end of {part.child.log.name}:\n{part.child.tail()}"
        )

    def _start_again(self, part: Part) -> None:
        part.started, part.due = time.monotonic(), None
        try:
            part.start()
        except StartError as trouble:
            # Its end is noted at the next look, like that of any other.
            self._say(str(trouble).splitlines()[0])
        else:
            self._say(f"{part.child.name} runs again (pid {part.child.pid})")


def _refuse_endless_deaths(part: Part) -> None:
    died = not part.child.running and part.due is None
    if died and part.deaths + 1 >= DEATHS_AT_START:
        why = f"{part.child.ending}, {DEATHS_AT_START} times in a row while it started"
        raise StartError(part.child.name, why, part.child.tail())


def waiting_for(port: int) -> str:
    """What a service says it is not ready for; empty when it is ready."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        page = answer.read()
    except (OSError, http.client.HTTPException):
        return "an answer on its port"
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return ""
    try:
        troubles = json.loads(page)["waiting_for"]
        return ", ".join(f"{name} ({why})" for name, why in troubles.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"something: /ready answers {answer.status}"
