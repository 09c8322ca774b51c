"""Run the metrics service: python -m services.metrics"""

from services.chassis.process import serve
from services.metrics.app import Settings, build_app

if __name__ == "__main__":
    settings = Settings()
    serve("metrics", *build_app(settings), settings, settings.metrics_port)
