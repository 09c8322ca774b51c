"""The streams and buckets that the product stands on: defined, made, upgraded and checked.

python -m services.chassis.streams ensure    create what is missing, upgrade what is outdated
python -m services.chassis.streams check     print what differs, and change nothing
"""

import asyncio
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import (
    DiscardPolicy,
    KeyValueConfig,
    ObjectStoreConfig,
    RePublish,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from contracts import subjects
from services.chassis.by_hand import connection_by_hand
from services.chassis.direct_get import UnavailableError
from services.chassis.settings import Settings
from services.chassis.stream_plan import (
    Config,
    Difference,
    Fixed,
    Missing,
    Outdated,
    differences,
    upgraded,
)

MAX_CONSUMERS = 64
"""A stream's consumers are few and long-lived; one per chat or viewer would meet this limit at once."""
DELTAS_KEPT_SECONDS = 600.0
LOOKUP_SECONDS = 60.0
"""How long a question about data elsewhere, and its answer, are kept."""
TICKET_SECONDS = 60.0
TRIES_KEPT_SECONDS = 7 * 24 * 3600.0
"""Longer than the pauses between the tries of a message come to."""
ANSWERS_KEPT_SECONDS = 30 * 24 * 3600.0


DUPLICATE_SECONDS = 120.0
"""For how long a bucket's stream knows message ids, where its values live that long."""
PATIENCE_SECONDS = 10.0
AGAIN_SECONDS = 0.5
API_SECONDS = 10.0
"""How long JetStream may take to answer about one stream; a new one with replicas takes seconds."""
_OTHER_CONFIG = 10058
"""JSStreamNameExistErr: someone else made the stream since we looked, a little differently."""
_TRIES = 5
_UNANSWERED = "NATS is away, the stream has no leader, or this user may not ask"


class UnansweredError(Exception):
    """JetStream did not answer about a stream: no connection, no leader, or no right to ask."""


@dataclass(frozen=True, slots=True)
class Ensured:
    """What was made or changed, in words, and what differs still."""

    done: tuple[str, ...]
    left: tuple[Difference, ...]


async def ensure_streams(nc: Client, *, replicas: int) -> Ensured:
    """Create every stream, bucket and object store that is missing, and upgrade those outdated.

    Nothing that an operator chose is taken back: see `stream_plan.differences`. Raises
    UnansweredError.
    """
    done: list[str] = []
    left: list[Difference] = []
    for wanted in definitions(replicas):
        ensured = await _ensure(nc, wanted)
        done += ensured.done
        left += ensured.left
    return Ensured(tuple(done), tuple(left))


async def check_streams(
    nc: Client, *, replicas: int, names: Collection[str] | None = None
) -> list[Difference]:
    """What differs from the definitions of the streams called `names` (none: of all).

    Asks for nothing but the information about those streams. Raises UnansweredError.
    """
    found: list[Difference] = []
    for wanted in definitions(replicas):
        if names is None or wanted["name"] in names:
            found += differences(wanted, await _config_of(nc, str(wanted["name"])))
    return found


def definitions(replicas: int) -> list[Config]:
    """The configuration of each stream, those behind buckets and object stores included."""
    configs = [
        *_streams(replicas),
        *map(_bucket_stream, _buckets(replicas)),
        *map(_object_stream, _object_stores(replicas)),
    ]
    return [json.loads(json.dumps(config.as_dict())) for config in configs]


async def _ensure(nc: Client, wanted: Config) -> Ensured:
    stream = str(wanted["name"])
    for _ in range(_TRIES):
        found = await _config_of(nc, stream)
        if found is not None:
            return await _upgrade(nc, found, differences(wanted, found))
        try:
            await _ask(nc, "CREATE", stream, wanted)
        except APIError as refused:
            if refused.err_code != _OTHER_CONFIG:
                return Ensured((), (Missing(stream, refused.description or ""),))
        else:
            return Ensured((f"created {stream}",), ())
    return Ensured((), (Missing(stream, "it is made and deleted all the time"),))


async def _upgrade(nc: Client, found: Config, differing: Sequence[Difference]) -> Ensured:
    """All changes in one update; where that is refused, each alone, to name the ones in the way."""
    changes = [one for one in differing if isinstance(one, Outdated)]
    others: list[Difference] = [one for one in differing if not isinstance(one, Outdated)]
    if not changes:
        return Ensured((), tuple(others))
    refusal = await _refusal(nc, upgraded(found, changes))
    if refusal is None:
        return Ensured(tuple(map(_changed, changes)), tuple(others))
    done: list[str] = []
    for change in changes:
        refusal = await _refusal(nc, upgraded(found, [change]))
        if refusal is None:
            found = upgraded(found, [change])
            done.append(_changed(change))
        else:
            others.append(replace(change, reason=refusal))
    return Ensured(tuple(done), tuple(others))


async def _refusal(nc: Client, config: Config) -> str | None:
    try:
        await _ask(nc, "UPDATE", str(config["name"]), config)
    except APIError as refused:
        return refused.description or "refused"
    return None


async def created_at(nc: Client, stream: str) -> str | None:
    """When a stream was made, as its server writes times; none where there is none.

    Raises UnansweredError.
    """
    info = await _info_of(nc, stream)
    return None if info is None else str(info["created"])


async def _config_of(nc: Client, stream: str) -> Config | None:
    info = await _info_of(nc, stream)
    return None if info is None else info["config"]


async def _info_of(nc: Client, stream: str) -> Mapping[str, Any] | None:
    try:
        return await _ask(nc, "INFO", stream, {})
    except NotFoundError:
        return None
    except APIError as refused:
        raise UnansweredError(f"INFO {stream}: {refused.description}") from refused


async def _ask(nc: Client, verb: str, stream: str, body: Config) -> Mapping[str, Any]:
    """Raises UnansweredError, and APIError where the server refuses."""
    data = json.dumps(body).encode() if body else b""
    try:
        reply = await nc.request(f"$JS.API.STREAM.{verb}.{stream}", data, timeout=API_SECONDS)
        answer: Mapping[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise APIError.from_error(answer["error"])
    except APIError as refused:
        if isinstance(refused, ServiceUnavailableError):
            raise UnansweredError(f"{verb} {stream}: {refused.description}") from refused
        raise
    except (NatsError, OSError) as away:
        raise UnansweredError(f"{verb} {stream}: no answer ({away}): {_UNANSWERED}") from away
    return answer


def _changed(change: Outdated) -> str:
    return f"changed {change.change}"


def _streams(replicas: int) -> list[StreamConfig]:
    return [
        _stream(
            subjects.COMMANDS,
            [subjects.ALL_COMMANDS, subjects.ALL_TIMERS],
            replicas,
            retention=RetentionPolicy.WORK_QUEUE,
            allow_direct=True,
            allow_msg_schedules=True,
            allow_msg_ttl=True,
        ),
        _stream(
            subjects.EVENTS,
            [subjects.ALL_EVENTS],
            replicas,
            allow_direct=True,
            republish=RePublish(src=subjects.EVENTS_OF_CHATS, dest=subjects.EVENTS_REPUBLISHED),
        ),
        _stream(
            subjects.DELTAS,
            [subjects.ALL_DELTAS],
            replicas,
            allow_direct=True,
            max_age=DELTAS_KEPT_SECONDS,
            republish=RePublish(src=subjects.DELTAS_OF_CHATS, dest=subjects.DELTAS_REPUBLISHED),
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


def _object_stores(replicas: int) -> list[ObjectStoreConfig]:
    names = (subjects.MANIFESTS, subjects.ATTACHMENTS)
    return [ObjectStoreConfig(bucket=name, replicas=replicas) for name in names]


def _bucket_stream(config: KeyValueConfig) -> StreamConfig:
    """The stream behind a bucket, as nats-py makes it and never tells (NATS ADR-8)."""
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
        allow_msg_ttl=True,
        deny_delete=True,
    )


def _object_stream(config: ObjectStoreConfig) -> StreamConfig:
    """The stream behind an object store, as nats-py makes it and never tells (NATS ADR-20)."""
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


async def run(
    verb: Literal["ensure", "check"], settings: Settings, patience: float = PATIENCE_SECONDS
) -> int:
    """Print what was done and what differs; the exit code that says so to a script.

    0: as it must be. 1: `check` found a difference, or the server refused what `ensure` had to do.
    2: no answer from JetStream within `patience` seconds.
    """
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            return await _once(verb, settings)
        except (UnansweredError, UnavailableError) as trouble:
            if asyncio.get_running_loop().time() > deadline:
                print(f"no answer from JetStream at NATS_URL: {trouble}", file=sys.stderr)
                return 2
        await asyncio.sleep(AGAIN_SECONDS)


async def _once(verb: Literal["ensure", "check"], settings: Settings) -> int:
    async with connection_by_hand(settings, "streams") as nc:
        if verb == "check":
            left: Sequence[Difference] = await check_streams(nc, replicas=settings.stream_replicas)
            print("\n".join(map(str, left)) or "nothing differs")
            return 1 if left else 0
        ensured = await ensure_streams(nc, replicas=settings.stream_replicas)
        print("\n".join([*ensured.done, *map(str, ensured.left)]) or "nothing differs")
        return 1 if any(not isinstance(one, Fixed) for one in ensured.left) else 0


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["ensure" | "check" as verb]:
            return asyncio.run(run(verb, Settings()))
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
