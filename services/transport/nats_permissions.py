"""What the transport may do in NATS: send commands, read chats, never append an event."""

from contracts import subjects
from contracts.event_streams import NAMES as EVENT_STREAMS
from services.chassis.nats.permissions import (
    all_of,
    connects,
    inspects,
    keeps_ledgers,
    may_publish,
    may_subscribe,
    probes_storage,
    reads,
    reads_bucket,
    reads_objects,
    removes_messages,
    reports_readiness,
    writes_bucket,
    writes_objects,
)

SERVICE = "transport"
PERMISSIONS = all_of(
    [
        connects(SERVICE),
        reports_readiness(),
        inspects(subjects.COMMANDS, *EVENT_STREAMS, subjects.DELTAS, subjects.LOOKUPS),
        inspects(subjects.DEAD_LETTERS),
        may_publish(subjects.ALL_COMMANDS, subjects.ALL_QUERIES),
        may_publish(subjects.METRICS_PAGES, subjects.EXPLANATIONS),
        may_publish(subjects.INSPECTIONS, subjects.READINESS),
        may_subscribe(
            subjects.ALL_FINDINGS,
            subjects.ALL_METRICS_ANSWERS,
            subjects.ALL_EXPLANATIONS,
            subjects.ALL_INSPECTIONS,
            subjects.ALL_READINESS_ANSWERS,
            "mozaiks.live.>",
            "mozaiks.inbox.>",
        ),
        probes_storage(subjects.COMMANDS, *EVENT_STREAMS),
        reads(*EVENT_STREAMS, subjects.DELTAS, subjects.DEAD_LETTERS),
        removes_messages(subjects.DEAD_LETTERS),  # those that operators re-drive or drop
        may_publish(  # counts the commands of an app, and finds which answer came first
            f"$JS.API.DIRECT.GET.{subjects.COMMANDS}",
            f"$JS.API.STREAM.MSG.GET.{subjects.COMMANDS}",
        ),
        reads_bucket(subjects.WORKFLOWS, subjects.CHATS),
        writes_bucket(
            subjects.TICKETS, subjects.ERASURES, subjects.BUDGET_LIMITS, subjects.CHAT_KEYS
        ),
        keeps_ledgers(),
        reads_objects(subjects.VALUES),
        writes_objects(subjects.ATTACHMENTS),
    ]
)
