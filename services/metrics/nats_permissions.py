"""What metrics may do in NATS: read events, inspect streams, save its own state, answer requests for its pages."""

from contracts import subjects
from contracts.event_streams import NAMES as EVENT_STREAMS
from services.chassis.nats.permissions import (
    all_of,
    connects,
    follows,
    inspects,
    may_publish,
    may_subscribe,
    reads,
    reports_readiness,
    writes_bucket,
)
from services.chassis.streams.definitions import definitions

SERVICE = "metrics"
STREAMS = tuple(sorted(config["name"] for config in definitions(1)))
"""Every stream of the product, whose state is shown."""
CONSUMED = (subjects.COMMANDS, subjects.EVENTS, subjects.LOOKUPS)
"""Streams whose durable consumers are shown."""
PERMISSIONS = all_of(
    [
        connects(SERVICE),
        reports_readiness(),
        inspects(*STREAMS),
        inspects(*EVENT_STREAMS),
        reads(*EVENT_STREAMS),
        follows(SERVICE, subjects.ALL_EVENTS),
        writes_bucket(subjects.PERF),
        may_publish(*(f"$JS.API.CONSUMER.LIST.{one}" for one in (*CONSUMED, *EVENT_STREAMS))),
        may_subscribe(subjects.METRICS_PAGES),
        may_publish(subjects.ALL_METRICS_ANSWERS),
    ]
)
