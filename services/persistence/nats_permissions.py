"""What persistence may do in NATS: read events, answer lookups, publish rows of chat lists, erase."""

from contracts import subjects
from contracts.event_streams import NAMES as EVENT_STREAMS
from services.chassis.nats.permissions import (
    all_of,
    connects,
    consumes,
    inspects,
    may_publish,
    probes_storage,
    purges,
    reads,
    reads_objects,
    reports_readiness,
    settles,
    writes_bucket,
)

SERVICE = "persistence"
DURABLE, LOOKUPS, QUERIES = "persistence-events", "persistence-lookups", "persistence-queries"
"""Its durable consumers."""
ERASED_FROM = (
    subjects.COMMANDS,
    *EVENT_STREAMS,
    subjects.DELTAS,
    subjects.LOOKUPS,
    subjects.DEAD_LETTERS,
    subjects.BUSINESS,
    subjects.bucket_stream(subjects.CHATS),
    subjects.bucket_stream(subjects.SNAPSHOTS),
    subjects.bucket_stream(subjects.ANSWERS),
    subjects.object_stream(subjects.ATTACHMENTS),
    subjects.object_stream(subjects.VALUES),
)
"""The streams that hold something of a chat."""
PERMISSIONS = all_of(
    [
        connects(SERVICE),
        reports_readiness(),
        inspects(*EVENT_STREAMS, subjects.LOOKUPS, subjects.BUSINESS),
        *(consumes(stream, DURABLE, subjects.ALL_EVENTS) for stream in EVENT_STREAMS),
        consumes(subjects.LOOKUPS, LOOKUPS, subjects.ALL_LOOKUPS),
        consumes(subjects.LOOKUPS, QUERIES, subjects.ALL_QUERIES),
        settles(SERVICE, DURABLE, LOOKUPS, QUERIES),
        may_publish(subjects.ALL_FINDINGS, "mozaiks.inbox.>", subjects.ALL_BUSINESS),
        probes_storage(subjects.LOOKUPS, subjects.BUSINESS),
        reads(*EVENT_STREAMS, subjects.LOOKUPS),
        reads_objects(subjects.VALUES, subjects.ATTACHMENTS),
        writes_bucket(subjects.CHATS, subjects.ERASURES, subjects.CHAT_KEYS),
        # Of erased chats: the event, and what is left of them.
        may_publish(subjects.ALL_EVENTS),
        purges(*ERASED_FROM),
    ]
)
