"""Compare log, archive and read models: python -m services.persistence.verify [--app X] [--chat Y]"""

from argparse import ArgumentParser
from functools import partial

from contracts.ids import AppId, ChatId
from services.persistence.maintenance.value_archive import ValueArchive
from services.persistence.maintenance.verifier import Verifier
from services.persistence.operator_commands import command_services, run
from services.persistence.settings import Settings


async def verify(app: AppId | None, chat: ChatId | None, settings: Settings) -> int:
    """The exit code: 1 if there are differences."""
    async with command_services(settings, "verify", reads_only=True) as services:
        values = ValueArchive(services.store, services.gateway.values)
        verifier = Verifier(services.store, services.sources, services.summaries, print, values)
        verified = await verifier.all(app, chat)
    print(
        f"{verified.chats} chats and {verified.events} events compared:"
        f" {verified.differences} differences"
    )
    return 1 if verified.differences else 0


if __name__ == "__main__":
    parser = ArgumentParser(
        prog="python -m services.persistence.verify",
        description="Compare what the log, the archive, the read models and the chat lists hold.",
    )
    parser.add_argument("--app", type=AppId, help="only chats of this app")
    parser.add_argument("--chat", type=ChatId, help="only chats of this id")
    chosen = parser.parse_args()
    run(partial(verify, chosen.app, chosen.chat))
