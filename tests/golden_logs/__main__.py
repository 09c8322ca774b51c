"""Write the golden logs of a release: python -m tests.golden_logs write RELEASE

What a release has written is never edited: it must stay readable. A release that changes what is
written adds a folder beside the others.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from contracts.event_log import StoredEvent, references
from contracts.ids import ChatId
from infra.servers import NatsServer
from services.chassis.jetstream.gateway import JetStreamGateway
from services.orchestrator.workflows.loading import LoadedWorkflow, load
from tests.gateway import connected_gateway
from tests.golden_logs import chats
from tests.golden_logs.earlier_versions import with_earlier_versions
from tests.golden_logs.golden import CHATS, ROOT, WORKFLOWS, write_chat
from tests.orchestrator.chat_harness import whole_history

EARLIER = "sale"
"""The chat that is written once more with the earlier versions of its events."""
SHARED = "_shared"
_SKIPPED = shutil.ignore_patterns("__pycache__", "tests")


async def write(release: Path) -> None:
    with tempfile.TemporaryDirectory() as data:
        server = NatsServer(Path(data))
        server.start()
        try:
            async with connected_gateway(server.url) as gateway:
                for name in chats.CHATS:
                    await write_log(release, name, gateway)
        finally:
            server.stop()


def _copy(workflow: Path, folder: Path) -> None:
    """The workflow as the release has it, with what it shares with others."""
    for source in (workflow, workflow.parent / SHARED):
        if source.is_dir() and not (folder / source.name).exists():
            shutil.copytree(source, folder / source.name, ignore=_SKIPPED)


async def write_log(
    release: Path, name: str, gateway: JetStreamGateway, chat: ChatId | None = None
) -> None:
    """Play one of the chats, and write its log and its workflow into the folder of the release."""
    _copy(chats.CHATS[name][0], release / WORKFLOWS)
    await _write_chat(release / CHATS / name, name, gateway, chat)


async def _write_chat(
    folder: Path, name: str, gateway: JetStreamGateway, chat: ChatId | None
) -> None:
    key = await chats.play(name, gateway, chat)
    stored = [one async for commit in gateway.events.read(key) for one in commit.events]
    digests = {one.digest for event in stored for one in references(event.envelope, event.event)}
    values = {digest: await gateway.values.get(key, digest) for digest in digests}
    write_chat(folder, _lines(stored), values)
    if name == EARLIER:
        loaded = load(chats.CHATS[name][0])
        assert isinstance(loaded, LoadedWorkflow)
        facts = await whole_history(gateway, key)
        lines = with_earlier_versions(facts, loaded.workflow.initial_message)
        write_chat(folder.with_name(f"{name}_earlier_versions"), lines, {})


def _lines(stored: Sequence[StoredEvent]) -> list[bytes]:
    return [one.data for one in stored]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.golden_logs")
    parser.add_argument("command", choices=["write"])
    parser.add_argument("release", help="the name of the release: its folder must not exist")
    told = parser.parse_args()
    folder = ROOT / told.release
    if folder.exists():
        sys.exit(f"release: {folder} exists; what a release has written is never edited")
    asyncio.run(write(folder))


if __name__ == "__main__":
    main()
