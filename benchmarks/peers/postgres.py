"""PostgreSQL for the peers: on the loopback, with fsync, as a user without privileges."""

import os
import pwd
from pathlib import Path

from benchmarks.peers import place, processes
from infra.child_process import Child, StartError, never
from infra.ports import LOOPBACK, free_port

READY_SECONDS = 30.0
STOP_SECONDS = 20.0
CONNECTIONS = 200
USER = "peers"
_READY = "ready to accept connections"
_UNPRIVILEGED = "nobody"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": str(CONNECTIONS),
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
}


class Postgres:
    """A server with a cluster of its own in `folder`; logs go beside that folder.

    Everyone must be able to enter the folders above. `start` raises InstallError, StartError.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.data = folder / "data"
        self._root = place.postgres()
        self.child = self._child(
            "postgres", "-D", str(self.data), "-p", str(self.port), *_options()
        )

    def start(self) -> None:
        """Return once it takes connections."""
        self.folder.mkdir(parents=True)
        if os.geteuid() == 0:
            user = pwd.getpwnam(_UNPRIVILEGED)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        made = self._child("initdb", "-D", str(self.data), "-U", USER, "--auth=trust", "-E", "UTF8")
        made.run_to_end(READY_SECONDS, never)
        self.child.start()
        self.child.wait_until(lambda: _READY in self.child.written(), READY_SECONDS)

    def create(self, database: str) -> str:
        """Create a database; returns its URL."""
        self._child("createdb", *self._address(), database).run_to_end(READY_SECONDS, never)
        return f"postgresql://{USER}@{LOOPBACK}:{self.port}/{database}"

    def database_bytes(self, database: str) -> int:
        """Bytes of a database's tables and indexes."""
        query = f"SELECT pg_database_size('{database}')"
        asked = self._child("psql", *self._address(), "-d", database, "-At", "-c", query)
        asked.run_to_end(READY_SECONDS, never)
        return int(asked.written())

    def pids(self) -> list[int]:
        return processes.tree(self.child.pid)

    def stop(self) -> None:
        self.child.stop(STOP_SECONDS)

    def _address(self) -> list[str]:
        return ["-h", LOOPBACK, "-p", str(self.port), "-U", USER]

    def _child(self, program: str, *arguments: str) -> Child:
        binary = next(self._root.glob(f"usr/lib/postgresql/*/bin/{program}"), None)
        if binary is None:
            raise StartError(program, f"is not in {self._root}")
        libraries = ":".join(map(str, self._root.glob("usr/lib/*-linux-gnu")))
        return Child(
            program,
            [*_as_unprivileged(), str(binary), *arguments],
            self.folder.with_name(f"{self.folder.name}-{program}.log"),
            environment={"PATH": os.environ["PATH"], "LC_ALL": "C", "LD_LIBRARY_PATH": libraries},
            folder=self.folder,
        )


def _options() -> list[str]:
    return [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]


def _as_unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(_UNPRIVILEGED)
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    return ["setpriv", *ids, "--pdeathsig=TERM"]
