"""Run the orchestrator: python -m services.orchestrator"""

from services.chassis.process import serve
from services.orchestrator.app import Settings, build_app

if __name__ == "__main__":
    settings = Settings()
    serve("orchestrator", *build_app(settings), settings, settings.orchestrator_port)
