"""List, show, re-drive and drop dead letters: `python -m services.chassis.dead_letters`."""

import argparse
import asyncio
import json
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts import subjects
from services.chassis.dead_letters.letter import DeadLetter, summary
from services.chassis.dead_letters.queue import (
    DeadLetterNotFoundError,
    NotRedrivableError,
    drop,
    list_letters,
    read_letter,
    redrive,
)
from services.chassis.jetstream.command_line_connection import one_shot_gateway
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.jetstream.gateway import JetStreamGateway
from services.chassis.local_access import local_settings
from services.chassis.settings import Settings

NOT_ALL = 1
"""The exit code if a letter does not exist or cannot be re-driven; the others are done."""
UNREACHABLE = 3
"""The exit code if NATS or the stream is not available."""


def main(arguments: Sequence[str], settings: Settings) -> int:
    """0, NOT_ALL or UNREACHABLE; argparse ends with 2."""
    options = _parser().parse_args(arguments)
    if options.command == "redrive" and bool(options.seqs) == options.all:
        _parser().error("redrive: give either sequences, or --all with --service")
    if options.command == "redrive" and options.all and not options.service:
        _parser().error("redrive: --all needs --service")
    return asyncio.run(_run(options, settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.chassis.dead_letters",
        description="Work with dead-lettered messages in the NATS at NATS_URL.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("list", help="the newest dead letters, oldest of them first")
    one.add_argument("--service", help="a service, or one of its consumers")
    one.add_argument("--limit", type=_count, default=50, help="how many (default 50)")
    one.add_argument("--json", action="store_true", help="one JSON array")
    one = commands.add_parser("show", help="all about a dead letter, without the values in it")
    one.add_argument("seq", type=int)
    one = commands.add_parser(
        "redrive", help="publish messages to their queue again, drop the dead letters"
    )
    one.add_argument("seqs", type=int, nargs="*", metavar="SEQ")
    one.add_argument("--all", action="store_true", help="every dead letter of --service")
    one.add_argument("--service", help="a service, or one of its consumers")
    one = commands.add_parser("drop", help="remove dead letters for good")
    one.add_argument("seqs", type=int, nargs="+", metavar="SEQ")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text}: accepted is 1 or more")
    return count


async def _run(options: argparse.Namespace, settings: Settings) -> int:
    try:
        async with one_shot_gateway(settings, "dead-letters") as gateway:
            return await _dispatch(options, gateway)
    except NotFoundError:
        missing = f"stream {subjects.DEAD_LETTERS} is missing: services create it at their start"
        print(missing, file=sys.stderr)
    except NatsUnavailableError as error:
        print(error, file=sys.stderr)
    except (NatsError, OSError) as error:
        print(f"NATS_URL: unexpected answer of NATS ({error!r})", file=sys.stderr)
    return UNREACHABLE


async def _dispatch(options: argparse.Namespace, gateway: JetStreamGateway) -> int:
    match options.command:
        case "list":
            await _list(gateway, options.service, options.limit, as_json=options.json)
            return 0
        case "show":
            return await _each([options.seq], lambda seq: _show(gateway, seq))
        case "drop":
            return await _each(options.seqs, lambda seq: _drop(gateway, seq))
        case _:
            seqs = options.seqs or [
                letter.seq async for letter in list_letters(gateway, options.service)
            ]
            return await _each(seqs, lambda seq: _redrive(gateway, seq))


async def _each(seqs: Sequence[int], work: Callable[[int], Awaitable[None]]) -> int:
    code = 0
    for seq in dict.fromkeys(seqs):
        try:
            await work(seq)
        except (DeadLetterNotFoundError, NotRedrivableError) as error:
            print(error, file=sys.stderr)
            code = NOT_ALL
    return code


async def _list(
    gateway: JetStreamGateway, service: str | None, limit: int, *, as_json: bool
) -> None:
    count, newest = 0, deque[DeadLetter](maxlen=limit)
    async for letter in list_letters(gateway, service):
        count += 1
        newest.append(letter)
    if as_json:
        print(json.dumps([_fields(letter) for letter in newest], indent=2))
        return
    for letter in newest:
        fields = _fields(letter)
        print(
            f"{fields['seq']:>7}  {fields['stored_at']}  {fields['service']}  {fields['subject']}"
        )
        print(f"         {fields['reason']}")
    print(f"{len(newest)} of {count} dead letters")


async def _show(gateway: JetStreamGateway, seq: int) -> None:
    letter = await read_letter(gateway, seq)
    for name, value in _fields(letter).items():
        print(f"{name + ':':<10} {value}")
    for name, value in letter.original.headers.items():
        print(f"header     {ascii(name)[1:-1]}: string, {len(value.encode())} bytes")
    for name, form in summary(letter.data).items():
        print(f"payload    {name + ': ' if name else ''}{form}")


def _fields(letter: DeadLetter) -> dict[str, object]:
    """What may be shown of a dead letter: not its payload, nor the values of its headers."""
    original = letter.original
    return {
        "seq": letter.seq,
        "stored_at": letter.stored_at.isoformat(timespec="seconds"),
        "service": letter.service,
        "reason": letter.reason,
        "subject": ascii(original.subject)[1:-1],
        "stream": original.stream,
        "sequence": original.sequence,
        "deliveries": original.deliveries,
        "bytes": original.size,
        "complete": letter.is_complete,
    }


async def _redrive(gateway: JetStreamGateway, seq: int) -> None:
    letter = await read_letter(gateway, seq)
    await redrive(gateway, letter)
    print(f"{seq}: published to {letter.original.stream} as {ascii(letter.original.subject)[1:-1]}")


async def _drop(gateway: JetStreamGateway, seq: int) -> None:
    await drop(gateway, seq)
    print(f"{seq}: dropped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], local_settings(Settings)))
