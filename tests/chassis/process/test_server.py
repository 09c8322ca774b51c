"""One process: its probes, settings, log lines and exit."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import httpx
import nats as nats_client
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from infra.child_process import Child, StartError
from infra.nats_cluster import request
from infra.ports import answers, free_port
from infra.servers import NatsServer
from services.chassis.streams.ensure import ensure_streams
from tests.forked import ForkedChild

pytestmark = [pytest.mark.broker]
ROOT = Path(__file__).parents[3]
SECONDS = 60.0


class Tiny:
    """The smallest service, as a process."""

    def __init__(self, folder: Path, *, forked: bool, **environment: str) -> None:
        self.port = free_port()
        given = {"TINY_PORT": f"{self.port}", "DRAIN_SECONDS": "3", **environment}
        module, log, variables = (
            "tests.chassis.minimal_service",
            folder / "tiny.log",
            {**os.environ, **given},
        )
        command = [sys.executable, "-m", module]
        self.child = (
            ForkedChild("tiny", module, log, variables)
            if forked
            else Child("tiny", command, log, environment=variables, folder=ROOT)
        )

    def get(self, page: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{page}")

    def until(self, holds: Callable[[], bool]) -> None:
        self.child.wait_until(holds, SECONDS)

    def until_ended(self) -> None:
        with pytest.raises(StartError):
            self.until(lambda: False)
        assert not self.child.running

    def until_ready(self) -> None:
        self.until(lambda: answers(self.port) and self.get("/ready").status_code == 200)


Start = Callable[..., AbstractContextManager[Tiny]]


@pytest.fixture
def start(tmp_path: Path, own_nats: NatsServer) -> Start:
    """Starts it as a program, with the start and exit of the interpreter."""
    return partial(_started, tmp_path, own_nats, forked=False)


@pytest.fixture
def fork(tmp_path: Path, own_nats: NatsServer) -> Start:
    """Starts it as a fork, where start and exit of the interpreter do not matter."""
    return partial(_started, tmp_path, own_nats, forked=True)


@contextmanager
def _started(folder: Path, nats: NatsServer, *, forked: bool, **environment: str) -> Iterator[Tiny]:
    tiny = Tiny(folder, forked=forked, **{"NATS_URL": nats.url, **environment})
    tiny.child.start()
    try:
        yield tiny
    finally:
        tiny.child.kill()


def test_a_service_is_alive_ready_and_measured(fork: Start) -> None:
    with fork() as tiny:
        tiny.until_ready()
        assert tiny.get("/health").json() == {"status": "ok"}
        assert tiny.get("/ready").json() == {"ready": True, "waiting_for": {}, "open": 0}
        metrics = tiny.get("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain")
        assert "tiny_starts_total 1.0" in metrics.text


def test_a_service_exits_with_0_on_sigterm(start: Start) -> None:
    with start() as tiny:
        tiny.until_ready()
        assert tiny.child.stop(SECONDS)
        assert tiny.child.ending == "ended with code 0"
        assert not answers(tiny.port)


def test_a_service_with_work_that_cannot_be_cancelled_exits_all_the_same(start: Start) -> None:
    with start(STUBBORN="true", DRAIN_SECONDS="1") as tiny:
        tiny.until_ready()
        assert tiny.child.stop(SECONDS)
        assert tiny.child.ending == "ended with code 0"
        assert "did not stop within DRAIN_SECONDS" in tiny.child.written()


def test_a_service_exits_with_0_after_repeated_signals(start: Start) -> None:
    with start() as tiny:
        tiny.until_ready()
        while tiny.child.running:
            tiny.child.ask_to_stop()
            time.sleep(0.001)
        assert tiny.child.ending == "ended with code 0"


def test_a_service_that_nats_rejects_says_why_in_the_log_and_in_readiness(
    fork: Start, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.creds"
    with fork(NATS_URL=f"nats://127.0.0.1:{free_port()}", NATS_CREDENTIALS_FILE=str(gone)) as tiny:
        tiny.until(lambda: answers(tiny.port))
        tiny.until(lambda: "refused" in tiny.get("/ready").text)
        time.sleep(1)  # several attempts
        assert tiny.child.stop(SECONDS)
        starting, refused, stopped = tiny.child.written().splitlines()
    assert "starting" in starting
    assert "connection refused; retrying" in refused
    assert "stopped" in stopped


def test_a_service_that_waits_for_nats_is_alive_but_not_ready(
    fork: Start, own_nats: NatsServer
) -> None:
    own_nats.stop()
    with fork() as tiny:
        tiny.until(lambda: answers(tiny.port))
        assert tiny.get("/health").status_code == 200
        waiting = tiny.get("/ready")
        assert waiting.status_code == 503
        assert waiting.json()["ready"] is False
        tiny.until(lambda: "nats" in tiny.get("/ready").json()["waiting_for"])
        tiny.until(lambda: "refused" in tiny.get("/ready").json()["waiting_for"]["nats"])
        assert tiny.get("/ready").json()["waiting_for"] == {
            "startup": "still starting",
            "nats": f"NATS is unavailable: NATS_URL {own_nats.url}: connection refused",
        }
        assert tiny.get("/anything").status_code == 503
        with pytest.raises(InvalidStatus) as refused:  # a client comes back after a 503 only
            connect(f"ws://127.0.0.1:{tiny.port}/anything")
        assert refused.value.response.status_code == 503
        own_nats.start()
        tiny.until_ready()


def test_a_service_that_waits_for_nats_exits_with_0_on_sigterm(
    start: Start, own_nats: NatsServer
) -> None:
    own_nats.stop()
    with start() as tiny:
        tiny.until(lambda: answers(tiny.port))
        assert tiny.child.stop(SECONDS)
        assert tiny.child.ending == "ended with code 0"


def test_a_service_that_lost_nats_says_so_and_recovers(fork: Start, own_nats: NatsServer) -> None:
    with fork() as tiny:
        tiny.until_ready()
        own_nats.kill()
        tiny.until(lambda: tiny.get("/ready").status_code == 503)
        why = tiny.get("/ready").json()["waiting_for"]["nats"]
        assert why.startswith(f"NATS is unavailable: NATS_URL {own_nats.url}: ")
        assert tiny.get("/health").status_code == 200
        own_nats.start()
        tiny.until_ready()


def in_streams(server: NatsServer, verb: str, stream: str, **config: object) -> None:
    body = {"name": stream, "subjects": ["mozaiks.evt.>"], "retention": "limits", **config}
    answer = request(server.port, f"$JS.API.STREAM.{verb}.{stream}", body)
    assert "error" not in answer, answer


def ensured(server: NatsServer) -> None:
    async def ensure() -> None:
        nc = await nats_client.connect(server.url)
        await ensure_streams(nc, replicas=1)
        await nc.close()

    asyncio.run(ensure())


def test_a_service_that_may_not_create_streams_waits_and_names_them(
    fork: Start, own_nats: NatsServer
) -> None:
    with fork(ENSURE_STREAMS="false") as tiny:
        tiny.until(lambda: "streams differ from their definitions" in tiny.child.written())
        waiting = tiny.get("/ready")
        assert waiting.status_code == 503
        assert "stream EVENTS is missing" in waiting.json()["waiting_for"]["streams"]
        assert tiny.get("/health").status_code == 200
        assert request(own_nats.port, "$JS.API.INFO", {})["streams"] == 0
        ensured(own_nats)
        tiny.until_ready()
        assert "streams_at_start" not in tiny.get("/ready").json()
        assert tiny.child.written().count("streams differ from their definitions") == 1


def test_a_service_that_waits_for_streams_exits_with_0_on_sigterm(start: Start) -> None:
    with start(ENSURE_STREAMS="false") as tiny:
        tiny.until(lambda: "stream EVENTS is missing" in tiny.child.written())
        assert tiny.child.stop(SECONDS)
        assert tiny.child.ending == "ended with code 0"


def test_a_service_waits_for_the_streams_that_it_needs_and_for_no_other(
    fork: Start, own_nats: NatsServer
) -> None:
    with fork(ENSURE_STREAMS="false", NEEDS='["EVENTS"]') as tiny:
        tiny.until(lambda: "stream EVENTS is missing" in tiny.child.written())
        assert tiny.get("/ready").json()["waiting_for"]["streams"] == "stream EVENTS is missing"
        in_streams(own_nats, "CREATE", "EVENTS")  # it exists, and is unusable
        tiny.until(lambda: "allow_direct" in tiny.get("/ready").json()["waiting_for"]["streams"])
        ensured(own_nats)
        tiny.until_ready()


def test_a_service_that_can_work_with_what_differs_is_ready_and_says_so(
    fork: Start, own_nats: NatsServer
) -> None:
    ensured(own_nats)
    with fork(ENSURE_STREAMS="false", NEEDS='["EVENTS"]', STREAM_REPLICAS="3") as tiny:
        tiny.until_ready()
        differing = ["EVENTS.num_replicas is 1, 3 is needed"]
        assert tiny.get("/ready").json()["streams_at_start"] == differing
        assert differing[0] in tiny.child.written()


def test_a_service_that_cannot_start_exits_with_3_and_the_reason(start: Start) -> None:
    with start(START_FAILS="true") as tiny:
        tiny.until_ended()
        assert tiny.child.ending == "ended with code 3"
        assert "the coffee is cold" in tiny.child.written()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LOG_LEVEL", "LOUD"),
        ("STREAM_REPLICAS", "9"),
        ("DRAIN_SECONDS", "0"),
        ("TINY_PORT", "door"),
    ],
)
def test_an_invalid_setting_ends_the_process_and_is_named(
    start: Start, variable: str, value: str
) -> None:
    with start(**{variable: value}) as tiny:
        tiny.until_ended()
        assert tiny.child.ending == "ended with code 1"
        assert variable.lower() in tiny.child.written()


def test_every_line_of_a_json_log_is_an_object_with_its_service(fork: Start) -> None:
    with fork(LOGS_AS_JSON="true") as tiny:
        tiny.until_ready()
        tiny.child.stop(SECONDS)
        lines = [json.loads(line) for line in tiny.child.written().splitlines()]
    assert {line["service"] for line in lines} == {"tiny"}
    [starting] = [line for line in lines if line["msg"] == "starting"]
    assert (starting["port"], starting["host"]) == (tiny.port, "127.0.0.1")
    assert lines[-1]["msg"] == "stopped"
    assert all({"ts", "level", "logger"} <= set(line) for line in lines)
