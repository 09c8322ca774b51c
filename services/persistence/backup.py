"""Back up streams and archive into a folder, while chats go on: python -m services.persistence.backup FOLDER"""

from argparse import ArgumentParser
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from services.chassis.jetstream.command_line_connection import one_shot_connection
from services.persistence.maintenance.backups import Clock, take
from services.persistence.operator_commands import impatient, run
from services.persistence.settings import Settings
from services.persistence.store.mongo.opening import open_mongo

USER = "backup"
"""The NATS user with the permission to read snapshots of streams, and nothing else."""


async def backup(folder: Path, settings: Settings, *, clock: Clock) -> int:
    """The exit code. Raises BackupError, SnapshotError."""
    async with (
        open_mongo(impatient(settings), reads_only=True) as (client, _),
        one_shot_connection(settings, USER) as nc,
    ):
        manifest = await take(folder, nc, client[settings.mongodb_database], clock)
    for file in manifest.files:
        print(f"{file.entries:>10} {file.size:>13} bytes  {file.path}")
    seconds = (manifest.ended_at - manifest.began_at).total_seconds()
    print(f"as of {manifest.as_of:%Y-%m-%d %H:%M:%S} UTC, in {seconds:.1f} s: {folder}")
    print("The keys of ENCRYPTION_KEYS are not in it, and must not be kept with it.")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m services.persistence.backup",
        description="Back up streams and archive into a folder, while chats go on.",
    )
    parser.add_argument("folder", type=Path, help="a new folder, for this backup alone")
    run(partial(backup, parser.parse_args().folder, clock=_now))
