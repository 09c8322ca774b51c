"""Rebuild all read models from the events: python -m services.persistence.rebuild"""

from services.persistence.operator_commands import command_services, run
from services.persistence.settings import Settings


async def rebuild(settings: Settings) -> int:
    """The exit code: 1 if a chat could not be rebuilt and keeps its documents."""
    async with command_services(settings, "rebuild") as services:
        before = await services.store.state()
        rebuilt = await services.rebuilder.all()
        await services.store.save_state(before)
    print(f"{rebuilt.chats} chats rebuilt from {rebuilt.events} events")
    for key, why in rebuilt.failed.items():
        print(f"{key.app}/{key.chat}  kept as it was: {why}")
    return 1 if rebuilt.failed else 0


if __name__ == "__main__":
    run(rebuild)
