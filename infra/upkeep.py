"""Keep an embedded nats-server able to store: start it again where it stays in error for no reason."""

import http.client
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.plan import after_death
from infra.ports import LOOPBACK

LOOK_SECONDS = 1.0
IN_ERROR_SECONDS = 3.0
"""How long it may be in error although its disk has room."""
ROOM_BYTES = 64 * 1024 * 1024
ROOM_SHARE = 0.05
"""Of a small disk: less is no room, and nats-server would stop again at the next write."""
ANSWER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Health:
    """How nats-server is: its error, none where it is well; and whether its disk has room."""

    error: str | None
    has_room: bool


@dataclass(slots=True)
class Upkeep:
    """Decides what becomes of a nats-server that is in error. Times in seconds, of any one clock."""

    failing_since: float | None = None
    restarts: int = 0
    not_before: float = 0.0
    said: str = ""

    def decide(self, health: Health, now: float) -> tuple[bool, str]:
        """Whether to start it again, and what to say of it: nothing where that was said already."""
        if health.error is None:
            well = "nats-server stores again" if self.failing_since is not None else ""
            self.failing_since, self.said = None, ""
            return False, well
        if not health.has_room:
            self.failing_since = now  # counted from when there is room
            line = (
                f"nats-server cannot store ({health.error}): it is started again once there is room"
            )
            return False, self._new(line)
        if self.failing_since is None:
            self.failing_since = now
        if now < max(self.failing_since + IN_ERROR_SECONDS, self.not_before):
            return False, ""
        self.restarts, pause = after_death(self.restarts, now - self.not_before)
        self.not_before, self.failing_since, self.said = now + pause, now, ""
        why = f"({health.error})"
        return True, f"nats-server stays in error though there is room {why}: it is started again"

    def _new(self, line: str) -> str:
        if self.said:  # the stream that it names first may be another at each look
            return ""
        self.said = line
        return line


def health_of(port: int, folder: Path) -> Health | None:
    """What nats-server's monitoring port says; none where it does not answer."""
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
    """Whether there is enough of the disk left to go on."""
    disk = shutil.disk_usage(folder)
    return disk.free >= min(ROOM_BYTES, disk.total * ROOM_SHARE)


def _error(status: int, page: bytes) -> str | None:
    """The reason, without the files that it names before it."""
    if status == http.client.OK:
        return None
    try:
        return str(json.loads(page)["error"]).rpartition(": ")[2]
    except (ValueError, KeyError, TypeError):
        return f"/healthz answers {status}"


class Sparse:
    """Lets something be done at most once in so many seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next = 0.0

    def is_due(self) -> bool:
        """Whether it is time; then it is not for as long."""
        if self._clock() < self._next:
            return False
        self._next = self._clock() + self._seconds
        return True
