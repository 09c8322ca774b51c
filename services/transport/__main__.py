"""Run the transport: python -m services.transport"""

from services.chassis.process import serve
from services.transport.app import Settings, build_app, socket_options

if __name__ == "__main__":
    settings = Settings()
    port, options = settings.transport_port, socket_options(settings)
    serve("transport", *build_app(settings), settings, port, **options)
