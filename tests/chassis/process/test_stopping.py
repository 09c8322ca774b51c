"""SIGTERM to the four services, in whatever state their servers are."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.child_process import Child
from infra.plan import SERVICES, Service
from infra.ports import free_port
from infra.servers import MongoServer, NatsServer
from infra.stack import waiting_for
from tests.chassis.story import freeze, thaw
from tests.forked import ForkedChild

pytestmark = [
    pytest.mark.broker,
    pytest.mark.mongo,
    pytest.mark.system,
    pytest.mark.timeout(180),
]
ROOT = Path(__file__).parents[3]
DRAIN_SECONDS = 3.0
PATIENCE = 60.0
Server = NatsServer | MongoServer
Build = Callable[[Service, Path, dict[str, str]], Child]


def program(name: Service, log: Path, environment: dict[str, str]) -> Child:
    command = [sys.executable, "-m", f"services.{name}"]
    return Child(name, command, log, environment=environment, folder=ROOT)


def fork(name: Service, log: Path, environment: dict[str, str]) -> Child:
    return ForkedChild(name, f"services.{name}", log, environment)


@contextmanager
def services(
    folder: Path, nats: NatsServer, mongo: MongoServer, build: Build
) -> Iterator[dict[Service, Child]]:
    ports = {f"{name.upper()}_PORT": str(free_port()) for name in SERVICES}
    environment = {
        **os.environ,
        **ports,
        "NATS_URL": nats.url,
        "MONGODB_URI": mongo.uri,
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
    }
    started = {
        name: build(
            name, folder / f"{name}.log", {**environment, "PORT": ports[f"{name.upper()}_PORT"]}
        )
        for name in SERVICES
    }
    try:
        for child in started.values():
            child.start()
        for name, child in started.items():
            port = int(ports[f"{name.upper()}_PORT"])
            child.wait_until(lambda port=port: _settled(port), PATIENCE)  # type: ignore[misc]
        yield started
    finally:
        for child in started.values():
            child.kill()


def _settled(port: int) -> bool:
    """Ready, or known to wait for an unavailable server."""
    return waiting_for(port) == "" or "refused" in waiting_for(port)


def break_(server: Server, how: str) -> None:
    if how == "killed":
        server.kill()
    if how == "frozen":
        freeze(server.child)


@contextmanager
def server(server: Server, how: str) -> Iterator[Server]:
    if how != "never there":
        server.start()
    try:
        yield server
    finally:
        thaw(server.child)
        server.kill()


@pytest.mark.parametrize(
    ("of_nats", "of_mongo", "build"),
    [
        ("never there", "never there", fork),
        ("never there", "there", fork),
        ("killed", "there", fork),
        ("frozen", "there", fork),
        ("there", "never there", fork),
        ("there", "killed", fork),
        ("there", "frozen", fork),
        ("frozen", "frozen", program),
    ],
)
def test_all_four_services_exit_with_0_in_time_on_sigterm(
    nats: NatsServer,  # noqa: ARG001  decides what happens where there is none
    mongo: MongoServer,  # noqa: ARG001
    tmp_path: Path,
    of_nats: str,
    of_mongo: str,
    build: Build,
) -> None:
    own_nats, own_mongo = NatsServer(tmp_path / "nats"), MongoServer(tmp_path / "mongo")
    with (
        server(own_nats, of_nats),
        server(own_mongo, of_mongo),
        services(tmp_path, own_nats, own_mongo, build) as running,
    ):
        break_(own_nats, of_nats)
        break_(own_mongo, of_mongo)
        for child in running.values():
            child.ask_to_stop()
        # Each exits within DRAIN_SECONDS; the rest is for a busy machine.
        deadline = time.monotonic() + 2 * DRAIN_SECONDS + 4
        ended = {
            name: child.stop(max(deadline - time.monotonic(), 0.1)) and child.ending
            for name, child in running.items()
        }
        assert ended == dict.fromkeys(SERVICES, "ended with code 0")
        lines = [line for child in running.values() for line in child.written().splitlines()]
        assert [line for line in lines if "Traceback" in line or " ERROR " in line] == []
