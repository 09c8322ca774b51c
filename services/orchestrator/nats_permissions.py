"""What the orchestrator may do in NATS: take commands, append events, stream text."""

from contracts import subjects
from contracts.event_streams import NAMES as EVENT_STREAMS
from services.chassis.nats.permissions import (
    all_of,
    connects,
    consumes,
    inspects,
    keeps_ledgers,
    may_publish,
    may_subscribe,
    probes_storage,
    reads,
    reads_bucket,
    reports_readiness,
    settles,
    writes_bucket,
    writes_objects,
)

SERVICE = "orchestrator"
PERMISSIONS = all_of(
    [
        connects(SERVICE),
        reports_readiness(),
        inspects(subjects.COMMANDS, *EVENT_STREAMS, subjects.DELTAS, subjects.LOOKUPS),
        consumes(subjects.COMMANDS, SERVICE, subjects.ALL_COMMANDS),
        settles(SERVICE, SERVICE),
        may_publish(subjects.ALL_EVENTS, subjects.ALL_DELTAS, subjects.ALL_TIMERS),
        may_publish(subjects.ALL_LOOKUPS, "mozaiks.query.restore.>"),
        may_subscribe(subjects.ALL_FINDINGS, "mozaiks.live.>"),
        probes_storage(subjects.COMMANDS, *EVENT_STREAMS),
        reads(*EVENT_STREAMS, subjects.DELTAS, subjects.COMMANDS),
        writes_bucket(subjects.WORKFLOWS, subjects.SNAPSHOTS, subjects.ANSWERS, subjects.CHAT_KEYS),
        reads_bucket(subjects.BUDGET_LIMITS),
        keeps_ledgers(),
        writes_objects(subjects.MANIFESTS, subjects.VALUES),
        may_publish(f"mozaiks.peers.{SERVICE}.>"),
        may_subscribe(f"mozaiks.peers.{SERVICE}.>", subjects.EXPLANATIONS, subjects.INSPECTIONS),
        may_publish(subjects.ALL_EXPLANATIONS, subjects.ALL_INSPECTIONS),
    ]
)
