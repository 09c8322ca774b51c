"""Restore a backup, and chats that NATS has lost from the archive: python -m services.persistence.restore"""

from argparse import ArgumentParser
from functools import partial
from pathlib import Path

from services.persistence.maintenance.backups import check_files, read_manifest
from services.persistence.maintenance.restorer import Restored, Restorer
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.operator_commands import (
    CommandServices,
    command_services,
    load_backup,
    run,
)
from services.persistence.settings import Settings

NOT_ARCHIVED = """\
Not in the archive, and not restored: files that users attached (object store attachments), the
workflow versions that chats began with (object store manifests; a chat goes on with the version that
is offered now, if there is one), recorded model answers, commands and timers that waited in the queue."""
"""What else NATS stores."""


NOT_IN_BACKUP = """\
Not in the backup: what was accepted after it, unless the archive of MongoDB has it; recorded model answers,
lookups and tickets. Erasures that were asked for after it have to be asked for again."""


async def restore(settings: Settings, *, folder: Path | None = None) -> int:
    """The exit code: 1 if a chat could not be restored. Raises BackupError."""
    if folder is not None:
        manifest = read_manifest(folder)
        check_files(folder, manifest)
        await load_backup(settings, folder, manifest)
        print(f"backup as of {manifest.as_of:%Y-%m-%d %H:%M:%S} UTC loaded")
    async with command_services(settings, "restore", creates_streams=True) as services:
        restored = await restored_chats(services, is_backup=folder is not None)
    _report(restored, "of the archive" if folder is None else "of log and archive")
    print(NOT_ARCHIVED if folder is None else NOT_IN_BACKUP)
    for key, why in restored.failed.items():
        print(f"{key.app}/{key.chat}  not restored: {why}")
    return 1 if restored.failed else 0


async def restored_chats(services: CommandServices, *, is_backup: bool) -> Restored:
    """Append what the log lacks and make the read models anew: after a backup of every chat."""
    restorer = Restorer(
        services.store,
        services.sources,
        services.gateway.events,
        services.rebuilder,
        ValueArchive(services.store, services.gateway.values),
    )
    if not is_backup:
        return await restorer.all()
    before = await services.store.state()
    restored = await restorer.all(services.sources.chats())
    await services.store.save_state(before)
    return restored


def _report(restored: Restored, which: str) -> None:
    waiting, running = restored.statuses["waiting"], restored.statuses["running"]
    print(f"{restored.chats} chats and {restored.events} events restored")
    print(f"{restored.statuses.total()} chats {which} are in the log, chat lists included")
    print(f"{waiting} wait for their user, and go on when they are answered")
    print(f"{running} were running; this command continues them:")
    print("  mozaiks audit --repair")


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m services.persistence.restore",
        description="Restore a backup, and chats that NATS has lost from the archive in MongoDB.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, help="a backup; without it, the archive alone"
    )
    run(partial(restore, folder=parser.parse_args().folder))
