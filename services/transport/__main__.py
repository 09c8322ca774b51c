"""Run the transport: python -m services.transport"""

import gc

from services.chassis.process import serve
from services.transport.app import Settings, build_app, socket_options

YOUNG_OBJECTS = 3_000
"""How many are made before the collector looks: with hundreds of sockets a full look takes a tenth
of a second, and at its usual pace it would come in the middle of busy chats."""

if __name__ == "__main__":
    settings = Settings()
    port, options = settings.transport_port, socket_options(settings)
    app, probes = build_app(settings)
    gc.freeze()  # what is there from the start stays, and is looked through no more
    gc.set_threshold(YOUNG_OBJECTS)
    serve("transport", app, probes, settings, port, **options)
