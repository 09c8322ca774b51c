"""The product as processes of this machine: started in order, restarted when they end, stopped."""

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
from typing import TextIO

import portalocker
from portalocker import LockException, LockFlags

from infra.child_process import Child, StartError, StopRequested, StopRequestedError
from infra.credentials.embedded import OPERATOR, Credentials
from infra.credentials.mongo_users import PERSISTENCE, RIGHTS
from infra.mongo_provision import PROGRAM, MongoProvision
from infra.nats_recovery import CHECK_SECONDS, NatsRecovery, Throttle, health_of
from infra.plan import (
    SERVICES,
    Plan,
    Service,
    backoff_after_exit,
    environment_of,
    environment_of_ensure,
)
from infra.ports import LOOPBACK, free_port, holder, is_free
from infra.servers import MongoServer, NatsServer

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 60.0
MAX_EXITS_AT_START = 3
"""After so many exits of one process while the product starts, the start fails."""
STOP_SECONDS = 12.0
ENSURE_SECONDS = 60.0
WATCH_SECONDS = 0.1
RELOAD_CHECK_SECONDS = 1.0
"""Between two looks for renewed credentials."""
STREAMS_CHECK_SECONDS = 1.0
"""Between two checks of what a service waits for, each time another one."""
IS_MISSING = "is missing"
"""The text by which a service reports a missing stream."""
ENSURE = (sys.executable, "-m", "services.chassis.streams", "ensure")
"""Creates and upgrades the streams: a program, because infra does not import the services."""

Say = Callable[[str], None]


class InUseError(Exception):
    """A port or the data folder is in use; the message says by what, and what to change."""


@dataclass(slots=True)
class Part:
    """A process to keep running. `due`: when to restart it, on the monotonic clock."""

    child: Child
    start: Callable[[], None]
    started: float
    exits: int = 0
    due: float | None = None


