"""Child processes: started with a log of their own, watched, and terminated with their parent."""

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
"""A larger log is rotated, once, when its process starts."""
TAIL_BYTES = 16_000
LINE_CHARACTERS = 300
POLL_SECONDS = 0.02
PAUSE_SECONDS = 10.0
"""How long a process may take until its threads have stopped; on a full machine, moments."""

StopRequested = Callable[[], bool]
"""Whether a stop was requested meanwhile."""


def never() -> bool:
    return False


class StartError(Exception):
    """A process did not start. Has its name, the reason and the end of its log."""

    def __init__(self, name: str, why: str, tail: str = "") -> None:
        end = f"\n--- the end of its log ---\n{tail}" if tail else ""
        super().__init__(f"{name} {why}{end}")
        self.name = name


class StopRequestedError(Exception):
    """A stop was requested during a wait."""


class Child:
    """A child process. It ends with its parent (Linux) and does not receive the terminal's Ctrl-C."""

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
        """How it ended, as a sentence."""
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
                    preexec_fn=_terminate_with_parent(),
                )
            except OSError as error:
                raise StartError(self.name, f"could not be started: {error}") from error

    def wait_until(
        self, ready: Callable[[], bool], seconds: float, stop_requested: StopRequested = never
    ) -> None:
        """Return once `ready` holds. Raises StartError when the process ends or takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            came_up = ready()
            if not self.running:
                raise StartError(self.name, self.ending, self.tail())
            if came_up:
                return
            if stop_requested():
                raise StopRequestedError
            if time.monotonic() > deadline:
                raise StartError(self.name, f"was not ready within {seconds:g} s", self.tail())
            time.sleep(POLL_SECONDS)

    def run_to_end(self, seconds: float, stop_requested: StopRequested = never) -> None:
        """Start it and return once it has ended with code 0.

        Raises StartError when it ends with another code or takes too long.
        """
        self.start()
        try:
            self._wait_for_end(seconds, stop_requested)
        except BaseException:
            self.kill()
            raise
        if self.ending != "ended with code 0":
            raise StartError(self.name, self.ending, self.tail())

    def _wait_for_end(self, seconds: float, stop_requested: StopRequested) -> None:
        deadline = time.monotonic() + seconds
        while self.running:
            if stop_requested():
                raise StopRequestedError
            if time.monotonic() > deadline:
                raise StartError(self.name, f"did not end within {seconds:g} s", self.tail())
            time.sleep(POLL_SECONDS)

    def ask_to_stop(self) -> None:
        if self._process is not None and self.running:
            self._process.terminate()
            self.resume()  # a paused process receives SIGTERM only once it continues

    def send_signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    @property
    def paused(self) -> bool:
        return self._paused and self.running

    def pause(self) -> None:
        """SIGSTOP: it keeps its memory, ports and connections, and does nothing.

        Returns once all its threads have stopped, or it has ended: the signal alone lets them go on
        for a moment. Raises TimeoutError after PAUSE_SECONDS.
        """
        if self._process is None or not self.running:
            return
        self._process.send_signal(signal.SIGSTOP)
        self._paused = True
        deadline = time.monotonic() + PAUSE_SECONDS
        # WNOWAIT: how it ended stays to be read by Popen.
        either = os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, self.pid, either) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} did not stop within {PAUSE_SECONDS:g} s")
            time.sleep(POLL_SECONDS)

    def resume(self) -> None:
        """SIGCONT; changes nothing where it is not paused."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGCONT)
            self._paused = False

    def stop(self, seconds: float = 10.0) -> bool:
        """SIGTERM, a bounded wait, then SIGKILL. Returns whether it ended by itself."""
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
        """SIGKILL to it and to all processes that it started."""
        if self._process is not None and self.running:
            if sys.platform == "win32":  # which has no groups of processes
                self._process.kill()
            else:
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


def _terminate_with_parent() -> Callable[[], None] | None:
    """What a child runs before its program, so that the kernel ends it with its parent."""
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
