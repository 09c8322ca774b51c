"""Restart an embedded nats-server that stays in error although its disk has free space."""

import http.client
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.plan import backoff_after_exit
from infra.ports import LOOPBACK

CHECK_SECONDS = 1.0
IN_ERROR_SECONDS = 3.0
"""How long it may be in error although its disk has free space."""
ROOM_BYTES = 64 * 1024 * 1024
ROOM_SHARE = 0.05
"""Of a small disk: with less, nats-server would fail again at the next write."""
ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """State of nats-server: its error, none where it is healthy; and whether its disk has free space."""

    error: str | None
    has_room: bool


@dataclass(slots=True)
class NatsRecovery:
    """Decides when to restart a nats-server that is in error. Times in seconds of one monotonic clock."""

    failing_since: float | None = None
    restarts: int = 0
    not_before: float = 0.0
    reported: str = ""

    def decide(self, health: Health, now: float) -> tuple[bool, str]:
        """Whether to restart it, and a line to print: empty where it was printed already."""
        if health.error is None:
            well = "nats-server stores again" if self.failing_since is not None else ""
            self.failing_since, self.reported = None, ""
            return False, well
        if not health.has_room:
            self.failing_since = now  # counted from when there is free space
            line = (
                f"nats-server cannot store ({health.error}): it is started again once there is room"
            )
            return False, self._new(line)
        if self.failing_since is None:
            self.failing_since = now
        if now < max(self.failing_since + IN_ERROR_SECONDS, self.not_before):
            return False, ""
        self.restarts, pause = backoff_after_exit(self.restarts, now - self.not_before)
        self.not_before, self.failing_since, self.reported = now + pause, now, ""
        why = f"({health.error})"
        return True, f"nats-server stays in error though there is room {why}: it is started again"

    def _new(self, line: str) -> str:
        if self.reported:  # each check may name another stream first
            return ""
        self.reported = line
        return line


def health_of(port: int, folder: Path) -> Health | None:
    """Health by nats-server's monitoring port; none where it does not answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        page = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return Health(_error(answer.status, page), has_room(folder))


def has_room(folder: Path) -> bool:
    """Whether the disk has enough free space to continue."""
    disk = shutil.disk_usage(folder)
    return disk.free >= min(ROOM_BYTES, disk.total * ROOM_SHARE)


def _error(status: int, page: bytes) -> str | None:
    """The reason, without the file names before it."""
    if status == http.client.OK:
        return None
    try:
        return str(json.loads(page)["error"]).rpartition(": ")[2]
    except (ValueError, KeyError, TypeError):
        return f"/healthz answers {status}"


class Throttle:
    """Allows something at most once in so many seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether the time has come; a True starts the next period."""
        if self._clock() < self._next:
            return False
        self._next = self._clock() + self._seconds
        return True
