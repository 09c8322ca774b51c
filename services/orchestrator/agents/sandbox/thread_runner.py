"""Runs the functions of workflows in threads beside the service's event loop, so that none blocks it.

Async functions share one event loop in a thread of its own. When one of them blocks that loop, the
next call notices that the loop does not react, and starts a new one. Functions that are not async
get a thread each. A thread cannot be stopped from outside: a run that nobody waits for any more is
abandoned and counted. The threads are daemons, so they do not delay the end of the process.
"""

import asyncio
import contextlib
import contextvars
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

log = logging.getLogger(__name__)

STUCK_SECONDS = 1.0
"""How long a call may wait for the loop before that loop counts as blocked."""
GRACE_SECONDS = 0.2
"""How long a cancelled call may take to clean up while it is waited for."""
MAX_STUCK_LOOPS = 16
MAX_ABANDONED_RUNS = 4
"""Abandoned runs of one tool; further calls are refused until one of them has ended."""


class ToolExitError(Exception):
    """A tool tried to end the process."""


class ToolHangsError(Exception):
    """A tool is not run: too many of its earlier runs have not ended and cannot be stopped."""


class AbandonedRuns:
    """The runs of one tool that block, or that nobody waits for any more, until they end."""

    def __init__(self) -> None:
        self._runs: set[Future[Any]] = set()

    def add(self, outcome: Future[Any]) -> None:
        self._runs.add(outcome)
        outcome.add_done_callback(self._runs.discard)

    def check_capacity(self) -> None:
        """Raises ToolHangsError when there are too many of them for another run."""
        if len(self._runs) >= MAX_ABANDONED_RUNS:
            raise ToolHangsError(
                f"{len(self._runs)} runs of this tool hang; it runs again when one has ended"
            )


class ThreadRunner:
    """Runs the functions of one workflow; its thread starts with the first call and ends with it."""

    def __init__(self) -> None:
        self._loop: _LoopThread | None = None
        self._stuck: list[_LoopThread] = []

    async def run_async(self, work: Callable[[], Awaitable[Any]], abandoned: AbandonedRuns) -> Any:
        """What an async function returns, run in the tools' loop; cancelling the call cancels it.

        Raises what the function raises, and ToolHangsError when too many loops are blocked.
        """
        run = _AsyncRun(work, abandoned)
        while not await (loop := self._current_loop()).accept(run):
            self._replace(loop)
        return await _wait_for(run.outcome, abandoned, run.cancel)

    async def run_blocking(self, work: Callable[[], Any], abandoned: AbandonedRuns) -> Any:
        """What any other function returns, run in a thread of its own. Raises what it raises."""
        return await _wait_for(_start_thread(work), abandoned, None)

    def _current_loop(self) -> "_LoopThread":
        if self._loop is None:
            self._stuck = [loop for loop in self._stuck if loop.is_alive]
            if len(self._stuck) >= MAX_STUCK_LOOPS:
                raise ToolHangsError(f"{len(self._stuck)} loops of tools are blocked")
            self._loop = _LoopThread()
            weakref.finalize(self, self._loop.stop)
        return self._loop

    def _replace(self, loop: "_LoopThread") -> None:
        if self._loop is not loop:  # another call has replaced it already
            return
        log.warning("the tools' event loop is blocked and is replaced")
        loop.retire()
        self._stuck.append(loop)
        self._loop = None


async def _wait_for(
    outcome: Future[Any], abandoned: AbandonedRuns, cancel: Callable[[], None] | None
) -> Any:
    """The outcome of a run. When cancelled: cancels the run if it can, and abandons it meanwhile."""
    try:
        return await asyncio.wrap_future(outcome)
    except asyncio.CancelledError:
        if not outcome.done():
            abandoned.add(outcome)
            if cancel is not None:
                cancel()
                await _wait_until_done(outcome, GRACE_SECONDS)
        raise


async def _wait_until_done(future: Future[Any], seconds: float) -> None:
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    for one in done:
        one.exception()  # retrieved here: asyncio would report it as never retrieved
    waiting.cancel()


