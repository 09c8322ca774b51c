"""Run the transport: python -m services.transport"""

import gc

from services.chassis.process.server import serve
from services.transport.app import build_app, socket_options
from services.transport.settings import Settings

YOUNG_OBJECTS = 3_000
"""Threshold of the youngest generation: with hundreds of sockets a full garbage collection takes 0.1 s,
and by Python's default it would run in the middle of busy chats."""

if __name__ == "__main__":
    settings = Settings()
    port, options = settings.transport_port, socket_options(settings)
    app, probes = build_app(settings)
    gc.freeze()  # what exists now stays, and is not scanned again
    gc.set_threshold(YOUNG_OBJECTS)
    serve("transport", app, probes, settings, port, **options)
