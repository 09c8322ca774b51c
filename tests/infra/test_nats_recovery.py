"""When an embedded nats-server that is in error is started again, and when it is not."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from infra.nats_recovery import (
    IN_ERROR_SECONDS,
    Health,
    NatsRecovery,
    Throttle,
    has_room,
    health_of,
)
from infra.ports import free_port
from tests.disks import small_disk

WELL = Health(None, has_room=True)
FULL = Health("no space left on device", has_room=False)
FREED = Health("no space left on device", has_room=True)
CANNOT = (
    "nats-server cannot store (no space left on device): it is started again once there is room"
)
AGAIN = (
    "nats-server stays in error though there is room (no space left on device): it is started again"
)
BACK = "nats-server stores again"


def story(*steps: tuple[float, Health]) -> list[tuple[bool, str]]:
    upkeep = NatsRecovery()
    return [upkeep.decide(health, now) for now, health in steps]


def test_one_that_is_well_is_left_alone() -> None:
    assert story((0, WELL), (1, WELL)) == [(False, ""), (False, "")]


def test_on_a_full_disk_it_is_left_alone_and_that_is_said_once() -> None:
    told = story(*((second, FULL) for second in range(100)))
    assert told == [(False, CANNOT), *[(False, "")] * 99]


def test_with_room_again_it_is_started_once_it_had_time_to_recover() -> None:
    room = 50.0
    told = story(
        (room - 1, FULL),
        (room, FREED),
        (room + 1, FREED),
        (room + IN_ERROR_SECONDS, FREED),
        (room + IN_ERROR_SECONDS + 1, WELL),
        (room + IN_ERROR_SECONDS + 2, WELL),
    )
    assert told[0] == (False, CANNOT)
    assert told[1:] == [(False, ""), (False, ""), (True, AGAIN), (False, BACK), (False, "")]


def test_one_that_no_start_helps_is_started_ever_less_often() -> None:
    upkeep = NatsRecovery()
    starts = [now for now in range(200) if upkeep.decide(FREED, now)[0]]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert pauses[0] == IN_ERROR_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0]


@contextmanager
def monitoring(status: int, body: bytes) -> Iterator[int]:
    """A port that answers like nats-server's."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/healthz"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, b'{"status":"ok"}', None),
        (
            503,
            b'{"error":"stream \'$G > E\' write error: write /d/1.blk: no space left"}',
            "no space",
        ),
        (503, b"garbage", "/healthz answers 503"),
        (500, b"[]", "/healthz answers 500"),
    ],
)
def test_the_monitoring_port_is_understood(
    tmp_path: Path, status: int, body: bytes, error: str | None
) -> None:
    with monitoring(status, body) as port:
        health = health_of(port, tmp_path)
    assert health is not None
    assert (health.error or "").startswith(error or "")
    assert (health.error is None) == (error is None)
    assert "/d/" not in (health.error or "")


def test_nobody_on_the_monitoring_port_says_nothing(tmp_path: Path) -> None:
    assert health_of(free_port(), tmp_path) is None


def test_a_disk_has_room_only_where_it_is_worth_while(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8) as disk:
        found = [has_room(disk.folder)]
        disk.fill()
        found.append(has_room(disk.folder))
        disk.free()
        found.append(has_room(disk.folder))
    assert found == [True, False, True]


def test_sparse_is_due_once_in_its_time() -> None:
    times = iter((10.0, 10.0, 11.0, 12.0, 12.0, 12.5))
    sparse = Throttle(2.0, lambda: next(times))
    assert [sparse.is_due() for _ in range(4)] == [True, False, True, False]
