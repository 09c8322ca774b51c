"""Python programs as processes that are forked where everything is imported already.

To import a service takes longer than most tests of it. What a process does when it is started by
its program, and how the interpreter ends, is for tests that start it as `infra.child_process.Child` does.
"""

import contextlib
import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import (
    ForkContext,
    ForkProcess,
    ForkServerContext,
    ForkServerProcess,
)
from pathlib import Path
from typing import Any

from infra.child_process import Child, StartError

_PRELOADED = [
    *(f"services.{name}.app" for name in ("metrics", "orchestrator", "persistence", "transport")),
    *("tests.system.orchestrators", "tests.system.forking_infra"),
    # What they import only while they run:
    "services.orchestrator.agents.models.demo",
    *("anyio._backends._asyncio", "httpcore2", "websockets"),
    *("uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.auto"),
    *("uvicorn.protocols.websockets.auto", "uvicorn.protocols.websockets.websockets_sansio_impl"),
]
_PR_SET_PDEATHSIG = 1

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(_PRELOADED)


class ForkedChild(Child):
    """`python -m module` with no import to wait for; otherwise a Child."""

    def __init__(
        self,
        name: str,
        module: str,
        log: Path,
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
        context: ForkServerContext | ForkContext = CONTEXT,
    ) -> None:
        command = [sys.executable, "-m", module, *arguments]
        super().__init__(name, command, log, environment=environment)
        self._context = context

    def start(self) -> None:
        if self.running:
            raise StartError(self.name, f"runs already (pid {self.pid})")
        with self._open_log() as log:
            self._log_start = log.tell()
        arguments = (self.command[2:], str(self.log), self._environment)
        started = self._context.Process(target=_run, args=arguments, daemon=True)
        started.start()
        self._process = _Started(started)  # type: ignore[assignment]

    def kill(self) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)


class _Started:
    """As much of subprocess.Popen as Child uses."""

    def __init__(self, process: ForkServerProcess | ForkProcess) -> None:
        self._process = process
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", seconds)
        return self._process.exitcode

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended, which is known here a moment later than to the fork server."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _run(arguments: list[str], log: str, environment: dict[str, Any]) -> None:
    """As `python -m`, and /proc/PID/comm has the first letters of the module's name."""
    module = arguments[0]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    Path("/proc/self/comm").write_text(module)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    written = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(written, stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
