"""Where workflows' own code runs: in threads beside our loop, so that it holds up nobody else.

Async functions share a loop in a thread of its own. One that blocks it costs the others nothing but
a moment: the next call finds the loop standing still, and a fresh one takes over. Functions that are
not async get a thread each. No thread can be stopped from outside: one that nobody waits for any
more is left behind and counted, and daemons do not hold a process back at its end.
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
GRACE_SECONDS = 0.5
"""How long a cancelled call may take to clean up while it is waited for."""
MAX_STUCK_LOOPS = 16
MAX_LEFT_BEHIND = 4
"""Runs of one tool that may hang; further calls are refused until one of them has ended."""


class ToolExitError(Exception):
    """A tool tried to end the process."""


class ToolHangsError(Exception):
    """A tool is not run: too many of its earlier runs have not ended, nor can be ended."""


class LeftBehind:
    """Runs of one tool that block, or that nobody waits for any more, until they end."""

    def __init__(self) -> None:
        self._runs: set[Future[Any]] = set()

    def add(self, outcome: Future[Any]) -> None:
        self._runs.add(outcome)
        outcome.add_done_callback(self._runs.discard)

    def refuse_more(self) -> None:
        """Raises ToolHangsError."""
        if len(self._runs) >= MAX_LEFT_BEHIND:
            raise ToolHangsError(
                f"{len(self._runs)} runs of this tool hang; it runs again when one has ended"
            )


class Workbench:
    """Runs the functions of one workflow; its thread begins with the first and ends with it."""

    def __init__(self) -> None:
        self._loop: _Loop | None = None
        self._stuck: list[_Loop] = []

    async def run_async(self, work: Callable[[], Awaitable[Any]], left: LeftBehind) -> Any:
        """What an async function returns, run in the tools' loop; a cancellation goes through.

        Raises what it raises, and ToolHangsError where too many loops are blocked.
        """
        run = _Run(work, left)
        while not await (loop := self._current()).takes(run):
            self._give_up(loop)
        return await _outcome(run.outcome, left, run.cancel)

    async def run_blocking(self, work: Callable[[], Any], left: LeftBehind) -> Any:
        """What any other function returns, run in a thread of its own. Raises what it raises."""
        return await _outcome(_in_thread(work), left, None)

    def _current(self) -> "_Loop":
        if self._loop is None:
            self._stuck = [loop for loop in self._stuck if loop.lives]
            if len(self._stuck) >= MAX_STUCK_LOOPS:
                raise ToolHangsError(f"{len(self._stuck)} loops of tools are blocked")
            self._loop = _Loop()
            weakref.finalize(self, self._loop.stop)
        return self._loop

    def _give_up(self, loop: "_Loop") -> None:
        if self._loop is not loop:  # a call beside this one found out first
            return
        log.warning("the tools' loop is blocked: a fresh one takes over")
        loop.retire()
        self._stuck.append(loop)
        self._loop = None


async def _outcome(
    outcome: Future[Any], left: LeftBehind, cancel: Callable[[], None] | None
) -> Any:
    """Waits for a run; cancelled, cancels it where it can be, and leaves behind what does not end."""
    try:
        return await asyncio.wrap_future(outcome)
    except asyncio.CancelledError:
        if not outcome.done():
            left.add(outcome)
            if cancel is not None:
                cancel()
                await _ended(outcome, GRACE_SECONDS)
        raise


async def _ended(future: Future[Any], seconds: float) -> None:
    waiting = asyncio.wrap_future(future)
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    for one in done:
        one.exception()  # looked at: nobody else will
    waiting.cancel()


# -- the tools' loop ------------------------------------------------------------------------------


class _Run:
    """One call of an async function, begun at most once by whichever loop takes it."""

    def __init__(self, work: Callable[[], Awaitable[Any]], left: LeftBehind) -> None:
        self.outcome = _running()
        self.left = left
        self._work = work
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[Any] | None = None

    def begin(self, claim: Future[None]) -> "asyncio.Task[Any] | None":
        """In the tools' loop: begin, unless the caller has given this loop up."""
        if not claim.set_running_or_notify_cancel():
            return None
        self._task = asyncio.get_running_loop().create_task(
            _tame(self._work), context=self._context
        )
        self._task.add_done_callback(self._settle)
        claim.set_result(None)
        return self._task

    def cancel(self) -> None:
        """From our loop: cancel what has begun."""
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    def _settle(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (trouble := task.exception()) is not None:
            self.outcome.set_exception(trouble)
        else:
            self.outcome.set_result(task.result())


class _Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._runs: dict[asyncio.Task[Any], _Run] = {}
        self._thread = threading.Thread(target=self._turn, name="tools", daemon=True)
        self._thread.start()

    @property
    def lives(self) -> bool:
        return self._thread.is_alive()

    async def takes(self, run: _Run) -> bool:
        """Whether the run has begun here; false where this loop stands still."""
        claim: Future[None] = Future()
        self._loop.call_soon_threadsafe(self._begin, run, claim)
        try:
            await asyncio.wait([asyncio.wrap_future(claim)], timeout=STUCK_SECONDS)
        except asyncio.CancelledError:
            if not claim.cancel():
                run.cancel()
            raise
        return not claim.cancel()

    def _begin(self, run: _Run, claim: Future[None]) -> None:
        if (task := run.begin(claim)) is not None:
            self._runs[task] = run
            task.add_done_callback(self._runs.pop)

    def retire(self) -> None:
        """Blame the run that blocks the loop; end the loop once everything in it has ended."""
        blocking = asyncio.current_task(self._loop)
        if blocking is not None and (run := self._runs.get(blocking)) is not None:
            run.left.add(run.outcome)
        self._loop.call_soon_threadsafe(self._end_when_empty)

    def stop(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _end_when_empty(self) -> None:
        if self._runs:
            next(iter(self._runs)).add_done_callback(lambda _: self._end_when_empty())
        else:
            self._loop.stop()

    def _turn(self) -> None:
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self._loop.run_until_complete(asyncio.wait(left, timeout=GRACE_SECONDS))
        self._loop.close()


# -- threads --------------------------------------------------------------------------------------


def _in_thread(work: Callable[[], Any]) -> Future[Any]:
    """A pool would do, but its threads hold the process back at its end for as long as a tool hangs."""
    outcome = _running()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            value = context.run(work)
        except BaseException as trouble:  # noqa: BLE001  carried to whoever waits
            outcome.set_exception(_tamed(trouble))
        else:
            outcome.set_result(value)

    threading.Thread(target=run, name="tool", daemon=True).start()
    return outcome


async def _tame(work: Callable[[], Awaitable[Any]]) -> Any:
    """An exit inside a loop would end the loop."""
    try:
        return await work()
    except (SystemExit, KeyboardInterrupt) as stopped:
        raise _tamed(stopped) from stopped


def _tamed(trouble: BaseException) -> BaseException:
    match trouble:
        case SystemExit() | KeyboardInterrupt() | GeneratorExit():
            return ToolExitError(f"the tool tried to exit: {trouble!r}")
        case StopIteration():  # what no future takes
            return RuntimeError(repr(trouble))
        case _:
            return trouble


def _running() -> Future[Any]:
    """A future that whoever waits for it cannot cancel: only the run itself says how it ended."""
    outcome: Future[Any] = Future()
    outcome.set_running_or_notify_cancel()
    return outcome
