"""Where tools run: beside our loop, which turns whatever they do to theirs."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from services.orchestrator.agents import workbench
from services.orchestrator.agents.limits import Bounds, ToolTimeLimitError
from services.orchestrator.agents.workbench import (
    MAX_LEFT_BEHIND,
    LeftBehind,
    ToolExitError,
    ToolHangsError,
    Workbench,
)
from services.orchestrator.workflows.spec import Limits
from tests.orchestrator.agents.signals import Signal


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "STUCK_SECONDS", 0.2)
    monkeypatch.setattr(workbench, "GRACE_SECONDS", 0.05)


@pytest.fixture
def gate() -> Iterator[Signal]:
    """Opened at the end, so that no test leaves a thread behind."""
    signal = Signal()
    yield signal
    signal.set()


async def say(word: str = "done") -> str:
    await asyncio.sleep(0)
    return word


async def test_a_tools_loop_is_not_ours_and_the_same_for_all() -> None:
    async def where() -> tuple[Any, str]:
        return asyncio.get_running_loop(), threading.current_thread().name

    bench, left = Workbench(), LeftBehind()
    one, other = await bench.run_async(where, left), await bench.run_async(where, left)
    assert one == other
    assert one[0] is not asyncio.get_running_loop()


async def test_a_tool_that_blocks_its_loop_holds_up_nobody_else(gate: Signal) -> None:
    reached = Signal()

    async def block() -> None:
        reached.set()
        gate.block()

    bench, left = Workbench(), LeftBehind()
    blocking = asyncio.create_task(bench.run_async(block, left))
    async with asyncio.timeout(20):
        await reached.wait()
        assert await bench.run_async(say, LeftBehind()) == "done"
        assert await bench.run_async(say, LeftBehind()) == "done"
        gate.set()
        await blocking


async def test_a_tool_that_blocks_loop_after_loop_is_refused_and_others_are_not(
    gate: Signal,
) -> None:
    reached = Signal()

    async def block() -> None:
        reached.set()
        gate.block()

    bench, bounds = Workbench(), Bounds(Limits())

    async def call() -> Any:
        return await bounds.run(
            lambda _: bench.run_async(block, bounds.left_behind), lambda: None, lambda: True
        )

    blocked = []
    async with asyncio.timeout(30):
        for _ in range(MAX_LEFT_BEHIND):
            reached = Signal()
            blocked.append(asyncio.create_task(call()))
            await reached.wait()
            assert await bench.run_async(say, LeftBehind()) == "done"
        with pytest.raises(ToolHangsError, match="4 runs of this tool hang"):
            await call()
        gate.set()
        await asyncio.gather(*blocked)
        await call()


async def test_loops_that_are_blocked_have_a_bound(
    gate: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = Signal()

    async def block() -> None:
        reached.set()
        gate.block()

    monkeypatch.setattr(workbench, "MAX_STUCK_LOOPS", 1)
    bench = Workbench()
    first = asyncio.create_task(bench.run_async(block, LeftBehind()))
    async with asyncio.timeout(20):
        await reached.wait()
        with pytest.raises(ToolHangsError, match="1 loops"):
            await bench.run_async(say, LeftBehind())
        gate.set()
        await first


async def test_a_cancelled_call_is_cancelled_in_the_tools_loop(gate: Signal) -> None:
    reached, stopped = Signal(), Signal()

    async def work() -> None:
        reached.set()
        try:
            await gate.wait()
        finally:
            stopped.set()

    running = asyncio.create_task(Workbench().run_async(work, LeftBehind()))
    async with asyncio.timeout(20):
        await reached.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await stopped.wait()


async def test_a_blocking_tool_that_hangs_is_left_behind_and_not_without_bound(
    gate: Signal,
) -> None:
    bench, bounds = Workbench(), Bounds(Limits(timeout_seconds=0.01))

    async def call() -> Any:
        return await bounds.run(
            lambda _: bench.run_blocking(gate.block, bounds.left_behind),
            lambda: None,
            lambda: True,
        )

    for _ in range(MAX_LEFT_BEHIND):
        with pytest.raises(ToolTimeLimitError):
            await call()
    before = threading.active_count()
    with pytest.raises(ToolHangsError):
        await call()
    assert threading.active_count() == before


async def test_a_run_that_has_ended_counts_no_more(gate: Signal) -> None:
    bench, left = Workbench(), LeftBehind()
    ended = Signal()

    def work() -> None:
        gate.block()
        ended.set()

    for _ in range(MAX_LEFT_BEHIND):
        running = asyncio.create_task(bench.run_blocking(work, left))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    with pytest.raises(ToolHangsError):
        left.refuse_more()
    gate.set()
    async with asyncio.timeout(20):
        await ended.wait()
        while left._runs:  # noqa: ASYNC110  threads end when they end
            await asyncio.sleep(0.01)
    left.refuse_more()


@pytest.mark.parametrize("trouble", [SystemExit(3), KeyboardInterrupt()])
async def test_a_tool_that_exits_ends_neither_its_loop_nor_the_process(
    trouble: BaseException,
) -> None:
    async def leave() -> None:
        raise trouble

    def leave_too() -> None:
        raise trouble

    bench = Workbench()
    with pytest.raises(ToolExitError):
        await bench.run_async(leave, LeftBehind())
    with pytest.raises(ToolExitError):
        await bench.run_blocking(leave_too, LeftBehind())
    assert await bench.run_async(say, LeftBehind()) == "done"


async def test_what_is_raised_comes_back() -> None:
    def stop() -> None:
        raise StopIteration

    async def fail() -> None:
        raise LookupError("nothing")

    bench = Workbench()
    with pytest.raises(ZeroDivisionError):
        await bench.run_blocking(lambda: 1 / 0, LeftBehind())
    with pytest.raises(RuntimeError, match="StopIteration"):
        await bench.run_blocking(stop, LeftBehind())
    with pytest.raises(LookupError, match="nothing"):
        await bench.run_async(fail, LeftBehind())


async def test_the_thread_of_a_workbench_ends_with_it() -> None:
    async def me() -> threading.Thread:
        return threading.current_thread()

    thread = await Workbench().run_async(me, LeftBehind())
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
