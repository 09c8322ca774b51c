"""Tools run in threads: whatever they do, they do not block the service's event loop."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.orchestrator.agents.sandbox import thread_runner
from services.orchestrator.agents.sandbox.thread_runner import (
    MAX_ABANDONED_RUNS,
    AbandonedRuns,
    ThreadRunner,
    ToolExitError,
    ToolHangsError,
)
from services.orchestrator.agents.tools.limits import CallLimiter, ToolTimeLimitError
from services.orchestrator.workflows.spec import Limits
from tests.orchestrator.agents.thread_event import ThreadEvent
from tests.patience import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_runner, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(thread_runner, "GRACE_SECONDS", 0.05)


@pytest.fixture
def release() -> Iterator[ThreadEvent]:
    """Set at the end, so that no thread of a test stays blocked."""
    event = ThreadEvent()
    yield event
    event.set()


async def answer(word: str = "done") -> str:
    await asyncio.sleep(0)
    return word


async def begin() -> None:
    """An attempt that needs nothing before it."""


async def never_again(error: Exception, allowed: bool) -> bool:  # noqa: FBT001
    del error, allowed
    return False


async def test_all_tools_share_one_loop_that_is_not_the_services() -> None:
    async def where() -> tuple[Any, str]:
        return asyncio.get_running_loop(), threading.current_thread().name

    runner, abandoned = ThreadRunner(), AbandonedRuns()
    one, other = await runner.run_async(where, abandoned), await runner.run_async(where, abandoned)
    assert one == other
    assert one[0] is not asyncio.get_running_loop()


async def test_a_tool_that_blocks_its_loop_delays_no_other_tool(release: ThreadEvent) -> None:
    started = ThreadEvent()

    async def block() -> None:
        started.set()
        release.block()

    runner, abandoned = ThreadRunner(), AbandonedRuns()
    blocking = asyncio.create_task(runner.run_async(block, abandoned))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await started.wait()
        assert await runner.run_async(answer, AbandonedRuns()) == "done"
        assert await runner.run_async(answer, AbandonedRuns()) == "done"
        release.set()
        await blocking


async def test_a_tool_that_keeps_blocking_loops_is_refused_and_others_are_not(
    release: ThreadEvent,
) -> None:
    started = ThreadEvent()

    async def block() -> None:
        started.set()
        release.block()

    runner, limiter = ThreadRunner(), CallLimiter(Limits())

    async def call() -> Any:
        return await limiter.run(
            lambda _: runner.run_async(block, limiter.abandoned_runs), begin, never_again
        )

    blocked = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(MAX_ABANDONED_RUNS):
            started = ThreadEvent()
            blocked.append(asyncio.create_task(call()))
            await started.wait()
            assert await runner.run_async(answer, AbandonedRuns()) == "done"
        with pytest.raises(ToolHangsError, match="4 runs of this tool hang"):
            await call()
        release.set()
        await asyncio.gather(*blocked)
        await call()


async def test_the_number_of_blocked_loops_is_limited(
    release: ThreadEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = ThreadEvent()

    async def block() -> None:
        started.set()
        release.block()

    monkeypatch.setattr(thread_runner, "MAX_STUCK_LOOPS", 1)
    runner = ThreadRunner()
    first = asyncio.create_task(runner.run_async(block, AbandonedRuns()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await started.wait()
        with pytest.raises(ToolHangsError, match="1 loops"):
            await runner.run_async(answer, AbandonedRuns())
        release.set()
        await first


async def test_cancelling_a_call_cancels_it_in_the_tools_loop(release: ThreadEvent) -> None:
    started, stopped = ThreadEvent(), ThreadEvent()

    async def work() -> None:
        started.set()
        try:
            await release.wait()
        finally:
            stopped.set()

    running = asyncio.create_task(ThreadRunner().run_async(work, AbandonedRuns()))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await stopped.wait()


async def test_a_hanging_blocking_tool_is_abandoned_and_then_refused(
    release: ThreadEvent,
) -> None:
    runner, limiter = ThreadRunner(), CallLimiter(Limits(timeout_seconds=0.01))

    async def call() -> Any:
        return await limiter.run(
            lambda _: runner.run_blocking(release.block, limiter.abandoned_runs),
            begin,
            never_again,
        )

    for _ in range(MAX_ABANDONED_RUNS):
        with pytest.raises(ToolTimeLimitError):
            await call()
    before = threading.active_count()
    with pytest.raises(ToolHangsError):
        await call()
    assert threading.active_count() == before


async def test_an_abandoned_run_that_has_ended_is_not_counted(release: ThreadEvent) -> None:
    runner, abandoned = ThreadRunner(), AbandonedRuns()
    ended = ThreadEvent()

    def work() -> None:
        release.block()
        ended.set()

    for _ in range(MAX_ABANDONED_RUNS):
        running = asyncio.create_task(runner.run_blocking(work, abandoned))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(ToolHangsError):
        abandoned.check_capacity()
    release.set()
    async with asyncio.timeout(PATIENCE_SECONDS):
        await ended.wait()
        while abandoned._runs:  # noqa: ASYNC110  the end of a thread is no event
            await asyncio.sleep(0.01)
    abandoned.check_capacity()


class _OwnError(BaseException):
    """As some libraries derive theirs, so that nothing catches them."""

    def __repr__(self) -> str:
        raise ValueError("nor can it be shown")


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), KeyboardInterrupt(), _OwnError("own")],
    ids=["exit", "interrupt", "own"],
)
async def test_a_tool_that_exits_ends_neither_its_loop_nor_the_process(
    error: BaseException,
) -> None:
    async def exit_in_loop() -> None:
        raise error

    def exit_in_thread() -> None:
        raise error

    runner = ThreadRunner()
    with pytest.raises(ToolExitError):
        await runner.run_async(exit_in_loop, AbandonedRuns())
    with pytest.raises(ToolExitError):
        await runner.run_blocking(exit_in_thread, AbandonedRuns())
    assert await runner.run_async(answer, AbandonedRuns()) == "done"


async def test_exceptions_of_the_function_are_raised() -> None:
    def stop() -> None:
        raise StopIteration

    async def fail() -> None:
        raise LookupError("nothing")

    runner = ThreadRunner()
    with pytest.raises(ZeroDivisionError):
        await runner.run_blocking(lambda: 1 / 0, AbandonedRuns())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await runner.run_blocking(stop, AbandonedRuns())
    with pytest.raises(LookupError, match="nothing"):
        await runner.run_async(fail, AbandonedRuns())


async def test_the_thread_ends_with_its_runner() -> None:
    async def me() -> threading.Thread:
        return threading.current_thread()

    thread = await ThreadRunner().run_async(me, AbandonedRuns())
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
