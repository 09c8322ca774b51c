"""A short chaos run: a few chats, some faults of many kinds, and not one violation."""

from pathlib import Path

import pytest

from tests.chaos.run import Options, run
from tests.chaos.schedule import plan

pytestmark = [
    pytest.mark.system,
    pytest.mark.mongo,
    pytest.mark.broker,
    pytest.mark.timeout(300),
]

SEED = 13
"""Its faults are of eight kinds, and none of them needs more than an ordinary machine allows."""
FAULTS = 10
SECONDS = 15.0


def test_the_short_run_has_many_kinds_of_faults() -> None:
    kinds = {fault.kind for fault in plan(SEED, FAULTS, SECONDS)}
    assert len(kinds) == 8
    assert "disk full" not in kinds


async def test_a_short_chaos_run_violates_nothing(tmp_path: Path) -> None:
    options = Options(SEED, FAULTS, SECONDS, chats=4, folder=tmp_path, patience=120.0)
    outcome = await run(options)
    assert outcome.collected.logs
    assert len(outcome.collected.done) == FAULTS
    assert not outcome.violations, outcome.text(SEED)
