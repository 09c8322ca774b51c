"""CPU time and memory of processes and of all that they started, from /proc."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.process_memory import read_memory, shares

MEGABYTE = 1024**2
_TICKS = os.sysconf("SC_CLK_TCK")
_CHILDREN_USER, _CHILDREN_SYSTEM = 13, 14
"""Of the fields of /proc/PID/stat that follow the command's name: cutime and cstime."""


def tree(pid: int) -> list[int]:
    """The process and every process that descends from it, as of now."""
    found = [pid]
    for parent in found:
        found += _children(parent)
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]
    except OSError:  # ended meanwhile
        return []


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes so far, with that of children that have ended."""
    return sum(_own(pid) + _of_ended_children(pid) for pid in pids)


def _own(pid: int) -> float:
    """To the nanosecond: the clock of another process (clock_getcpuclockid), 10 ms in /proc."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # ended meanwhile
        return 0.0


def _of_ended_children(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[_CHILDREN_USER]) + int(fields[_CHILDREN_SYSTEM])) / _TICKS


def memory_bytes(pids: Iterable[int]) -> float:
    """Bytes in memory of a group of processes, each page of a file counted once."""
    found = {str(pid): read_memory(_smaps(pid)) for pid in pids}
    return sum(shares(found).values()) * MEGABYTE


def _smaps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/smaps").read_text()
    except OSError:  # ended meanwhile
        return ""


def folder_bytes(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def command(pid: int) -> str:
    """The command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
