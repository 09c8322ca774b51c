import asyncio
import gc
import logging

import pytest

from services.chassis.tasks import (
    SingleWaiterEvent,
    cancel_and_wait,
    repeat,
    run_until_first_ends,
)


async def test_a_task_that_loses_one_cancellation_still_ends() -> None:
    lost = asyncio.Event()

    async def forgetful() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            lost.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    assert await cancel_and_wait(task) == [None]
    assert lost.is_set()


async def test_the_errors_of_cancelled_tasks_are_returned() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(broken())
    await asyncio.wait([task])
    (trouble,) = await cancel_and_wait(task)
    with pytest.raises(ValueError, match="broken"):
        raise trouble or AssertionError


async def test_work_that_is_repeated_goes_on_after_an_error_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done, again = list[int](), asyncio.Event()

    async def work() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise ValueError("odd")
        again.set()

    task = asyncio.create_task(repeat(work, 0, logging.getLogger("test")), name="the work")
    await again.wait()
    await cancel_and_wait(task)
    assert done[:2] == [0, 1]
    (record,) = caplog.records
    assert record.getMessage() == "the work: failed, and is tried again"
    assert record.exc_info is not None


async def test_an_error_of_one_coroutine_keeps_no_reference_to_what_the_others_hold() -> None:
    class Burden:
        pass

    async def breaks() -> None:
        raise ValueError("broken")

    async def carries(_: Burden) -> None:
        await asyncio.Event().wait()

    gc.collect()
    gc.disable()  # only what nothing refers to is freed
    try:
        with pytest.raises(ValueError, match="broken"):
            await run_until_first_ends(breaks(), carries(Burden()))
        await asyncio.sleep(0)
        assert not [one for one in gc.get_objects() if type(one) is Burden]
    finally:
        gc.enable()


async def test_a_waiter_continues_when_the_event_is_set_and_at_once_when_it_is_already_set() -> (
    None
):
    event = SingleWaiterEvent()
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    event.set()
    await asyncio.wait_for(waiting, 1)
    await asyncio.wait_for(event.wait(), 1)
    assert event.is_set()


async def test_a_cleared_event_can_be_waited_for_again_also_after_a_waiter_gave_up() -> None:
    event = SingleWaiterEvent()
    event.set()
    event.clear()
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    await cancel_and_wait(waiting)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(event.wait(), 0.01)
    event.set()
    await asyncio.wait_for(event.wait(), 1)
