"""Erase chats: python -m services.persistence.erase --app X [--user Y | --chat Z] [--prove]"""

import asyncio
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from contracts import encryption, subjects
from contracts.erasure import Erasure
from contracts.ids import AppId, ChatId, ChatKey, UserId
from services.persistence.app import now
from services.persistence.domain.archive import read_chain
from services.persistence.maintenance.eraser import Eraser
from services.persistence.maintenance.erasures import Erasures
from services.persistence.maintenance.scanner import Scanned, Scanner, needles, said_in
from services.persistence.operator_commands import CommandServices, command_services, run
from services.persistence.settings import Settings
from services.persistence.store.interface import ArchivedEvent


@dataclass(frozen=True, slots=True)
class Proof:
    """What to look for after an erasure, besides what was said in the chats, and where else."""

    texts: tuple[str, ...] = ()
    logs: tuple[Path, ...] = ()


async def erase(
    app: AppId,
    user: UserId | None,
    chat: ChatId | None,
    settings: Settings,
    proof: Proof | None = None,
    *,
    with_forks: bool = False,
) -> int:
    """The exit code: 1 if something could not be erased, or is found with a `proof`."""
    async with command_services(settings, "erase", creates_streams=True) as services:
        eraser = Eraser(services.store, services.gateway, services.rebuilder, now)
        bucket = await services.gateway.key_values.bucket(subjects.ERASURES)
        erasures = Erasures(bucket, eraser, services.store, services.gateway, now)
        asked = Erasure(
            app_id=app, user_id=user, chat_id=chat, with_forks=with_forks, requested_at=now()
        )
        keys = {key async for key in erasures.chats(asked)} if proof else set()
        if not encryption.is_on() and await _is_any_sealed(services, keys):
            print("nothing is erased: without ENCRYPTION_KEYS what was said cannot be looked for")
            return 1
        texts = [text for key in keys async for text in _said_in(services, key)]
        await erasures.request(asked)  # a persistence service goes on with it if this process ends
        made = await erasures.carry_out(asked)
        scanned = None
        if proof is not None and made.state == "done":
            scanned = await _scan(services, settings, [*texts, *proof.texts], keys, proof.logs)
    counts = made.erased
    print(
        f"{counts.chats} chats erased: {counts.messages} messages and {counts.objects} objects"
        f" removed from NATS, {counts.documents} documents from MongoDB"
    )
    if made.problem is not None:
        print(f"not erased: {made.problem}")
    return 0 if made.state == "done" and (scanned is None or _report(scanned)) else 1


async def _events_of(services: CommandServices, key: ChatKey) -> AsyncIterator[ArchivedEvent]:
    """The events of a chat, as its log and its archive have them."""
    logged = (await services.sources.logged(key)).events
    archived = read_chain(key, await services.sources.records(key)).events
    for one in (*logged, *archived):
        yield one


async def _is_any_sealed(services: CommandServices, keys: Iterable[ChatKey]) -> bool:
    for key in keys:
        async for one in _events_of(services, key):
            if one.envelope.sealed is not None:
                return True
    return False


async def _said_in(services: CommandServices, key: ChatKey) -> AsyncIterator[str]:
    """What users, agents and tools said in a chat."""
    async for one in _events_of(services, key):
        for text in said_in(one.envelope.body):
            yield text


async def _scan(
    services: CommandServices,
    settings: Settings,
    texts: Iterable[str],
    erased: Collection[ChatKey],
    logs: Collection[Path],
) -> Scanned:
    looked_for = needles(texts)
    print(f"{len(looked_for)} pieces of what was said are looked for")
    scanner = Scanner(looked_for, keeps=lambda key: key not in erased)
    await scanner.streams(services.gateway)
    await scanner.database(services.client[settings.mongodb_database])
    await asyncio.to_thread(scanner.files, logs)
    return scanner.scanned


def _report(scanned: Scanned) -> bool:
    """Print what was read and found; whether nothing was found."""
    print(
        f"{scanned.places} places and {scanned.bytes} bytes read:"
        f" {len(scanned.found)} places have something of it"
    )
    for place in scanned.found:
        print(f"  {place}")
    if scanned.in_other_chats:
        print(f"the same is said in {scanned.in_other_chats} places of chats that are not erased")
    return not scanned.found


def main() -> None:
    parser = ArgumentParser(
        prog="python -m services.persistence.erase",
        description="Erase a chat, all chats of a user, or all of an app; their numbers are kept.",
    )
    parser.add_argument("--app", type=AppId, required=True)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--user", type=UserId, help="all chats of this user")
    which.add_argument("--chat", type=ChatId, help="the chat with this id")
    parser.add_argument("--with-forks", action="store_true", help="and the forks of that chat")
    parser.add_argument("--prove", action="store_true", help="read everything afterwards")
    parser.add_argument("--find", action="append", default=[], help="another text to look for")
    parser.add_argument("--logs", action="append", default=[], type=Path, help="a folder of logs")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    chosen = parser.parse_args()
    what = f"chat {chosen.chat}" if chosen.chat else f"user {chosen.user}" if chosen.user else "all"
    if not chosen.yes and input(f"Erase {what} of app {chosen.app} for good? [y/N] ") != "y":
        parser.exit(1, "nothing is erased\n")
    proof = Proof(tuple(chosen.find), tuple(chosen.logs)) if chosen.prove else None
    forks = bool(chosen.with_forks)
    run(partial(erase, chosen.app, chosen.user, chosen.chat, proof=proof, with_forks=forks))


if __name__ == "__main__":
    main()
