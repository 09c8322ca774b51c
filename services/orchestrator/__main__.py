"""Run the orchestrator: python -m services.orchestrator"""

import gc

gc.disable()  # the imports make no garbage: to look for it takes an eighth of their time

from services.chassis.process.server import serve  # noqa: E402
from services.orchestrator.app import build_app  # noqa: E402
from services.orchestrator.settings import Settings  # noqa: E402

if __name__ == "__main__":
    gc.freeze()  # what exists now stays, and is not scanned again
    gc.enable()
    settings = Settings()
    serve("orchestrator", *build_app(settings), settings, settings.orchestrator_port)
