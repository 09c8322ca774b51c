"""Limits of a tool: time, retries, and calls at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.orchestrator.agents.tools import limits
from services.orchestrator.agents.tools.limits import CallLimiter, TimeBudget, ToolTimeLimitError
from services.orchestrator.workflows.spec import Limits

Work = Callable[[TimeBudget], Awaitable[Any]]


class Call:
    """One call of a tool with its attempts."""

    def __init__(self) -> None:
        self.attempts = 0
        self.begun = 0
        self.final = False

    async def before_attempt(self) -> None:
        self.begun += 1

    async def may_retry(self, error: Exception, allowed: bool) -> bool:  # noqa: FBT001
        del error
        return allowed and not self.final

    @property
    def retries_begun(self) -> int:
        return max(self.begun - 1, 0)

    async def run(self, limiter: CallLimiter, work: Work) -> Any:
        return await limiter.run(work, self.before_attempt, self.may_retry)


@pytest.fixture(autouse=True)
def _no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FIRST_BACKOFF_SECONDS", 0)


async def hang(_: TimeBudget) -> None:
    await asyncio.Event().wait()


async def test_a_tool_that_hangs_ends_with_its_time_limit() -> None:
    with pytest.raises(ToolTimeLimitError, match=r"took longer than 0\.01 s"):
        await Call().run(CallLimiter(Limits(timeout_seconds=0.01)), hang)


async def test_a_timeout_raised_by_the_tool_is_not_the_time_limit() -> None:
    async def late(_: TimeBudget) -> None:
        raise TimeoutError("the shop is closed")

    with pytest.raises(TimeoutError, match="the shop is closed"):
        await Call().run(CallLimiter(Limits()), late)


async def test_waiting_for_the_user_does_not_count() -> None:
    answered = asyncio.Event()

    async def asking(budget: TimeBudget) -> str:
        with budget.paused():
            asyncio.get_running_loop().call_later(0.05, answered.set)
            await answered.wait()
        return "red"

    assert await Call().run(CallLimiter(Limits(timeout_seconds=0.02)), asking) == "red"


@pytest.mark.parametrize(("retries", "fails", "outcome"), [(2, 2, "done"), (1, 2, "failed")])
async def test_a_failing_tool_is_retried_as_often_as_its_limits_allow(
    retries: int, fails: int, outcome: str
) -> None:
    call = Call()

    async def unsteady(_: TimeBudget) -> str:
        call.attempts += 1
        if call.attempts <= fails:
            raise ConnectionError(f"attempt {call.attempts}")
        return "done"

    running = call.run(CallLimiter(Limits(retries=retries)), unsteady)
    if outcome == "done":
        assert await running == "done"
    else:
        with pytest.raises(ConnectionError, match=f"attempt {retries + 1}"):
            await running
    assert (call.attempts, call.retries_begun) == (retries + 1, retries)


async def test_a_failed_write_of_the_turn_is_not_retried() -> None:
    call = Call()
    call.final = True

    async def refused(_: TimeBudget) -> None:
        call.attempts += 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await call.run(CallLimiter(Limits(retries=5)), refused)
    assert call.attempts == 1


async def test_no_more_calls_than_allowed_run_at_the_same_time() -> None:
    running, maximum = 0, 0

    async def work(_: TimeBudget) -> None:
        nonlocal running, maximum
        running += 1
        maximum = max(maximum, running)
        await asyncio.sleep(0)
        running -= 1

    limiter = CallLimiter(Limits(max_concurrent=2))
    await asyncio.gather(*(Call().run(limiter, work) for _ in range(9)))
    assert maximum == 2


async def test_a_cancelled_call_is_not_retried() -> None:
    call = Call()
    running = asyncio.create_task(call.run(CallLimiter(Limits(retries=3)), hang))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert call.retries_begun == 0
