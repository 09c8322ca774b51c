"""How many calls of one provider this process makes at a time, and whose is next."""

from collections.abc import Callable
from functools import partial

from services.chassis.consumers.fair_queue import Shares
from services.chassis.consumers.slots import FairSlots

UNLIMITED = Shares(2**31, 2**31)
CountCalls = Callable[[str, FairSlots], None]
"""Told the address of a provider and its slots, whenever those have changed."""


def count_nothing(_: str, __: FairSlots) -> None:
    """A CountCalls."""


class ModelSlots:
    """Slots for the calls of each provider, by its address, which the apps of a process share."""

    def __init__(self, shares: Shares = UNLIMITED, count: CountCalls = count_nothing) -> None:
        self._shares = shares
        self._count = count
        self._slots: dict[str, FairSlots] = {}

    def of(self, address: str) -> FairSlots:
        """Those of one provider: as many addresses as the workflows name."""
        if address not in self._slots:
            self._slots[address] = FairSlots(self._shares, partial(self._count, address))
        return self._slots[address]
