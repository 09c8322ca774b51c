"""infra/nats_permissions.json: what each service may do in NATS, from the services' declarations."""

import json
from pathlib import Path

from services.chassis.nats.permissions import all_of, connects, may_publish
from services.metrics import nats_permissions as metrics
from services.orchestrator import nats_permissions as orchestrator
from services.persistence import nats_permissions as persistence
from services.transport import nats_permissions as transport

PAGE = Path(__file__).parents[2] / "infra" / "nats_permissions.json"

ENSURE = all_of(
    [
        connects("streams"),
        may_publish(*(f"$JS.API.STREAM.{verb}.*" for verb in ("CREATE", "UPDATE", "INFO"))),
    ]
)
"""The program that creates and upgrades the streams; nobody else may."""

BACKUP = all_of(
    [
        connects("backup"),
        may_publish("$JS.API.STREAM.NAMES", "$JS.API.STREAM.SNAPSHOT.*", "$JS.SNAPSHOT.ACK.>"),
    ]
)
"""`mozaiks backup`. To restore is for an operator: it makes and deletes streams."""

USERS = {
    orchestrator.SERVICE: orchestrator.PERMISSIONS,
    transport.SERVICE: transport.PERMISSIONS,
    persistence.SERVICE: persistence.PERMISSIONS,
    metrics.SERVICE: metrics.PERMISSIONS,
    "streams": ENSURE,
    "backup": BACKUP,
}


def text() -> str:
    users = {
        name: {"publish": sorted(one.publish), "subscribe": sorted(one.subscribe)}
        for name, one in USERS.items()
    }
    return json.dumps(users, indent=2) + "\n"
