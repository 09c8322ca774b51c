"""Run the metrics service: python -m services.metrics"""

import gc

from services.chassis.process.server import serve
from services.metrics.app import build_app
from services.metrics.settings import Settings

YOUNG_OBJECTS = 20_000
"""Threshold of the youngest generation: a batch of events has some ten thousand objects, which die
with it; by Python's default they would be scanned several times."""

if __name__ == "__main__":
    settings = Settings()
    app, probes = build_app(settings)
    gc.freeze()  # what exists now stays, and is not scanned again
    gc.set_threshold(YOUNG_OBJECTS)
    serve("metrics", app, probes, settings, settings.metrics_port)
