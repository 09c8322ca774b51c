"""An orchestrator killed inside a tool that must be called once never causes a second effect."""

from pathlib import Path

import pytest

from tests.once_tools.run import report, run
from tests.once_tools.workflow import POINTS, POLICIES

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


async def test_no_kill_inside_a_tool_leads_to_a_second_effect_or_a_lost_doubt(
    tmp_path: Path,
) -> None:
    """Every point with every policy, by the kill of one process."""
    kills = len(POINTS) * len(POLICIES)
    outcomes = await run(tmp_path, kills, width=kills)
    problems = [problem for outcome in outcomes for problem in outcome.problems()]
    assert problems == [], report(outcomes)
    assert len(outcomes) == kills
