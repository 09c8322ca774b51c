"""The streams and buckets that the product stands on, made equal to this page at every start."""

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    KeyValueConfig,
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


async def ensure_streams(nc: Client, *, replicas: int) -> None:
    """Create or update every stream, and create what buckets are missing.

    Raises nats.js.errors.Error when the server refuses.
    """
    js = nc.jetstream()
    for config in _streams(replicas):
        await _ensure(js, config)
    for bucket in _buckets(replicas):
        await _ensure_bucket(js, bucket)


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


def _streams(replicas: int) -> list[StreamConfig]:
    return [
        StreamConfig(
            name=subjects.COMMANDS,
            subjects=[subjects.ALL_COMMANDS],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            num_replicas=replicas,
            max_consumers=MAX_CONSUMERS,
        ),
        StreamConfig(
            name=subjects.EVENTS,
            subjects=[subjects.ALL_EVENTS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=replicas,
            max_consumers=MAX_CONSUMERS,
            allow_direct=True,
            allow_atomic=True,
            republish=RePublish(src="mozaiks.evt.*.*.*", dest=subjects.EVENTS_REPUBLISHED),
        ),
        StreamConfig(
            name=subjects.DELTAS,
            subjects=[subjects.ALL_DELTAS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=replicas,
            max_consumers=MAX_CONSUMERS,
            max_age=DELTAS_KEPT_SECONDS,
            allow_direct=True,
            republish=RePublish(src="mozaiks.delta.*.*", dest=subjects.DELTAS_REPUBLISHED),
        ),
        StreamConfig(
            name=subjects.DEAD_LETTERS,
            subjects=[subjects.ALL_DEAD_LETTERS],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            num_replicas=replicas,
            max_consumers=MAX_CONSUMERS,
        ),
    ]


def _buckets(replicas: int) -> list[KeyValueConfig]:
    return [
        KeyValueConfig(bucket=subjects.LEASES, ttl=LEASE_SECONDS, replicas=replicas, direct=True),
        KeyValueConfig(bucket=subjects.WORKFLOWS, replicas=replicas, direct=True),
        KeyValueConfig(bucket=subjects.CHATS, replicas=replicas, direct=True),
        KeyValueConfig(bucket=subjects.PERF, replicas=replicas, direct=True),
    ]