# -- the tools' event loop ------------------------------------------------------------------------


class _AsyncRun:
    """One call of an async function, started at most once by the loop that accepts it."""

    def __init__(self, work: Callable[[], Awaitable[Any]], abandoned: AbandonedRuns) -> None:
        self.outcome = _uncancellable_future()
        self.abandoned = abandoned
        self._work = work
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None

    def start(self, acceptance: Future[None]) -> "asyncio.Task[Any] | None":
        """In the tools' loop: start, unless the caller has given this loop up already."""
        if not acceptance.set_running_or_notify_cancel():
            return None
        self._task = asyncio.get_running_loop().create_task(
            _without_exit(self._work), context=self._context
        )
        self._task.add_done_callback(self._set_outcome)
        acceptance.set_result(None)
        return self._task

    def cancel(self) -> None:
        """From the service's loop: cancel the task if it was started."""
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def _set_outcome(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


class _LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._runs: dict[asyncio.Task[Any], _AsyncRun] = {}
        self._thread = threading.Thread(target=self._run_loop, name="tools", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    async def accept(self, run: _AsyncRun) -> bool:
        """Whether the run has started here; false when this loop is blocked."""
        acceptance: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._start, run, acceptance)
        try:
            await asyncio.wait([asyncio.wrap_future(acceptance)], timeout=STUCK_SECONDS)
        except asyncio.CancelledError:
            if not acceptance.cancel():
                run.cancel()
            raise
        return not acceptance.cancel()

    def _start(self, run: _AsyncRun, acceptance: Future[None]) -> None:
        if (task := run.start(acceptance)) is not None:
            self._runs[task] = run
            task.add_done_callback(self._runs.pop)

    def retire(self) -> None:
        """Count the run that blocks the loop as abandoned; end the loop once all its runs end."""
        blocking = asyncio.current_task(self._loop)
        if blocking is not None and (run := self._runs.get(blocking)) is not None:
            run.abandoned.add(run.outcome)
        self._loop.call_soon_threadsafe(self._stop_when_empty)

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _stop_when_empty(self) -> None:
        if self._runs:
            next(iter(self._runs)).add_done_callback(lambda _: self._stop_when_empty())
        else:
            self._loop.stop()

    def _run_loop(self) -> None:
        self._loop.run_forever()
        remaining = asyncio.all_tasks(self._loop)
        for task in remaining:
            task.cancel()
        if remaining:
            self._loop.run_until_complete(asyncio.wait(remaining, timeout=GRACE_SECONDS))
        self._loop.close()


# -- threads --------------------------------------------------------------------------------------


def _start_thread(work: Callable[[], Any]) -> Future[Any]:
    """Not a thread pool: the process would wait for the pool's threads at its end while a tool hangs."""
    outcome = _uncancellable_future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            value = context.run(work)
        except BaseException as error:  # noqa: BLE001  passed to whoever waits for the outcome
            outcome.set_exception(_without_exit_error(error))
        else:
            outcome.set_result(value)

    threading.Thread(target=run, name="tool", daemon=True).start()
    return outcome


async def _without_exit(work: Callable[[], Awaitable[Any]]) -> Any:
    """SystemExit inside a loop would end the loop and its thread."""
    try:
        return await work()
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as exit_error:
        raise _without_exit_error(exit_error) from exit_error


def _without_exit_error(error: BaseException) -> BaseException:
    """The exception that a future can carry in place of one that would end a loop or a process."""
    match error:
        case SystemExit() | KeyboardInterrupt() | GeneratorExit():
            return ToolExitError(f"the tool tried to exit: {error!r}")
        case StopIteration():  # futures refuse it
            return RuntimeError(repr(error))
        case Exception() | asyncio.CancelledError():
            return error
        case _:  # nothing catches what a library derives from BaseException: it would end the turn
            return ToolExitError(f"the tool raised {type(error).__name__}")


def _uncancellable_future() -> Future[Any]:
    """A future that those who wait for it cannot cancel: only the run itself sets its outcome."""
    outcome: Future[Any] = Future()
    outcome.set_running_or_notify_cancel()
    return outcome
