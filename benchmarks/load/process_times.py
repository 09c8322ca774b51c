"""How much processor a process used and waited for, and on which cores it may run (Linux)."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

NANOSECOND = 1e-9
TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of processor that a process used, those of them in system calls, and seconds that its
    threads were ready to run and waited for a core."""

    used: float
    in_system_calls: float
    waited: float

    def __sub__(self, earlier: Self) -> "Times":
        return Times(
            self.used - earlier.used,
            self.in_system_calls - earlier.in_system_calls,
            max(self.waited - earlier.waited, 0.0),
        )


def times_of(pid: int) -> Times:
    """Since the start of the process. Threads that have ended count in what was used only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system = (TICK_SECONDS * int(ticks) for ticks in fields[11:13])
    return Times(user + system, system, NANOSECOND * sum(map(_waited, _threads(pid))))


def pin(pid: int, cores: frozenset[int]) -> None:
    """Let all threads of a process use these cores only, and those that they start."""
    for thread in _threads(pid):
        with suppress(ProcessLookupError):  # it has ended
            os.sched_setaffinity(thread, cores)


def _threads(pid: int) -> list[int]:
    return [int(thread.name) for thread in Path(f"/proc/{pid}/task").iterdir()]


def _waited(thread: int) -> int:
    """Nanoseconds; 0 for a thread that has ended."""
    try:
        return int(Path(f"/proc/{thread}/schedstat").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
