"""Run the persistence service: python -m services.persistence"""

from services.chassis.process import serve
from services.persistence.app import Settings, build_app

if __name__ == "__main__":
    settings = Settings()
    serve("persistence", *build_app(settings), settings, settings.persistence_port)
