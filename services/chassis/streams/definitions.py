"""The streams, buckets and object stores of the product, as they are defined."""

import json
from typing import Any

from nats.js.api import (
    DiscardPolicy,
    KeyValueConfig,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)

from contracts import event_streams, subjects
from contracts.event_streams import ONE_STREAM, EventStreams
from services.chassis.streams.plan import COMPRESSION_SET, Config

MAX_CONSUMERS = 64
"""A stream's consumers are few and durable; one per chat or viewer would reach this limit at once."""
DELTAS_SECONDS = 600.0
BUSINESS_SECONDS = 7 * 24 * 3600.0
"""How long a subscriber of the runtime's business events may be away."""
LOOKUP_SECONDS = 60.0
"""How long a lookup request and its response are kept."""
TICKET_SECONDS = 60.0
ATTEMPTS_SECONDS = 7 * 24 * 3600.0
"""Longer than the pauses between the attempts of a message add up to."""
ANSWERS_SECONDS = 30 * 24 * 3600.0
SNAPSHOT_SECONDS = 30 * 24 * 3600.0
"""A chat that nobody has used for so long is folded from its first event again."""
ERASURES_SECONDS = 30 * 24 * 3600.0
"""How long it is known what was erased."""
DUPLICATE_SECONDS = 120.0
"""For how long a bucket's stream knows message ids, where its values live that long."""
COMPRESSED = (
    subjects.EVENTS,
    subjects.BUSINESS,
    subjects.DEAD_LETTERS,
    subjects.BUDGETS,
    subjects.bucket_stream(subjects.WORKFLOWS),
    subjects.bucket_stream(subjects.ANSWERS),
    subjects.object_stream(subjects.MANIFESTS),
    subjects.object_stream(subjects.ATTACHMENTS),
    subjects.object_stream(subjects.VALUES),
)
"""What grows and stays, and every other stream of events. The server compresses a block of 8 MB when the next one begins; the messages
of the others are gone before, or, in bucket `chats`, replaced in place."""


def definitions(replicas: int, events: EventStreams = ONE_STREAM) -> list[Config]:
    """The configuration of each stream, including those of buckets and object stores.

    `events` are the streams that the events are spread over.
    """
    configs = [
        *_streams(replicas, events),
        *map(_bucket_stream, _buckets(replicas)),
        *map(_object_stream, _object_stores(replicas)),
    ]
    return [json.loads(json.dumps(_compressed(config).as_dict())) for config in configs]


def _compressed(config: StreamConfig) -> StreamConfig:
    if config.name not in (*COMPRESSED, *event_streams.NAMES):
        return config
    s2 = StoreCompression.S2
    metadata = {**(config.metadata or {}), COMPRESSION_SET: s2.value}
    return config.evolve(compression=s2, metadata=metadata)


def _streams(replicas: int, events: EventStreams) -> list[StreamConfig]:
    return [
        _stream(
            subjects.COMMANDS,
            [subjects.ALL_COMMANDS, subjects.ALL_TIMERS],
            replicas,
            retention=RetentionPolicy.WORK_QUEUE,
            allow_direct=True,
            allow_msg_schedules=True,
            allow_msg_ttl=True,
            allow_rollup_hdrs=True,  # schedules need them: the server allows them by itself
        ),
        *(_event_stream(name, replicas, events) for name in events.names),
        _stream(
            subjects.DELTAS,
            [subjects.ALL_DELTAS],
            replicas,
            allow_direct=True,
            max_age=DELTAS_SECONDS,
            republish=RePublish(src=subjects.DELTAS_OF_CHATS, dest=subjects.DELTAS_REPUBLISHED),
        ),
        _stream(
            subjects.LOOKUPS,
            [subjects.ALL_LOOKUPS, subjects.ALL_QUERIES, subjects.ALL_FINDINGS],
            replicas,
            max_age=LOOKUP_SECONDS,
        ),
        _stream(subjects.DEAD_LETTERS, [subjects.ALL_DEAD_LETTERS], replicas),
        _stream(
            subjects.BUSINESS,
            [subjects.ALL_BUSINESS],
            replicas,
            allow_direct=True,
            max_age=BUSINESS_SECONDS,
        ),
        _stream(subjects.BUDGETS, [subjects.ALL_LEDGERS], replicas, allow_direct=True),
    ]


def _event_stream(name: str, replicas: int, events: EventStreams) -> StreamConfig:
    metadata = event_streams.metadata_of(events) if name == subjects.EVENTS else {}
    return _stream(
        name,
        events.subjects(name),
        replicas,
        allow_direct=True,
        republish=RePublish(src=subjects.EVENTS_OF_CHATS, dest=subjects.EVENTS_REPUBLISHED),
        metadata=metadata or None,
    )


def _stream(name: str, caught: list[str], replicas: int, **more: Any) -> StreamConfig:
    shared: dict[str, Any] = {
        "retention": RetentionPolicy.LIMITS,
        "storage": StorageType.FILE,
        "max_consumers": MAX_CONSUMERS,
    }
    return StreamConfig(name=name, subjects=caught, num_replicas=replicas, **{**shared, **more})


def _buckets(replicas: int) -> list[KeyValueConfig]:
    lifetimes = {
        subjects.WORKFLOWS: None,
        subjects.CHATS: None,
        subjects.PERF: None,
        subjects.TICKETS: TICKET_SECONDS,
        subjects.ATTEMPTS: ATTEMPTS_SECONDS,
        subjects.ANSWERS: ANSWERS_SECONDS,
        subjects.SNAPSHOTS: SNAPSHOT_SECONDS,
        subjects.ERASURES: ERASURES_SECONDS,
        subjects.BUDGET_LIMITS: None,
        subjects.CHAT_KEYS: None,
    }
    return [
        KeyValueConfig(bucket=name, ttl=ttl, replicas=replicas, direct=True)
        for name, ttl in lifetimes.items()
    ]


def _object_stores(replicas: int) -> list[ObjectStoreConfig]:
    names = (subjects.MANIFESTS, subjects.ATTACHMENTS, subjects.VALUES)
    return [ObjectStoreConfig(bucket=name, replicas=replicas) for name in names]


def _bucket_stream(config: KeyValueConfig) -> StreamConfig:
    """The stream behind a bucket, as nats-py creates it, without an interface for it (NATS ADR-8)."""
    return StreamConfig(
        name=subjects.bucket_stream(config.bucket),
        subjects=[subjects.bucket_subject(config.bucket, ">")],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=config.ttl,
        duplicate_window=min(config.ttl or DUPLICATE_SECONDS, DUPLICATE_SECONDS),
        max_msgs_per_subject=config.history,
        num_replicas=config.replicas,
        allow_direct=config.direct,
        allow_rollup_hdrs=True,
        deny_delete=True,
    )


def _object_stream(config: ObjectStoreConfig) -> StreamConfig:
    """The stream behind an object store, as nats-py creates it, without an interface for it (NATS ADR-20)."""
    return StreamConfig(
        name=subjects.object_stream(str(config.bucket)),
        subjects=[f"$O.{config.bucket}.C.>", f"$O.{config.bucket}.M.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        num_replicas=config.replicas,
        allow_direct=True,
        allow_rollup_hdrs=True,
    )
