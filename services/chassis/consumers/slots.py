"""Slots of a process that its apps share: a task waits for one until it is its app's turn."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from services.chassis.consumers.fair_queue import FairQueue, Shares


def _ignore(_: "FairSlots") -> None:
    """A change that nobody counts."""


class FairSlots:
    """Slots that are given by weighted round robin to the apps whose tasks wait for one."""

    def __init__(self, shares: Shares, on_change: Callable[["FairSlots"], None] = _ignore) -> None:
        """`on_change` is called after the number of slots in use, or of waiting tasks, has changed."""
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue(shares)
        self._on_change = on_change

    @property
    def in_use(self) -> int:
        return self._queue.in_use

    @property
    def is_full(self) -> bool:
        """Whether no app can be given one now."""
        return self._queue.is_full

    @property
    def waiting(self) -> int:
        """Tasks that wait for a slot."""
        return self._queue.waiting

    async def acquire(self, app: str) -> None:
        """Returns once a slot is given to this task, which has to release it."""
        given = asyncio.get_running_loop().create_future()
        self._queue.add(app, given)
        self._give()
        try:
            await given
        except asyncio.CancelledError:
            if not given.cancelled():  # it was given in the same moment
                self.release(app)
            raise

    def release(self, app: str) -> None:
        self._queue.release(app)
        self._give()

    @asynccontextmanager
    async def using(self, app: str) -> AsyncIterator[None]:
        await self.acquire(app)
        try:
            yield
        finally:
            self.release(app)

    def _give(self) -> None:
        while (taken := self._queue.take()) is not None:
            app, given = taken
            if given.cancelled():
                self._queue.release(app)
            else:
                given.set_result(None)
        self._on_change(self)


class Slot(Protocol):
    """The slot of a task, which it need not hold all the time."""

    async def acquire(self) -> None:
        """Wait for the slot, unless it is held."""
        ...

    def release(self) -> None:
        """Leave the slot to others, if it is held."""
        ...


class AppSlot:
    """A Slot of one app. Once it is closed it is never held again.

    `enter` is called before the slot is waited for; what it raises, `acquire` raises.
    """

    def __init__(
        self, slots: FairSlots, app: str, enter: Callable[[], None] = lambda: None
    ) -> None:
        self._slots = slots
        self._app = app
        self._enter = enter
        self._is_held = False
        self._is_closed = False
        self._lock = asyncio.Lock()

    async def acquire(self) -> None:
        async with self._lock:  # tasks of one chat do not take two
            if self._is_held or self._is_over():
                return
            self._enter()
            await self._slots.acquire(self._app)
            self._is_held = True
            if self._is_over():
                self.release()

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._slots.release(self._app)

    def _is_over(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Release the slot for good."""
        self._is_closed = True
        self.release()


class _NoSlot:
    async def acquire(self) -> None:
        """Nothing is limited."""

    def release(self) -> None:
        """Nothing is limited."""


NO_SLOT: Slot = _NoSlot()


@asynccontextmanager
async def released(slot: Slot) -> AsyncIterator[None]:
    """Leave the slot to others while something is awaited that needs no processor, as a model.

    It is waited for again where what is inside returns, not where that raises: whoever goes on after
    an error acquires it.
    """
    slot.release()
    yield
    await slot.acquire()