@contextmanager
def owning(data: Path) -> Iterator[None]:
    """Lock the data folder. Raises InUseError."""
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)  # also one of an earlier version
    with (data / "lock").open("a+") as lock:
        try:
            portalocker.lock(lock, LockFlags.EXCLUSIVE | LockFlags.NON_BLOCKING)
        except LockException:
            pid = _owner(lock)
            raise InUseError(
                f"the data folder {data} is in use by another run (pid {pid}): "
                "stop that one, or set DATA_DIR to another folder"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _owner(lock: TextIO) -> str:
    try:
        lock.seek(0)
        return lock.read().strip() or "unknown"
    except OSError:  # on Windows a locked file cannot be read
        return "unknown"


def require_free_ports(plan: Plan) -> None:
    """Raises InUseError with every port in use, the process that uses it and the variable to set."""
    taken = [
        f"port {one.port} for {one.name} is taken by {holder(one.port)}: set {one.variable}"
        for one in plan.listeners()
        if not is_free(one.port)
    ]
    if taken:
        raise InUseError("\n".join(taken))


def command_of(service: Service) -> list[str]:
    return [sys.executable, "-m", f"services.{service}"]


class Stack:
    """Embedded servers where none are given, and the four services."""

    def __init__(
        self,
        plan: Plan,
        environ: Mapping[str, str],
        say: Say,
        command_of: Callable[[Service], list[str]] = command_of,
        ensure: Sequence[str] = ENSURE,
        mongo_users: Sequence[str] = PROGRAM,
    ) -> None:
        self._plan = plan
        self._command_of = command_of
        self._ensure = list(ensure)
        self._mongo_users = list(mongo_users)
        self._environ = environ
        self._say = say
        self._parts: list[Part] = []
        self._nats: NatsServer | None = None
        self._mongo: MongoServer | None = None
        self._upkeep = NatsRecovery()
        self._health_check = Throttle(CHECK_SECONDS)
        self._streams_check = Throttle(STREAMS_CHECK_SECONDS)
        self._checked_service = cycle(SERVICES)
        self._ensuring: Child | None = None
        self._credentials = Credentials(plan.data, tls=plan.secure)
        self._reload_check = Throttle(RELOAD_CHECK_SECONDS)
        self._loaded: tuple[int, ...] = ()

    @property
    def nats_url(self) -> str:
        return self._plan.nats_url or (self._nats.url if self._nats else "")

    @property
    def mongodb_uri(self) -> str:
        return self._plan.mongodb_uri or (self._mongo.uri if self._mongo else "")

    def start(self, stop_requested: StopRequested) -> None:
        """Return once every service is ready. Raises StartError, MissingServerError, StopRequestedError.

        Whatever it raises, `stop` has to be called.
        """
        self._start_servers(stop_requested)
        self._write_operator_file()
        if self._mongo is not None:
            self._provision(self._mongo).ensure(stop_requested)
        if self._plan.ensure_streams:
            self._ensure_streams(stop_requested)
        for name in SERVICES:
            child = self._service(name)
            self._keep(child, child.start)
        self._wait_until_ready(stop_requested)

    def watch(self, stop_requested: StopRequested) -> None:
        """Restart what ends, until a stop is requested. May raise StopRequestedError."""
        while not stop_requested():
            for part in self._parts:
                self._restart_if_exited(part)
            if self._nats is not None and self._health_check.is_due():
                self._recover_nats(self._nats)
            if self._nats is not None and self._reload_check.is_due():
                self._reload_credentials(self._nats)
            if self._plan.ensure_streams and self._streams_check.is_due():
                self._restore_streams(next(self._checked_service))
            time.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """Stop the services first, so that they can hand over their work; then the servers."""
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

    def _start_servers(self, stop_requested: StopRequested) -> None:
        plan = self._plan
        self._credentials.ensure()
        if plan.nats_url is None:
            log = plan.logs / "nats-server.log"
            self._loaded = self._credential_versions()
            self._nats = NatsServer(
                plan.data / "nats",
                port=plan.nats_port,
                sync_interval=plan.nats_sync_interval,
                log=log,
                monitor_port=free_port(),
                options=self._credentials.nats_options(plan.data / "nats"),
            )
            self._keep(self._nats.child, partial(self._nats.start, stop_requested))
        if plan.mongodb_uri is None:
            log = plan.logs / "mongod.log"
            self._mongo = MongoServer(
                plan.data / "mongodb",
                port=plan.mongo_port,
                log=log,
                options=self._credentials.mongo_options(),
            )
            self._keep(self._mongo.child, partial(self._mongo.start, stop_requested))

    def _provision(self, mongo: MongoServer) -> MongoProvision:
        """Before a first service signs in."""
        log = self._plan.logs / "mongodb-users.log"
        rights = {name: self._environ[name] for name in RIGHTS if name in self._environ}
        return MongoProvision(
            self._credentials, mongo.folder, mongo.port, rights, log, self._mongo_users
        )

    def _ensure_streams(self, stop_requested: StopRequested) -> None:
        """Once, before the services, which start at the same time."""
        self._ensure_process().run_to_end(ENSURE_SECONDS, stop_requested)

    def _ensure_process(self) -> Child:
        return Child(
            "streams",
            self._ensure,
            (self._plan.logs / "streams.log").resolve(),
            environment=environment_of_ensure(self._plan, self._environ, nats_url=self.nats_url)
            | self._sign_in("streams"),
            folder=ROOT,
        )

    def _restore_streams(self, name: Service) -> None:
        """Create deleted streams again: the services only report that they are missing."""
        if self._ensuring is not None and self._ensuring.running:
            return
        why = waiting_for(self._plan.ports[name])
        if IS_MISSING in why:
            self._say(f"{name} waits for {why}: streams are made again")
            self._ensuring = self._ensure_process()
            self._ensuring.start()

    def _recover_nats(self, nats: NatsServer) -> None:
        health = health_of(nats.monitor_port, nats.folder) if nats.child.running else None
        if (
            health is None
        ):  # it starts or is paused; after an exit it is restarted like any other process
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
        variables = environment_of(
            name, self._plan, self._environ, nats_url=self.nats_url, mongodb_uri=self.mongodb_uri
        )
        if self._mongo is not None and name == PERSISTENCE:
            variables |= self._credentials.mongo_environment_of(PERSISTENCE, self._mongo.port)
        return Child(
            name,
            self._command_of(name),
            (self._plan.logs / f"{name}.log").resolve(),
            environment=variables | self._sign_in(name),
            folder=ROOT,
        )

    def _sign_in(self, user: str) -> dict[str, str]:
        return {} if self._nats is None else self._credentials.environment_of(user)

    def _write_operator_file(self) -> None:
        """Addresses change from one start to the next. Commands on MongoDB are persistence's own."""
        variables: dict[str, str] = {}
        if self._nats is not None:
            variables |= {"NATS_URL": self._nats.url, **self._sign_in(OPERATOR)}
        if self._mongo is not None:
            variables |= self._credentials.mongo_environment_of(PERSISTENCE, self._mongo.port)
            variables |= {name: self._environ[name] for name in RIGHTS if name in self._environ}
        self._credentials.write_operator_file(variables)

    def _reload_credentials(self, nats: NatsServer) -> None:
        """Let nats-server read renewed users and certificates. Services sign in with theirs again."""
        versions = self._credential_versions()
        if versions == self._loaded or not nats.child.running:
            return
        self._loaded = versions
        nats.reload()
        self._say("credentials were renewed: nats-server reads them again")

    def _credential_versions(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._credentials.files())

    def _wait_until_ready(self, stop_requested: StopRequested) -> None:
        """A process that ends meanwhile is restarted as later, but only MAX_EXITS_AT_START times."""
        waiting = [part for part in self._parts if part.child.name in SERVICES]
        while waiting:
            if stop_requested():
                raise StopRequestedError
            for part in self._parts:
                _refuse_endless_exits(part)
                self._restart_if_exited(part)
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

    def _restart_if_exited(self, part: Part) -> None:
        if part.child.running:
            return
        now = time.monotonic()
        if part.due is None:
            self._report_exit(part, now)
        elif now >= part.due:
            self._start_again(part)

    def _report_exit(self, part: Part, now: float) -> None:
        part.exits, pause = backoff_after_exit(part.exits, now - part.started)
        part.due = now + pause
        self._say(
            f"{part.child.name} {part.child.ending}; it is started again in {pause:g} s. "
            f"The end of {part.child.log.name}:\n{part.child.tail()}"
        )

    def _start_again(self, part: Part) -> None:
        part.started, part.due = time.monotonic(), None
        try:
            part.start()
        except StartError as error:
            # The next check reports its end, as that of any other.
            self._say(str(error).splitlines()[0])
        else:
            self._say(f"{part.child.name} runs again (pid {part.child.pid})")


def _refuse_endless_exits(part: Part) -> None:
    exited = not part.child.running and part.due is None
    if exited and part.exits + 1 >= MAX_EXITS_AT_START:
        why = f"{part.child.ending}, {MAX_EXITS_AT_START} times in a row while it started"
        raise StartError(part.child.name, why, part.child.tail())


def waiting_for(port: int) -> str:
    """What a service reports to wait for; empty when it is ready."""
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
        problems = json.loads(page)["waiting_for"]
        return ", ".join(f"{name} ({why})" for name, why in problems.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"something: /ready answers {answer.status}"
