"""What the commands of an operator share: connections to MongoDB and NATS, and the exit code."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nats.js.errors import NotFoundError

from contracts import subjects
from services.chassis.jetstream.command_line_connection import (
    CONNECT_SECONDS,
    one_shot_connection,
    one_shot_gateway,
)
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.local_access import local_settings
from services.chassis.logs.configuration import configure
from services.chassis.process.asgi_front import CannotStartError
from services.chassis.streams.ensure import ensure_streams
from services.chassis.streams.snapshots import SnapshotError
from services.persistence.chat_summaries import ChatSummaryBucket
from services.persistence.domain.backup_plan import Manifest
from services.persistence.maintenance.backups import BackupError, load
from services.persistence.maintenance.rebuilder import Rebuilder
from services.persistence.maintenance.sources import ChatSources
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.settings import Settings
from services.persistence.store.interface import StoreUnavailableError
from services.persistence.store.mongo.client import Client
from services.persistence.store.mongo.opening import open_mongo
from services.persistence.store.mongo.store import MongoStore

log = logging.getLogger(__name__)

UNREACHABLE = 3
"""The exit code if a server does not answer; 2 is that of wrong arguments."""


@dataclass(frozen=True, slots=True)
class CommandServices:
    """What a command works with."""

    gateway: JetStreamGateway
    client: Client
    store: MongoStore
    sources: ChatSources
    summaries: ChatSummaryBucket
    rebuilder: Rebuilder


@asynccontextmanager
async def command_services(
    settings: Settings, name: str, *, reads_only: bool = False, creates_streams: bool = False
) -> AsyncIterator[CommandServices]:
    """Waits for servers only shortly.

    Raises CannotStartError, StoreUnavailableError, NatsUnavailableError.
    """
    async with (
        open_mongo(impatient(settings), reads_only=reads_only) as (client, store),
        one_shot_gateway(settings, name) as gateway,
    ):
        gateway.events.on_aged_out = None  # a command reads what is there
        if creates_streams:
            await _ensure(gateway, settings)
        try:
            bucket = await gateway.key_values.bucket(subjects.CHATS)
        except NotFoundError:
            raise NatsUnavailableError("bucket chats is missing: mozaiks streams ensure") from None
        summaries, sources = ChatSummaryBucket(bucket), ChatSources(store, gateway)
        values = ValueArchive(store, gateway.values)
        rebuilder = Rebuilder(store, sources, summaries.publish, values)
        yield CommandServices(gateway, client, store, sources, summaries, rebuilder)


def impatient(settings: Settings) -> Settings:
    """With which a command waits for MongoDB only shortly."""
    seconds = min(settings.mongodb_wait_seconds, CONNECT_SECONDS)
    return settings.model_copy(update={"mongodb_wait_seconds": seconds})


async def load_backup(settings: Settings, folder: Path, manifest: Manifest) -> None:
    """Bring back the streams and the archive of a backup, before `command_services`.

    Raises BackupError, SnapshotError, CannotStartError, StoreUnavailableError, NatsUnavailableError.
    """
    async with (
        open_mongo(impatient(settings)) as (client, _),
        one_shot_connection(settings, "restore") as nc,
    ):
        database = client[settings.mongodb_database]
        await load(folder, manifest, nc, database, settings.stream_replicas)


async def _ensure(gateway: JetStreamGateway, settings: Settings) -> None:
    """Creates the missing streams and buckets, if ENSURE_STREAMS allows it."""
    if not settings.ensure_streams:
        return
    await ensure_streams(
        gateway.nc, replicas=settings.stream_replicas, event_streams=settings.event_streams
    )


def run(command: Callable[[Settings], Coroutine[Any, Any, int]]) -> NoReturn:
    """Runs a command and exits with its code, or with UNREACHABLE if a server is unavailable or incompatible."""
    settings = local_settings(Settings)
    configure("persistence", settings.log_level, as_json=settings.logs_as_json)
    try:
        code = asyncio.run(command(settings))
    except (BackupError, SnapshotError) as error:
        log.error("%s", error)  # noqa: TRY400  the reason, without a traceback
        code = 1
    except (CannotStartError, StoreUnavailableError, NatsUnavailableError) as error:
        log.error("%s", error)  # noqa: TRY400
        code = UNREACHABLE
    sys.exit(code)
