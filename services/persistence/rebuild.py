"""Make all read models anew, chat by chat: python -m services.persistence.rebuild"""

from services.persistence.app import Settings, run, tools


async def rebuild(settings: Settings) -> int:
    """The exit code: 1 where a chat could not be folded and keeps its old documents."""
    async with tools(settings, "rebuild") as used:
        begun = await used.store.look()
        rebuilt = await used.rebuilder.all()
        await used.store.mark(begun)
    print(f"{rebuilt.chats} chats rebuilt from {rebuilt.events} events")
    for key, why in rebuilt.failed.items():
        print(f"{key.app}/{key.chat}  kept as it was: {why}")
    return 1 if rebuilt.failed else 0


if __name__ == "__main__":
    run(rebuild)
