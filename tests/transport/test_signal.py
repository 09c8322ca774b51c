import asyncio

import pytest

from services.chassis.ending import end
from services.transport.signal import Signal


async def test_who_waits_goes_on_when_the_signal_is_set_and_at_once_when_it_is_set_already() -> (
    None
):
    signal = Signal()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.set()
    signal.set()
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(signal.wait(), 1)
    assert signal.is_set()


async def test_a_signal_that_was_cleared_is_waited_for_again_also_after_a_waiter_gave_up() -> None:
    signal = Signal()
    signal.set()
    signal.clear()
    waiting = asyncio.create_task(signal.wait())
    await asyncio.sleep(0)
    await end(waiting)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(signal.wait(), 0.01)
    signal.set()
    await asyncio.wait_for(signal.wait(), 1)
