"""The services as processes of their own: forked from one that has imported them, restarted when they end."""

import ctypes
import os
import runpy
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.forked import CONTEXT

PAUSE_SECONDS = 0.5
"""Between the end of a service and its next start, as with a supervisor."""
STOP_SECONDS = 20.0
"""Within this time a stopped service has exited: its drain time, twice."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a service ended: `asked` is the signal that the harness had sent it, none where none.

    `began` says whether it had written to its log when it was asked: before that it is not yet a
    service, and hears no signal. `seconds` is how long it took from then.
    """

    service: str
    pid: int
    code: int
    asked: signal.Signals | None
    at: float
    began: bool
    seconds: float


class ServiceProcess:
    """`python -m services.<module>`, again and again."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.endings: list[Ending] = []
        self._module = module
        self._environment = dict(environment)
        self._log = log
        self._process: ForkServerProcess | None = None
        self._asked: tuple[signal.Signals, float] | None = None
        self._began = False
        self._written = 0
        self._ended = 0.0

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        process = self._process
        return process.pid or 0 if process is not None and process.exitcode is None else 0

    def start(self) -> None:
        self._asked, self._written = None, self._log_bytes()
        self._process = CONTEXT.Process(
            target=_run,
            args=(self._module, self._environment, str(self._log)),
            name=self.name,
            daemon=True,
        )
        self._process.start()

    def signal(self, number: signal.Signals) -> int:
        """Send it a signal; its pid, 0 where it does not run."""
        pid = self.pid
        if not pid:
            return 0
        killed = self._asked is not None and self._asked[0] == signal.SIGKILL
        if number in (signal.SIGKILL, signal.SIGTERM) and not killed:
            self._asked = (number, time.time())
            self._began = self._log_bytes() > self._written
        os.kill(pid, number)
        return pid

    def look(self) -> None:
        """Record its end, and start it again after a pause."""
        process, now = self._process, time.time()
        if process is not None and process.exitcode is not None:
            self._note(process, process.exitcode, now)
        elif process is None and now - self._ended > PAUSE_SECONDS:
            self.start()
        elif self._asked is not None and now - self._asked[1] > STOP_SECONDS and self.pid:
            os.kill(self.pid, signal.SIGKILL)  # it never exited: its record will show that

    def end(self) -> None:
        """Finally, at the end of the run."""
        if self._process is not None:
            self._process.kill()
            self._process.join(10)

    def _log_bytes(self) -> int:
        return self._log.stat().st_size if self._log.exists() else 0

    def _note(self, process: ForkServerProcess, code: int, now: float) -> None:
        asked, since = self._asked or (None, now)
        pid, began = process.pid or 0, self._began
        self.endings.append(Ending(self.name, pid, code, asked, now, began, now - since))
        self._process, self._ended = None, now


def _run(module: str, environment: Mapping[str, str], log: str) -> None:
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))  # PR_SET_PDEATHSIG: it ends with us
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.environ.update(environment)
    runpy.run_module(f"services.{module}", run_name="__main__")
