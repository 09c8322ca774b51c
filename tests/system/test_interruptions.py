"""What was shown of an interrupted answer is what every later reader gets, on real processes."""

from pathlib import Path
from random import Random

import pytest

from tests.system.interruptions import interrupt_answers, running_stage

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]


async def test_stops_cancellations_and_kills_leave_live_and_fresh_clients_equal(
    tmp_path: Path,
) -> None:
    async with running_stage(tmp_path) as stage:
        found = await interrupt_answers(stage, 15, Random(7))
    assert len(found) >= 15
    differing = [one for one in found if not one.is_equal]
    assert differing == []
