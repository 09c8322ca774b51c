"""`mozaiks lag`: how far the readers of the streams are behind, asked of NATS itself."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from contracts import subjects
from contracts.event_streams import NAMES as EVENT_STREAMS
from contracts.event_streams import ONE_STREAM
from services.orchestrator.cli.exit_codes import FAILED, UNAVAILABLE, fail

if TYPE_CHECKING:
    from nats.js.api import ConsumerInfo

    from services.chassis.nats.connection import Connection
    from services.chassis.settings import Settings

app = typer.Typer()

STREAMS = (subjects.COMMANDS, subjects.LOOKUPS)
"""What services read by consumers that the server keeps, besides the streams of events."""
EXPECTED = dict.fromkeys(EVENT_STREAMS, ("metrics", "persistence-events"))
"""Consumers without which read models or metrics fall behind for as long as nobody reads."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a consumer is. `behind` messages are not handled yet, `unacknowledged` of them are
    being handled; None where there is no such consumer."""

    stream: str
    consumer: str
    last: int
    delivered: int | None = None
    behind: int | None = None
    unacknowledged: int | None = None
    redelivered: int | None = None


@app.command(rich_help_panel="Operations")
def lag(
    most: Annotated[
        int | None, typer.Option("--max", min=0, help="More messages behind are an error.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How far persistence and metrics are behind the events, and orchestrators behind the commands.

    Reads NATS by the settings of the services (NATS_URL, ...). Exits with 1 where nothing reads the
    events for persistence or for metrics, and with `--max` where one is further behind.
    """
    from nats.errors import Error as NatsError

    from services.chassis.jetstream.errors import NatsUnavailableError
    from services.chassis.local_access import local_settings
    from services.chassis.settings import Settings
    from services.orchestrator.cli.tables import console, table

    try:
        found = asyncio.run(read_lags(local_settings(Settings)))
    except NatsUnavailableError as error:
        fail(f"NATS_URL: {error}", UNAVAILABLE)
    except NatsError as error:
        fail(
            f"NATS_URL: {error!r}; its user must be allowed to ask for $JS.API.STREAM.INFO.* and"
            " $JS.API.CONSUMER.LIST.*",
            UNAVAILABLE,
        )
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        columns = ("stream", "consumer", "last", "delivered", "behind", "unacknowledged", "again")
        rows = ((*asdict(one).values(),) for one in found)
        console().print(table(columns, rows))
    if problems := list(problems_of(found, most)):
        fail("\n".join(problems), FAILED)


def problems_of(lags: Iterable[Lag], most: int | None) -> Iterable[str]:
    for one in lags:
        if one.behind is None:
            yield f"{one.consumer} does not read {one.stream}: its service has not been started"
        elif most is not None and one.behind > most:
            yield f"{one.consumer} is {one.behind} messages of {one.stream} behind, more than {most}"


async def read_lags(settings: "Settings") -> list[Lag]:
    """Of every consumer of the streams. Raises NatsUnavailableError, nats.errors.Error."""
    from services.chassis.jetstream.command_line_connection import one_shot_connection
    from services.chassis.streams.ensure import find_event_streams

    async with one_shot_connection(settings, "lag") as connection:
        events = (await find_event_streams(connection)).streams or ONE_STREAM
        streams = (*events.names, *STREAMS)
        return [one for stream in streams for one in await _of_stream(connection, stream)]


async def _of_stream(connection: "Connection", stream: str) -> list[Lag]:
    from nats.js.errors import NotFoundError

    js = connection.jetstream()
    try:
        last = (await js.stream_info(stream)).state.last_seq
        consumers = await js.consumers_info(stream)
    except NotFoundError:
        fail(f"stream {stream} is missing: run `mozaiks streams ensure`")
    return lags_of(stream, last, consumers)


def lags_of(stream: str, last: int, consumers: Iterable["ConsumerInfo"]) -> list[Lag]:
    """By name; those that are expected and missing have no numbers."""
    found = sorted((_lag(stream, last, one) for one in consumers), key=lambda one: one.consumer)
    names = {one.consumer for one in found}
    missing = [Lag(stream, name, last) for name in EXPECTED.get(stream, ()) if name not in names]
    return [*found, *missing]


def _lag(stream: str, last: int, consumer: "ConsumerInfo") -> Lag:
    """A reader that keeps its own position has no name of its own, but a description."""
    delivered = 0 if consumer.delivered is None else consumer.delivered.stream_seq
    pending, unacknowledged = consumer.num_pending or 0, consumer.num_ack_pending or 0
    return Lag(
        stream,
        consumer.config.durable_name or consumer.config.description or consumer.name,
        last,
        delivered,
        pending + unacknowledged,
        unacknowledged,
        consumer.num_redelivered or 0,
    )
