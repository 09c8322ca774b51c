"""The streams and buckets that the product stands on, made equal to this page at every start."""

from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    KeyValueConfig,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError, NotFoundError

from contracts import subjects

MAX_CONSUMERS = 64
"""A stream's consumers are few and long-lived; one per chat or viewer would meet this limit at once."""
DELTAS_KEPT_SECONDS = 600.0
LEASE_SECONDS = 3.0
"""How long a run's lease outlives its last renewal."""
LOOKUP_SECONDS = 60.0
"""How long a question about data elsewhere, and its answer, are kept."""
TICKET_SECONDS = 60.0
TRIES_KEPT_SECONDS = 7 * 24 * 3600.0
"""Longer than the pauses between the tries of a message come to."""
ANSWERS_KEPT_SECONDS = 30 * 24 * 3600.0


async def ensure_streams(nc: Client, *, replicas: int) -> None:
    """Create or update every stream, and create what buckets are missing.

    Raises nats.js.errors.Error when the server refuses.
    """
    js = nc.jetstream()
    for config in _streams(replicas):
        await _ensure(js, config)
    for bucket in _buckets(replicas):
        await _ensure_bucket(js, bucket)
    for store in (subjects.MANIFESTS, subjects.ATTACHMENTS):
        await _ensure_object_store(js, ObjectStoreConfig(bucket=store, replicas=replicas))


async def _ensure(js: JetStreamContext, config: StreamConfig) -> None:
    try:
        await js.add_stream(config)
    except BadRequestError:  # there already, with other settings
        await js.update_stream(config)


async def _ensure_bucket(js: JetStreamContext, config: KeyValueConfig) -> None:
    try:
        await js.key_value(config.bucket)
    except NotFoundError:
        await js.create_key_value(config)


async def _ensure_object_store(js: JetStreamContext, config: ObjectStoreConfig) -> None:
    try:
        await js.object_store(str(config.bucket))
    except NotFoundError:
        await js.create_object_store(str(config.bucket), config)


def _streams(replicas: int) -> list[StreamConfig]:
    return [
        _stream(
            subjects.COMMANDS,
            [subjects.ALL_COMMANDS, subjects.ALL_TIMERS],
            replicas,
            retention=RetentionPolicy.WORK_QUEUE,
            allow_msg_schedules=True,
            allow_msg_ttl=True,
        ),
        _stream(
            subjects.EVENTS,
            [subjects.ALL_EVENTS],
            replicas,
            allow_direct=True,
            allow_atomic=True,
            republish=RePublish(src="mozaiks.evt.*.*.*", dest=subjects.EVENTS_REPUBLISHED),
        ),
        _stream(
            subjects.DELTAS,
            [subjects.ALL_DELTAS],
            replicas,
            allow_direct=True,
            max_age=DELTAS_KEPT_SECONDS,
            republish=RePublish(src="mozaiks.delta.*.*", dest=subjects.DELTAS_REPUBLISHED),
        ),
        _stream(
            subjects.LOOKUPS,
            [subjects.ALL_LOOKUPS, subjects.ALL_FINDINGS],
            replicas,
            max_age=LOOKUP_SECONDS,
        ),
        _stream(subjects.DEAD_LETTERS, [subjects.ALL_DEAD_LETTERS], replicas),
    ]


def _stream(name: str, caught: list[str], replicas: int, **more: Any) -> StreamConfig:
    shared: dict[str, Any] = {
        "retention": RetentionPolicy.LIMITS,
        "storage": StorageType.FILE,
        "max_consumers": MAX_CONSUMERS,
    }
    return StreamConfig(name=name, subjects=caught, num_replicas=replicas, **{**shared, **more})


def _buckets(replicas: int) -> list[KeyValueConfig]:
    lifetimes = {
        subjects.LEASES: LEASE_SECONDS,
        subjects.WORKFLOWS: None,
        subjects.CHATS: None,
        subjects.PERF: None,
        subjects.TICKETS: TICKET_SECONDS,
        subjects.TRIES: TRIES_KEPT_SECONDS,
        subjects.ANSWERS: ANSWERS_KEPT_SECONDS,
    }
    return [
        KeyValueConfig(bucket=name, ttl=ttl, replicas=replicas, direct=True)
        for name, ttl in lifetimes.items()
    ]
