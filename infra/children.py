"""A process that is ours: started with a log of its own, watched, and ended with us."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

LOG_BYTES = 5_000_000
"""A log larger than this is put aside, once, when its process starts."""
TAIL_BYTES = 16_000
LINE_CHARACTERS = 300
POLL_SECONDS = 0.02

Asked = Callable[[], bool]
"""Whether we were asked to stop in the meantime."""


def never() -> bool:
    return False


class StartError(Exception):
    """A process did not come up. Carries its name, the reason and the end of its log."""

    def __init__(self, name: str, why: str, tail: str = "") -> None:
        end = f"\n--- the end of its log ---\n{tail}" if tail else ""
        super().__init__(f"{name} {why}{end}")
        self.name = name


class StopAskedError(Exception):
    """Somebody asked us to stop while we waited."""


class Child:
    """One owned process. It dies with us (Linux) and never hears the terminal's Ctrl-C."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = log
        self._environment = None if environment is None else dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._paused = False

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StartError(self.name, "was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return "runs" if self._process else "was not started"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with code {code}"

    def start(self) -> None:
        """Start it. Raises StartError where the program cannot be run."""
        if self.running:
            raise StartError(self.name, f"runs already (pid {self.pid})")
        with self._open_log() as log:
            self._log_start = log.tell()
            self._paused = False
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._folder,
                    start_new_session=True,
                    preexec_fn=_die_with_parent(),
                )
            except OSError as trouble:
                raise StartError(self.name, f"could not be started: {trouble}") from trouble

    def wait_until(self, ready: Callable[[], bool], seconds: float, asked: Asked = never) -> None:
        """Return once `ready` holds. Raises StartError when it dies or takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            came_up = ready()
            if not self.running:
                raise StartError(self.name, self.ending, self.tail())
            if came_up:
                return
            if asked():
                raise StopAskedError
            if time.monotonic() > deadline:
                raise StartError(self.name, f"was not ready within {seconds:g} s", self.tail())
            time.sleep(POLL_SECONDS)

    def run_to_end(self, seconds: float, asked: Asked = never) -> None:
        """Start it and return once it has ended well.

        Raises StartError when it ends with another code than 0 or takes too long.
        """
        self.start()
        try:
            self._wait_for_end(seconds, asked)
        except BaseException:
            self.kill()
            raise
        if self.ending != "ended with code 0":
            raise StartError(self.name, self.ending, self.tail())

    def _wait_for_end(self, seconds: float, asked: Asked) -> None:
        deadline = time.monotonic() + seconds
        while self.running:
            if asked():
                raise StopAskedError
            if time.monotonic() > deadline:
                raise StartError(self.name, f"did not end within {seconds:g} s", self.tail())
            time.sleep(POLL_SECONDS)

    def ask_to_stop(self) -> None:
        if self._process is not None and self.running:
            self._process.terminate()
            self.resume()  # a paused process hears SIGTERM only once it goes on

    @property
    def paused(self) -> bool:
        return self._paused and self.running

    def pause(self) -> None:
        """SIGSTOP: it keeps its memory, ports and connections, and does nothing."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGSTOP)
            self._paused = True

    def resume(self) -> None:
        """SIGCONT; changes nothing where it is not paused."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGCONT)
            self._paused = False

    def stop(self, seconds: float = 10.0) -> bool:
        """SIGTERM, a bounded wait, then SIGKILL. Whether it ended by itself."""
        self.ask_to_stop()
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        """SIGKILL to it and to whatever it started itself."""
        if self._process is not None and self.running:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def written(self) -> str:
        """What it has logged since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - TAIL_BYTES, 0))
            last = log.read().decode(errors="replace").splitlines()[-lines:]
        return "\n".join(line[:LINE_CHARACTERS] for line in last)

    def _open_log(self) -> IO[bytes]:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        log = self.log.open("ab")
        log.seek(0, os.SEEK_END)
        return log


def _die_with_parent() -> Callable[[], None] | None:
    """What a child runs before its program so that the kernel ends it when we are gone."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # loaded before the fork: nothing may be imported after it
    parent = os.getpid()
    set_parent_death_signal = 1

    def prepare() -> None:
        libc.prctl(set_parent_death_signal, int(signal.SIGTERM))
        if os.getppid() != parent:  # gone between the fork and the line above
            os._exit(1)

    return prepare
