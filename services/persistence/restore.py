"""Bring chats back into a NATS that lost them, from the archive: python -m services.persistence.restore"""

from services.persistence.app import Settings, run, tools
from services.persistence.restorer import Restorer

NOT_ARCHIVED = """\
Not in the archive, and not restored: files that users attached (object store attachments), the
workflow versions that chats began with (object store manifests; a chat goes on with the version that
is offered now, if there is one), recorded model answers, commands and timers that waited in the queue."""
"""What else NATS holds."""


async def restore(settings: Settings) -> int:
    """The exit code: 1 where a chat could not be restored."""
    async with tools(settings, "restore", makes_streams=True) as used:
        restorer = Restorer(used.store, used.sources, used.bus.events, used.rebuilder)
        restored = await restorer.all()
    waiting, running = restored.statuses["waiting"], restored.statuses["running"]
    print(f"{restored.chats} chats and {restored.events} events restored")
    print(f"{restored.statuses.total()} chats of the archive are in the log, chat lists included")
    print(f"{waiting} wait for their user, and go on when they are answered")
    print(f"{running} were running; nobody runs them until they are found:")
    print("  python -m services.orchestrator.audit --repair")
    print(NOT_ARCHIVED)
    for key, why in restored.failed.items():
        print(f"{key.app}/{key.chat}  not restored: {why}")
    return 1 if restored.failed else 0


if __name__ == "__main__":
    run(restore)
