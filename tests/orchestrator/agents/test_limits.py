"""A tool's limits: its time, its tries, and how many of its calls run side by side."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.orchestrator.agents import limits
from services.orchestrator.agents.limits import Bounds, Patience, ToolTimeLimitError
from services.orchestrator.workflows.spec import Limits

Work = Callable[[Patience], Awaitable[Any]]


class Call:
    """One call of a tool, and what its limits did with it."""

    def __init__(self) -> None:
        self.tries = 0
        self.begun_again = 0
        self.final = False

    def begin_again(self) -> None:
        self.begun_again += 1

    async def under(self, bounds: Bounds, work: Work) -> Any:
        return await bounds.run(work, self.begin_again, lambda: self.final)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BACKOFF_SECONDS", 0)


async def hang(_: Patience) -> None:
    await asyncio.Event().wait()


async def test_a_tool_that_hangs_ends_with_its_time_limit() -> None:
    with pytest.raises(ToolTimeLimitError, match=r"took longer than 0\.01 s"):
        await Call().under(Bounds(Limits(timeout_seconds=0.01)), hang)


async def test_a_time_out_of_the_tools_own_is_not_taken_for_the_limit() -> None:
    async def late(_: Patience) -> None:
        raise TimeoutError("the shop is closed")

    with pytest.raises(TimeoutError, match="the shop is closed"):
        await Call().under(Bounds(Limits()), late)


async def test_waiting_for_a_person_does_not_count() -> None:
    answered = asyncio.Event()

    async def asking(patience: Patience) -> str:
        with patience.lifted():
            asyncio.get_running_loop().call_later(0.05, answered.set)
            await answered.wait()
        return "red"

    assert await Call().under(Bounds(Limits(timeout_seconds=0.02)), asking) == "red"


@pytest.mark.parametrize(("retries", "fails", "outcome"), [(2, 2, "done"), (1, 2, "failed")])
async def test_a_failing_tool_is_tried_again_as_often_as_it_may_be(
    retries: int, fails: int, outcome: str
) -> None:
    call = Call()

    async def unsteady(_: Patience) -> str:
        call.tries += 1
        if call.tries <= fails:
            raise ConnectionError(f"try {call.tries}")
        return "done"

    trying = call.under(Bounds(Limits(retries=retries)), unsteady)
    if outcome == "done":
        assert await trying == "done"
    else:
        with pytest.raises(ConnectionError, match=f"try {retries + 1}"):
            await trying
    assert (call.tries, call.begun_again) == (retries + 1, retries)


async def test_a_turn_that_cannot_be_kept_is_no_reason_to_try_again() -> None:
    call = Call()
    call.final = True

    async def refused(_: Patience) -> None:
        call.tries += 1
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await call.under(Bounds(Limits(retries=5)), refused)
    assert call.tries == 1


async def test_no_more_calls_than_allowed_run_side_by_side() -> None:
    running, most = 0, 0

    async def work(_: Patience) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    bounds = Bounds(Limits(max_concurrent=2))
    await asyncio.gather(*(Call().under(bounds, work) for _ in range(9)))
    assert most == 2


async def test_a_cancelled_call_is_not_tried_again() -> None:
    call = Call()
    running = asyncio.create_task(call.under(Bounds(Limits(retries=3)), hang))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert call.begun_again == 0
