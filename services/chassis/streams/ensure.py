"""Create and upgrade the streams and buckets of the product, or check them without a change."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from contracts import subjects
from contracts.event_streams import (
    NAMES,
    EventStreams,
    spread_over,
    streams_in,
)
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.streams.definitions import definitions
from services.chassis.streams.plan import (
    Config,
    Difference,
    Missing,
    NotSpread,
    Outdated,
    differences,
    upgraded,
)

API_SECONDS = 10.0
"""How long JetStream may take to answer about one stream; a new one with replicas takes seconds."""
_OTHER_CONFIG = 10058
"""JSStreamNameExistErr: another process created the stream meanwhile, with another configuration."""
_ATTEMPTS = 5
_UNANSWERED = "NATS is unavailable, the stream has no leader, or this user lacks the permission"


@dataclass(frozen=True, slots=True)
class Ensured:
    """What was created or changed, as text, and what still differs."""

    changes: tuple[str, ...]
    remaining: tuple[Difference, ...]


async def ensure_streams(nc: Client, *, replicas: int, event_streams: int = 1) -> Ensured:
    """Create every stream, bucket and object store that is missing, and upgrade those outdated.

    Nothing that an operator chose is changed back: see `plan.differences`. Events that are in fewer
    streams than `event_streams` stay there until they are moved. Raises NatsUnavailableError.
    """
    changes: list[str] = []
    found = await find_event_streams(nc)
    events = found.streams or spread_over(event_streams)
    remaining: list[Difference] = _not_spread(events, event_streams)
    for wanted in definitions(replicas, events):
        if wanted["name"] in found.changing:
            continue
        ensured = await _ensure(nc, wanted)
        changes += ensured.changes
        remaining += ensured.remaining
    return Ensured(tuple(changes), tuple(remaining))


async def check_streams(
    nc: Client,
    *,
    replicas: int,
    names: Collection[str] | None = None,
    event_streams: int = 1,
) -> list[Difference]:
    """What differs from the definitions of the streams called `names` (None: of all).

    EVENTS are all streams of events. Reads nothing but the information about those streams. Raises
    NatsUnavailableError.
    """
    spread = FoundEventStreams(None)
    if names is None or subjects.EVENTS in names:
        spread = await find_event_streams(nc)
    events = spread.streams or spread_over(event_streams)
    found = _not_spread(events, event_streams) if names is None else []
    for wanted in definitions(replicas, events):
        name = str(wanted["name"])
        group = subjects.EVENTS if name in events.names else name
        if (names is None or group in names) and name not in spread.changing:
            found += differences(wanted, await config_of(nc, name))
    return found


class FoundEventStreams(NamedTuple):
    """The streams of events as they are; None where there is none yet.

    Those that are `changing` as events are moved between them are left alone.
    """

    streams: EventStreams | None
    changing: frozenset[str] = frozenset()


async def find_event_streams(nc: Client) -> FoundEventStreams:
    """Raises NatsUnavailableError."""
    config = await config_of(nc, subjects.EVENTS)
    if config is not None:
        streams = streams_in(config.get("metadata") or {})
        return FoundEventStreams(streams, frozenset(streams.names if streams.moving else ()))
    others = [name for name in NAMES[1:] if await config_of(nc, name) is not None]
    return FoundEventStreams(EventStreams((subjects.EVENTS, *others)) if others else None)


def _not_spread(events: EventStreams, wanted: int) -> list[Difference]:
    return [NotSpread(len(events.names), wanted)] if len(events.names) < wanted else []


async def _ensure(nc: Client, wanted: Config) -> Ensured:
    stream = str(wanted["name"])
    for _ in range(_ATTEMPTS):
        found = await config_of(nc, stream)
        if found is not None:
            return await _upgrade(nc, found, differences(wanted, found))
        try:
            await ask_stream_api(nc, "CREATE", stream, wanted)
        except APIError as rejected:
            if rejected.err_code != _OTHER_CONFIG:
                return Ensured((), (Missing(stream, rejected.description or ""),))
        else:
            return Ensured((f"created {stream}",), ())
    return Ensured((), (Missing(stream, "it is created and deleted again and again"),))


async def _upgrade(nc: Client, found: Config, differing: Sequence[Difference]) -> Ensured:
    """All changes in one update; where that is rejected, each alone, to name the rejected ones."""
    changes = [one for one in differing if isinstance(one, Outdated)]
    others: list[Difference] = [one for one in differing if not isinstance(one, Outdated)]
    if not changes:
        return Ensured((), tuple(others))
    rejection = await _update_rejection(nc, upgraded(found, changes))
    if rejection is None:
        return Ensured(tuple(map(_changed, changes)), tuple(others))
    accepted: list[str] = []
    for change in changes:
        rejection = await _update_rejection(nc, upgraded(found, [change]))
        if rejection is None:
            found = upgraded(found, [change])
            accepted.append(_changed(change))
        else:
            others.append(replace(change, reason=rejection))
    return Ensured(tuple(accepted), tuple(others))


async def _update_rejection(nc: Client, config: Config) -> str | None:
    try:
        await ask_stream_api(nc, "UPDATE", str(config["name"]), config)
    except APIError as rejected:
        return rejected.description or "rejected"
    return None


async def created_at(nc: Client, stream: str) -> str | None:
    """When a stream was created, as its server writes times; None where there is none.

    Raises NatsUnavailableError.
    """
    info = await _info_of(nc, stream)
    return None if info is None else str(info["created"])


async def config_of(nc: Client, stream: str) -> Config | None:
    """The configuration of a stream; None where there is none. Raises NatsUnavailableError."""
    info = await _info_of(nc, stream)
    return None if info is None else info["config"]


async def _info_of(nc: Client, stream: str) -> Mapping[str, Any] | None:
    try:
        return await ask_stream_api(nc, "INFO", stream, {})
    except NotFoundError:
        return None
    except APIError as rejected:
        raise NatsUnavailableError(f"INFO {stream}: {rejected.description}") from rejected


async def ask_stream_api(nc: Client, verb: str, stream: str, body: Config) -> Mapping[str, Any]:
    """The answer to a request about a stream.

    Raises NatsUnavailableError, and APIError where the server rejects.
    """
    data = json.dumps(body).encode() if body else b""
    try:
        reply = await nc.request(f"$JS.API.STREAM.{verb}.{stream}", data, timeout=API_SECONDS)
        answer: Mapping[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise APIError.from_error(answer["error"])
    except APIError as rejected:
        if isinstance(rejected, ServiceUnavailableError):
            raise NatsUnavailableError(f"{verb} {stream}: {rejected.description}") from rejected
        raise
    except (NatsError, OSError) as unavailable:
        raise NatsUnavailableError(
            f"{verb} {stream}: no answer ({unavailable}): {_UNANSWERED}"
        ) from unavailable
    return answer


def _changed(change: Outdated) -> str:
    return f"changed {change.change}"
