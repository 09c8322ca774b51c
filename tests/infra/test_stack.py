import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.child_process import StartError, StopRequestedError
from infra.credentials.embedded import OPERATOR, Credentials
from infra.nats_cluster import request
from infra.plan import Plan, Service, build_plan
from infra.ports import free_port, is_free
from infra.servers import MongoServer, NatsServer
from infra.stack import InUseError, Stack, owning, require_free_ports, waiting_for

READY = """
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response({status})
        self.end_headers()
        self.wfile.write(b'{{"waiting_for": {{"nats": "away"}}}}')
    def log_message(self, *_): pass
print("pid", os.getpid(), flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["{port}"])), Page).serve_forever()
"""

NOTHING = [sys.executable, "-c", ""]
"""Instead of the program that makes the streams, where no NATS is run."""


def stand_in(service: Service, status: int = 200) -> list[str]:
    """A service that does nothing but answer /ready on its port."""
    code = READY.format(port=f"{service.upper()}_PORT", status=status)
    return [sys.executable, "-c", code]


def plan_for(data: Path, **given: str) -> Plan:
    names = ("TRANSPORT_PORT", "METRICS_PORT", "ORCHESTRATOR_PORT", "PERSISTENCE_PORT", "NATS_PORT")
    ports = {name: str(free_port()) for name in names}
    return build_plan({**ports, "DATA_DIR": str(data), **given})


def without_servers(data: Path) -> Plan:
    return plan_for(data, NATS_URL="nats://unused", MONGODB_URI="mongodb://unused")


