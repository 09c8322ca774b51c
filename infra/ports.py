"""Ports of this machine: find a free one, and the process that uses a taken one."""

import secrets
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the range of ephemeral ports of Linux: a restarted server finds its port still free.
_LOWEST, _HIGHEST = 20_000, 32_000


class NoFreePortError(Exception):
    """None of a hundred ports could be bound."""


_given: deque[int] = deque(maxlen=1000)
"""Who was given a port may not listen yet."""


def free_port() -> int:
    """A port that no process listens on now, another one at each call. Raises NoFreePortError."""
    for _ in range(100):
        port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
        if port not in _given and is_free(port):
            _given.append(port)
            return port
    raise NoFreePortError(f"no free port between {_LOWEST} and {_HIGHEST}")


def free_ports(count: int) -> list[int]:
    """So many different ports that no process listens on now. Raises NoFreePortError."""
    return [free_port() for _ in range(count)]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


def holder(port: int) -> str:
    """The process that listens on a port: pid and command where the system shows them."""
    inodes = {
        inode
        for table in ("tcp", "tcp6")
        if (page := Path("/proc/net") / table).exists()
        for inode in listening_inodes(page.read_text(), port)
    }
    for process in _processes() if inodes else ():
        if _sockets(process) & inodes:
            return f"pid {process.name} ({_command(process)})"
    return "another process"


def listening_inodes(table: str, port: int) -> set[str]:
    """The sockets that listen on a port, from a page like /proc/net/tcp."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return {
        row[9]
        for row in rows
        if len(row) > 9 and row[3] == "0A" and row[1].rpartition(":")[2] == f"{port:04X}"
    }


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _sockets(process: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                target = str(descriptor.readlink())
            except OSError:  # closed since it was listed
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:  # ended, or another user's
        return found
    return found


def _command(process: Path) -> str:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended since"
    return " ".join(words).strip()[:120]
