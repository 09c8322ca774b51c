"""How far a tool is: shown as it says so, no more often than a person could see, the newest always."""

import asyncio
from typing import Any

import pytest

from services.orchestrator.agents import progress
from services.orchestrator.agents.progress import MESSAGE_LENGTH, Progress, Step, step
from services.orchestrator.turns import Spoke
from tests.orchestrator.agents.stage import MemoryJournal, Stage, call, result, says
from workflows.tooling import ToolRuntime


class Shown:
    """What a person saw."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.steps: list[Step] = []
        self._fault = fault

    async def __call__(self, newest: Step) -> None:
        if self._fault is not None:
            raise self._fault
        self.steps.append(newest)


@pytest.fixture
def hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause that no test outlasts."""
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 3600)


@pytest.mark.usefixtures("hour")
async def test_of_steps_that_come_too_fast_the_first_and_the_last_are_shown() -> None:
    shown = Shown()
    told = Progress(shown)
    for percent in range(101):
        told.tell(step(percent, ""))
        await asyncio.sleep(0)
    await told.close()
    assert [one.percent for one in shown.steps] == [0, 100]


async def test_a_step_that_came_too_early_is_shown_after_the_pause() -> None:
    shown = Shown()
    told = Progress(shown)
    told.tell(step(1, ""))
    await asyncio.sleep(0)
    told.tell(step(2, ""))
    async with asyncio.timeout(10):
        while len(shown.steps) < 2:  # noqa: ASYNC110  the pause is what is waited for
            await asyncio.sleep(0.01)
    await told.close()
    assert [one.percent for one in shown.steps] == [1, 2]


async def test_progress_that_cannot_be_shown_is_said_in_the_log_and_fails_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Progress(Shown(ConnectionError("away")))
    told.tell(step(1, ""))
    await told.close()
    assert "progress of a tool was not shown" in caplog.text


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), True, "50", [50]])
def test_a_percentage_that_is_none_is_refused_by_name(percent: Any) -> None:
    with pytest.raises(ValueError, match="percent: must be a number from 0 to 100"):
        step(percent, "")


def test_a_message_that_is_no_text_is_refused_and_a_long_one_is_cut() -> None:
    with pytest.raises(ValueError, match="message: must be a text, not bytes"):
        step(1, b"half")
    assert len(step(None, "x" * 10_000).message) == MESSAGE_LENGTH


async def steps(runtime: ToolRuntime) -> str:
    await runtime.progress(0, "beginning")
    await runtime.progress(100, "done")
    return "worked"


def blocking(runtime: ToolRuntime) -> str:
    runtime.wait(runtime.progress(0, "beginning"))
    runtime.wait(runtime.progress(100, "done"))
    return "worked"


@pytest.mark.parametrize("tool", [steps, blocking])
async def test_async_and_other_tools_show_how_far_they_are(tool: Any) -> None:
    journal = MemoryJournal()
    stage = Stage([says(None, call(tool.__name__, "c1")), "Done."], [tool])
    assert await stage.run(journal) == Spoke("Done.", None)
    assert journal.progress[-1] == ("c1", tool.__name__, 100.0, "done")
    assert result(journal, "c1").status == "ok"


async def test_a_wrong_percentage_is_the_tools_own_error() -> None:
    async def boast(runtime: ToolRuntime) -> str:
        await runtime.progress(110)
        return "more than all"

    journal = MemoryJournal()
    await Stage([says(None, call("boast", "c1")), "Done."], [boast]).run(journal)
    assert result(journal, "c1").error == (
        "ValueError: percent: must be a number from 0 to 100, not 110"
    )
    assert journal.progress == []
