"""Wherever an orchestrator is killed in a model call, the ledger has what the provider has counted."""

from pathlib import Path

import pytest

from tests.budget_kills.run import POINTS, run

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


async def test_the_ledger_equals_the_providers_count_after_a_kill_at_every_point(
    tmp_path: Path,
) -> None:
    """Three calls at each point, by the kill of one process."""
    kills = 3 * len(POINTS)
    counts = await run(tmp_path, kills, width=kills)
    assert counts.problems() == [], counts.report()
    assert (counts.kills, counts.provider_calls) == (kills, kills)
