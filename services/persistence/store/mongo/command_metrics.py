"""Measures the commands to MongoDB, as the driver reports them."""

from prometheus_client import Histogram
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from services.chassis.metrics import OTHER

COMMANDS = frozenset(
    [
        "aggregate",
        "bulkWrite",
        "count",
        "createIndexes",
        "delete",
        "distinct",
        "find",
        "findAndModify",
        "getMore",
        "hello",
        "insert",
        "listCollections",
        "ping",
        "update",
    ]
)
"""The commands that have a label of their own."""


class CommandMetrics(CommandListener):
    """Observes the duration of each command, by `command` and `outcome`: ok or failed."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram

    def started(self, event: CommandStartedEvent) -> None:
        """What was asked may be a tenant's and is not looked at."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self._observe(event.command_name, "ok", event.duration_micros)

    def failed(self, event: CommandFailedEvent) -> None:
        self._observe(event.command_name, "failed", event.duration_micros)

    def _observe(self, command: str, outcome: str, micros: int) -> None:
        name = command if command in COMMANDS else OTHER
        self._histogram.labels(name, outcome).observe(micros / 1_000_000)
