"""What metrics may do in NATS: read events, save its own state, answer requests for its pages."""

from contracts import subjects
from services.chassis.nats.permissions import (
    all_of,
    connects,
    inspects,
    may_publish,
    may_subscribe,
    reads,
    writes_bucket,
)

SERVICE = "metrics"
PERMISSIONS = all_of(
    [
        connects(SERVICE),
        inspects(subjects.EVENTS),
        reads(subjects.EVENTS),
        may_publish(
            f"$JS.API.CONSUMER.CREATE.EVENTS.*.{subjects.ALL_EVENTS}",
            "$JS.API.CONSUMER.INFO.EVENTS.*",
            "$JS.API.CONSUMER.MSG.NEXT.EVENTS.*",
        ),
        writes_bucket(subjects.PERF),
        may_subscribe(subjects.METRICS_PAGES),
        may_publish(subjects.ALL_METRICS_ANSWERS),
    ]
)
