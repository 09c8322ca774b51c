"""Import chats of an export: python -m services.persistence.import_chats EXPORT"""

import argparse
import asyncio
import sys
from pathlib import Path
from tarfile import TarError

from nats.js.errors import ObjectNotFoundError

from contracts import subjects
from contracts.verify_export import problems_of
from services.chassis.jetstream.gateway import JetStreamGateway
from services.persistence.maintenance.importer import ChatImporter
from services.persistence.operator_commands import command_services, run
from services.persistence.settings import Settings

USAGE = 2


class AttachedFiles:
    """The object store of attached files; one that is there is not written again."""

    def __init__(self, gateway: JetStreamGateway) -> None:
        self._gateway = gateway

    async def put(self, name: str, data: bytes) -> None:
        store = await self._gateway.js.object_store(subjects.ATTACHMENTS)
        try:
            info = await store.get_info(name)
        except ObjectNotFoundError:
            pass
        else:
            if await self._gateway.objects.is_complete(subjects.ATTACHMENTS, info):
                return
        await store.put(name, data)


async def import_chats(settings: Settings, path: Path) -> int:
    """The exit code: 1 if the export is damaged, or a chat was not imported."""
    try:
        problems = await asyncio.to_thread(lambda: list(problems_of(path)))
    except (OSError, TarError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return USAGE
    if problems:
        print("\n".join([*problems, "nothing was imported: the export is not whole"]))
        return 1
    async with command_services(settings, "import", creates_streams=True) as services:
        importer = ChatImporter(
            services.sources,
            services.gateway.events,
            services.gateway.values,
            AttachedFiles(services.gateway),
            services.rebuilder,
        )
        imported = await importer.all(path)
    print(f"{imported.chats} chats and {imported.events} events imported")
    print(f"{imported.present} chats were there already, with the same events")
    if imported.running:
        print(f"{imported.running} were running; this command continues them:")
        print("  mozaiks audit --repair")
    for key, why in imported.failed.items():
        print(f"{key.app}/{key.chat}  not imported: {why}")
    return 1 if imported.failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Import chats of an export.")
    parser.add_argument("export", type=Path, help="a .tar file of `mozaiks export`, or its folder")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    run(lambda settings: import_chats(settings, arguments.export))
