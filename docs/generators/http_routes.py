"""The OpenAPI document of the transport, without a server."""

import json
from typing import Any

from services.transport.http.routes import schema_file


def document() -> dict[str, Any]:
    """What the transport answers on `GET /schema`."""
    parsed: dict[str, Any] = json.loads(schema_file().body)
    return parsed
