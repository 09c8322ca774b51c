"""Prove that a backup can be restored: python -m services.persistence.drill FOLDER

Takes the servers of the settings, which must be empty: `mozaiks drill` starts some for it.
"""

import time
from argparse import ArgumentParser
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from services.persistence.domain.backup_plan import Manifest
from services.persistence.maintenance.backups import (
    BackupError,
    Clock,
    check_files,
    read_manifest,
)
from services.persistence.maintenance.restorer import Restored
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.maintenance.verifier import Verified, Verifier
from services.persistence.operator_commands import (
    CommandServices,
    command_services,
    impatient,
    load_backup,
    run,
)
from services.persistence.restore import restored_chats
from services.persistence.settings import Settings
from services.persistence.store.mongo.opening import open_mongo


async def drill(folder: Path, settings: Settings, *, clock: Clock) -> int:
    """The exit code: 1 where something is not restored or differs. Raises BackupError, SnapshotError."""
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    await _require_empty_archive(settings)
    began = time.monotonic()
    await load_backup(settings, folder, manifest)
    loaded = time.monotonic()
    async with command_services(settings, "drill", creates_streams=True) as services:
        restored = await restored_chats(services, is_backup=True)
        ready = time.monotonic()
        verified = await _verified(services)
    for key, why in restored.failed.items():
        print(f"{key.app}/{key.chat}  not restored: {why}")
    print(report(manifest, restored, verified, loaded - began, ready - loaded, clock()))
    return 1 if restored.failed or verified.differences else 0


def report(
    manifest: Manifest,
    restored: Restored,
    verified: Verified,
    load_seconds: float,
    rebuild_seconds: float,
    now: datetime,
) -> str:
    """What a drill prints; times in seconds."""
    size = sum(file.size for file in manifest.files)
    messages = sum(file.entries for file in manifest.of_kind("stream"))
    lost = (now - manifest.as_of).total_seconds()
    chats = restored.statuses.total()
    took = load_seconds + rebuild_seconds
    return f"""\
backup    as of {manifest.as_of:%Y-%m-%d %H:%M:%S} UTC, {size} bytes, {messages} messages
files     {len(manifest.files)} are as they were written, by their SHA-256
restored  {chats} chats, {restored.events} events of them from the archive
verified  {verified.chats} chats, {verified.events} events, each with the digest of the one before it;
          log, archive and read models have {verified.differences} differences
RPO       {lost:.0f} s: what was accepted since then would be lost now
RTO       {took:.1f} s here: {load_seconds:.1f} s to load, {rebuild_seconds:.1f} s for the read models"""


async def _require_empty_archive(settings: Settings) -> None:
    async with open_mongo(impatient(settings)) as (_, store):
        async for key in store.archived_chats():
            raise BackupError(
                f"MONGODB_DATABASE={settings.mongodb_database} has chats ({key.app}/{key.chat}):"
                " a drill needs an empty database"
            )


async def _verified(services: CommandServices) -> Verified:
    values = ValueArchive(services.store, services.gateway.values)
    verifier = Verifier(services.store, services.sources, services.summaries, print, values)
    return await verifier.all()


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m services.persistence.drill",
        description="Restore a backup into empty servers, verify every chat, print RPO and RTO.",
    )
    parser.add_argument("folder", type=Path, help="a backup")
    run(partial(drill, parser.parse_args().folder, clock=_now))
