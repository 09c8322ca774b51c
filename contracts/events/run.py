"""Ownership of a run: recorded where a delivery of a command takes it over from another."""

from typing import ClassVar

from contracts.events.body import EventBody
from contracts.ids import RunnerId


class RunClaimed(EventBody):
    """A delivery continues what an earlier one began, and fences it.

    `runner` is the delivery that claims, `previous` the one whose events came last, none where a
    command was appended and nothing run.
    """

    type: ClassVar[str] = "run.claimed"
    runner: RunnerId
    attempt: int
    previous: RunnerId | None = None
