"""Restore chats that NATS has lost, from the archive: python -m services.persistence.restore"""

from services.persistence.maintenance.restorer import Restorer
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.operator_commands import command_services, run
from services.persistence.settings import Settings

NOT_ARCHIVED = """\
Not in the archive, and not restored: files that users attached (object store attachments), the
workflow versions that chats began with (object store manifests; a chat goes on with the version that
is offered now, if there is one), recorded model answers, commands and timers that waited in the queue."""
"""What else NATS stores."""


async def restore(settings: Settings) -> int:
    """The exit code: 1 if a chat could not be restored."""
    async with command_services(settings, "restore", creates_streams=True) as services:
        restorer = Restorer(
            services.store,
            services.sources,
            services.gateway.events,
            services.rebuilder,
            ValueArchive(services.store, services.gateway.values),
        )
        restored = await restorer.all()
    waiting, running = restored.statuses["waiting"], restored.statuses["running"]
    print(f"{restored.chats} chats and {restored.events} events restored")
    print(f"{restored.statuses.total()} chats of the archive are in the log, chat lists included")
    print(f"{waiting} wait for their user, and go on when they are answered")
    print(f"{running} were running; this command continues them:")
    print("  mozaiks audit --repair")
    print(NOT_ARCHIVED)
    for key, why in restored.failed.items():
        print(f"{key.app}/{key.chat}  not restored: {why}")
    return 1 if restored.failed else 0


if __name__ == "__main__":
    run(restore)
