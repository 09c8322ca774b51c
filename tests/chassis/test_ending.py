import asyncio

import pytest

from services.chassis.ending import end


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
    assert await end(task) == [None]
    assert lost.is_set()


async def test_what_a_task_raised_is_told() -> None:
    async def broken() -> None:
        raise ValueError("broken")

    task = asyncio.create_task(broken())
    await asyncio.wait([task])
    (trouble,) = await end(task)
    with pytest.raises(ValueError, match="broken"):
        raise trouble or AssertionError
