"""The /health, /ready and /metrics pages of a process."""

import asyncio
import json
from collections.abc import Callable
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from services.chassis.metrics import Check, ProcessMetrics

PAUSE_FACTOR = 20
"""The metrics are written again after a pause of so many times as long as writing them took: whoever
asks without end, which everybody may, takes a twentieth of the process's time."""


class Probes:
    """Answers /health, /ready and /metrics from the memory of the process.

    /health says that the event loop runs; /ready evaluates every check and fails while the process
    drains; no probe sends a request to another server.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.metrics = ProcessMetrics(registry)
        self.metrics.health.checks = lambda: {**self._checks, **self._permanent}
        self.details: Callable[[], dict[str, Any]] = dict
        self.streams_at_start: list[str] = []
        """How streams differed from their definitions when the service started."""
        self._checks: dict[str, Check] = {"startup": lambda: "still starting"}
        self._permanent: dict[str, Check] = {}
        self._metrics = (b"", float("-inf"))
        """The page as it was written last, and when that began."""
        self._metrics_due = float("-inf")

    def ready_when(self, **checks: Check) -> None:
        """Replace the checks: until the first call the process is starting."""
        self._checks = checks

    def ready_only_when(self, **checks: Check) -> None:
        """Checks that are evaluated besides those of `ready_when`, which do not replace them."""
        self._permanent = checks

    def starting_until(self, **checks: Check) -> None:
        """Name, besides "still starting", what the start waits for."""
        if "startup" in self._checks:
            self._checks = {"startup": self._checks["startup"], **checks}

    def draining(self) -> None:
        self._checks = {"drain": lambda: "stopping"}

    @property
    def waiting_for(self) -> dict[str, str]:
        """What the process waits for, by the name of the check; nothing where it is ready."""
        checks = {**self._checks, **self._permanent}
        return {name: why for name, check in checks.items() if (why := check())}

    def page(self, path: str) -> tuple[int, str, bytes] | None:
        """Status, content type and body of /health and /ready; None for any other path."""
        match path:
            case "/health":
                return 200, "application/json", b'{"status":"ok"}'
            case "/ready":
                problems = self.waiting_for
                body = {"ready": not problems, "waiting_for": problems, **self.details()}
                if self.streams_at_start:
                    body["streams_at_start"] = self.streams_at_start
                return 503 if problems else 200, "application/json", json.dumps(body).encode()
            case _:
                return None

    async def metrics_page(self) -> tuple[int, str, bytes]:
        """/metrics, as of now or later: those who ask during the pause get the same page after it."""
        asked = perf_counter()
        while self._metrics[1] < asked:
            if (pause := self._metrics_due - perf_counter()) > 0:
                await asyncio.sleep(pause)
            else:
                began = perf_counter()
                self._metrics = generate_latest(self.registry), began
                ended = perf_counter()
                self._metrics_due = ended + PAUSE_FACTOR * (ended - began)
        return 200, CONTENT_TYPE_LATEST, self._metrics[0]
