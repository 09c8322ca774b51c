"""Progress of a tool: limited in frequency, and always with the newest update."""

import asyncio
from typing import Any

import pytest

from services.orchestrator.agents.tools import progress
from services.orchestrator.agents.tools.progress import (
    MAX_MESSAGE_CHARS,
    ProgressReporter,
    ProgressUpdate,
    parse_progress,
)
from services.orchestrator.domain.turn_steps import Completed
from tests.orchestrator.agents.turn_harness import (
    MemoryJournal,
    TurnHarness,
    model_response,
    tool_call,
    tool_result,
)
from tests.patience import PATIENCE_SECONDS
from workflows.tooling import ToolRuntime


class ShownUpdates:
    """Collects the updates that are shown, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.updates: list[ProgressUpdate] = []
        self._error = error

    async def __call__(self, newest: ProgressUpdate) -> None:
        if self._error is not None:
            raise self._error
        self.updates.append(newest)


@pytest.fixture
def long_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interval longer than any test."""
    monkeypatch.setattr(progress, "MIN_INTERVAL_SECONDS", 3600)


@pytest.mark.usefixtures("long_interval")
async def test_of_fast_updates_the_first_and_the_last_are_shown() -> None:
    shown = ShownUpdates()
    reporter = ProgressReporter(shown)
    for percent in range(101):
        reporter.report(parse_progress(percent, ""))
        await asyncio.sleep(0)
    await reporter.close()
    assert [one.percent for one in shown.updates] == [0, 100]


async def test_an_early_update_is_shown_after_the_interval() -> None:
    shown = ShownUpdates()
    reporter = ProgressReporter(shown)
    reporter.report(parse_progress(1, ""))
    await asyncio.sleep(0)
    reporter.report(parse_progress(2, ""))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(shown.updates) < 2:  # noqa: ASYNC110  waits for the interval
            await asyncio.sleep(0.01)
    await reporter.close()
    assert [one.percent for one in shown.updates] == [1, 2]


async def test_an_error_while_showing_progress_is_logged_and_fails_no_tool(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reporter = ProgressReporter(ShownUpdates(ConnectionError("away")))
    reporter.report(parse_progress(1, ""))
    await reporter.close()
    assert "progress of a tool was not shown" in caplog.text


@pytest.mark.parametrize("percent", [-1, 101, float("nan"), True, "50", [50]])
def test_an_invalid_percentage_is_refused_with_its_field(percent: Any) -> None:
    with pytest.raises(ValueError, match="percent: must be a number from 0 to 100"):
        parse_progress(percent, "")


def test_a_message_that_is_not_text_is_refused_and_a_long_one_is_truncated() -> None:
    with pytest.raises(ValueError, match="message: must be a text, not bytes"):
        parse_progress(1, b"half")
    assert len(parse_progress(None, "x" * 10_000).message) == MAX_MESSAGE_CHARS


async def updates(runtime: ToolRuntime) -> str:
    await runtime.progress(0, "beginning")
    await runtime.progress(100, "done")
    return "worked"


def blocking(runtime: ToolRuntime) -> str:
    runtime.wait(runtime.progress(0, "beginning"))
    runtime.wait(runtime.progress(100, "done"))
    return "worked"


@pytest.mark.parametrize("tool", [updates, blocking])
async def test_async_and_blocking_tools_report_progress(tool: Any) -> None:
    journal = MemoryJournal()
    harness = TurnHarness([model_response(None, tool_call(tool.__name__, "c1")), "Done."], [tool])
    assert await harness.run(journal) == Completed("Done.", None)
    assert journal.progress[-1] == ("c1", tool.__name__, 100.0, "done")
    assert tool_result(journal, "c1").status == "ok"


async def test_an_invalid_percentage_raises_in_the_tool() -> None:
    async def report_too_much(runtime: ToolRuntime) -> str:
        await runtime.progress(110)
        return "more than all"

    journal = MemoryJournal()
    await TurnHarness(
        [model_response(None, tool_call("report_too_much", "c1")), "Done."], [report_too_much]
    ).run(journal)
    assert tool_result(journal, "c1").error == (
        "ValueError: percent: must be a number from 0 to 100, not 110"
    )
    assert journal.progress == []