def test_a_second_run_on_the_same_data_is_refused_by_pid(tmp_path: Path) -> None:
    second = (
        "import sys; from pathlib import Path; from infra.stack import *\n"
        f"try:\n  with owning(Path({str(tmp_path)!r})): pass\n"
        "except InUseError as refusal: print(refusal)"
    )
    with owning(tmp_path):
        told = subprocess.run(
            [sys.executable, "-c", second], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    assert f"in use by another run (pid {os.getpid()})" in told
    assert "DATA_DIR" in told
    with owning(tmp_path):
        pass


def test_a_taken_port_is_told_by_holder_and_variable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        plan = plan_for(tmp_path, METRICS_PORT=str(port))
        with pytest.raises(InUseError, match=rf"port {port} for metrics .*: set METRICS_PORT"):
            require_free_ports(plan)


def test_a_service_that_dies_is_started_again_and_we_say_so(tmp_path: Path) -> None:
    said: list[str] = []
    again = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "metrics runs again" in line:
            again.set()

    plan = without_servers(tmp_path)
    stack = Stack(plan, os.environ, say, stand_in, NOTHING)
    try:
        stack.start(lambda: False)
        log = plan.logs / "metrics.log"
        os.kill(int(log.read_text().split()[1]), signal.SIGKILL)
        stack.watch(again.is_set)
    finally:
        stack.stop()
    assert said[0].startswith("metrics was ended by SIGKILL; it is started again in 0.25 s")
    assert "pid" in said[0]
    assert all(is_free(port) for port in plan.ports.values())


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    def broken(service: Service) -> list[str]:
        wrong = [sys.executable, "-c", "raise SystemExit('no such setting')"]
        return wrong if service == "orchestrator" else stand_in(service)

    stack = Stack(without_servers(tmp_path), os.environ, print, broken, NOTHING)
    try:
        with pytest.raises(
            StartError,
            match=r"(?s)orchestrator ended with code 1, 3 times in a row .*no such setting",
        ):
            stack.start(lambda: False)
    finally:
        stack.stop()


def test_a_service_that_dies_while_it_starts_is_started_again_and_we_say_so(
    tmp_path: Path,
) -> None:
    once = tmp_path / "died once"

    def dies_once(service: Service) -> list[str]:
        if service != "metrics":
            return stand_in(service)
        dies = f"import pathlib, sys\nmark = pathlib.Path({str(once)!r})\n"
        dies += "if not mark.exists(): mark.touch(); sys.exit('the first time is hard')\n"
        return [sys.executable, "-c", dies + stand_in(service)[2]]

    said: list[str] = []
    stack = Stack(without_servers(tmp_path), os.environ, said.append, dies_once, NOTHING)
    try:
        stack.start(lambda: False)
    finally:
        stack.stop()
    died, again = said
    assert died.startswith("metrics ended with code 1; it is started again in 0.25 s")
    assert "the first time is hard" in died
    assert again.startswith("metrics runs again (pid ")


def test_a_service_that_is_never_ready_ends_the_start_with_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.stack.READY_SECONDS", 2.0)
    slow = lambda name: stand_in(name, status=503 if name == "metrics" else 200)  # noqa: E731
    stack = Stack(without_servers(tmp_path), os.environ, print, slow, NOTHING)
    try:
        with pytest.raises(StartError, match=r"metrics still waits for nats \(away\)"):
            stack.start(lambda: False)
    finally:
        stack.stop()


def test_a_service_that_is_not_ready_says_what_it_waits_for(tmp_path: Path) -> None:
    plan = without_servers(tmp_path)
    port = plan.ports["transport"]
    stack = Stack(plan, os.environ, print, lambda name: stand_in(name, status=503), NOTHING)
    assert waiting_for(port) == "an answer on its port"
    try:
        with pytest.raises(StopRequestedError):
            stack.start(lambda: waiting_for(port) == "nats (away)")
    finally:
        stack.stop()


def test_streams_that_a_service_misses_are_made_again_where_that_is_ours(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    ensure = [sys.executable, "-c", f"open({str(runs)!r}, 'a').write('x')"]
    misses = tmp_path / "misses"
    said: list[str] = []
    stack = Stack(without_servers(tmp_path), os.environ, said.append, missing_when(misses), ensure)
    try:
        stack.start(lambda: False)
        misses.touch()
        stack.watch(lambda: runs.read_text() == "xx")
    finally:
        stack.stop()
    assert (
        said[0] == "metrics waits for streams (stream KV_perf is missing): streams are made again"
    )


def missing_when(mark: Path) -> Callable[[Service], list[str]]:
    """Services of which metrics misses a stream once there is a file."""

    def command_of(service: Service) -> list[str]:
        code = stand_in(service)[2]
        if service == "metrics":
            code = code.replace("200", f"503 if os.path.exists({str(mark)!r}) else 200").replace(
                '{"nats": "away"}', '{"streams": "stream KV_perf is missing"}'
            )
        return [sys.executable, "-c", code]

    return command_of


def test_streams_that_cannot_be_made_end_the_start_before_any_service(tmp_path: Path) -> None:
    refused = [sys.executable, "-c", "raise SystemExit('no room for EVENTS')"]
    plan = without_servers(tmp_path)
    stack = Stack(plan, os.environ, print, stand_in, refused)
    with pytest.raises(StartError, match=r"(?s)streams ended with code 1.*no room for EVENTS"):
        stack.start(lambda: False)
    assert {log.name for log in plan.logs.iterdir()} == {"streams.log"}


def test_with_ensure_streams_off_nobody_makes_them(tmp_path: Path) -> None:
    refused = [sys.executable, "-c", "raise SystemExit('was run')"]
    plan = plan_for(
        tmp_path, NATS_URL="nats://u", MONGODB_URI="mongodb://u", ENSURE_STREAMS="false"
    )
    stack = Stack(plan, os.environ, print, stand_in, refused)
    try:
        stack.start(lambda: False)
    finally:
        stack.stop()


@pytest.mark.broker
@pytest.mark.mongo
def test_embedded_servers_start_with_the_services_and_keep_their_data(
    nats: NatsServer, mongo: MongoServer, tmp_path: Path
) -> None:
    assert nats.port != mongo.port  # both can run here
    plan = plan_for(tmp_path)
    for _ in range(2):
        stack = Stack(plan, os.environ, print, stand_in)
        try:
            stack.start(lambda: False)
            seed = Credentials(tmp_path).nats.seed(OPERATOR)
            assert stack.nats_url == f"nats://127.0.0.1:{plan.nats_port}"
            assert stack.mongodb_uri.startswith("mongodb://127.0.0.1:")
            assert request(plan.nats_port, "$JS.API.INFO", {}, seed)["streams"] > 0
        finally:
            stack.stop()
        assert is_free(plan.nats_port)
    assert (tmp_path / "nats" / "jetstream").is_dir()
    assert (tmp_path / "mongodb" / "WiredTiger").exists()
    assert "sync_interval: 10s" in (tmp_path / "nats" / "nats-server.conf").read_text()
    assert {log.name for log in plan.logs.iterdir()} >= {"nats-server.log", "mongod.log"}
