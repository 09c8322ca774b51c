"""A disk of a test's own, small enough to be filled, and freed again."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.servers import NatsServer
from tests.conftest import missing

PAGE = 64 * 1024


class SmallDisk:
    """A file system in memory, mounted on `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Leave nothing free."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (PAGE, 1):
                try:
                    while True:
                        filler.write(b"\0" * size)
                except OSError:
                    continue

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Needs the right to mount, which root has and a container's root mostly has not."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("a disk that can be filled: `mount -t tmpfs` is not allowed here")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@pytest.fixture
def disk(nats: NatsServer, tmp_path: Path) -> Iterator[SmallDisk]:  # noqa: ARG001
    """The disk of `disk_nats`; asks for `nats` to be skipped where there is no nats-server."""
    with small_disk(tmp_path / "disk", 32) as found:
        yield found


@pytest.fixture
def disk_nats(disk: SmallDisk) -> Iterator[NatsServer]:
    """A nats-server whose disk can be filled."""
    server = NatsServer(disk.folder / "nats")
    server.start()
    yield server
    disk.free()
    server.stop()
