"""`python -m services.chassis.dead_letters list|show|redrive|drop`: for those who operate it."""

import argparse
import asyncio
import json
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from contracts import subjects
from services.chassis.bus import Bus
from services.chassis.by_hand import bus_by_hand
from services.chassis.dead_letters.letter import Letter, summary
from services.chassis.dead_letters.queue import (
    NotRedrivableError,
    UnknownLetterError,
    drop,
    letters,
    read_letter,
    redrive,
)
from services.chassis.direct_get import UnavailableError
from services.chassis.settings import Settings

NOT_ALL = 1
"""The exit code where a letter is unknown or cannot be re-driven; the others are done."""
UNREACHABLE = 3
"""The exit code where NATS or the stream is not there."""


def main(arguments: Sequence[str], settings: Settings) -> int:
    """0, NOT_ALL or UNREACHABLE; argparse ends with 2."""
    asked = _parser().parse_args(arguments)
    if asked.order == "redrive" and bool(asked.seqs) == asked.all:
        _parser().error("redrive: give either sequences, or --all with --service")
    if asked.order == "redrive" and asked.all and not asked.service:
        _parser().error("redrive: --all needs --service")
    return asyncio.run(_run(asked, settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.chassis.dead_letters",
        description="Work with the messages that were given up. NATS_URL says where.",
    )
    orders = parser.add_subparsers(dest="order", required=True)
    one = orders.add_parser("list", help="the newest letters, oldest of them first")
    one.add_argument("--service", help="a service, or one of its consumers")
    one.add_argument("--limit", type=_count, default=50, help="how many (default 50)")
    one.add_argument("--json", action="store_true", help="one JSON array")
    one = orders.add_parser("show", help="all that is known of a letter, but no value of it")
    one.add_argument("seq", type=int)
    one = orders.add_parser("redrive", help="put messages back into their queue, drop the letters")
    one.add_argument("seqs", type=int, nargs="*", metavar="SEQ")
    one.add_argument("--all", action="store_true", help="every letter of --service")
    one.add_argument("--service", help="a service, or one of its consumers")
    one = orders.add_parser("drop", help="remove letters for good")
    one.add_argument("seqs", type=int, nargs="+", metavar="SEQ")
    return parser


def _count(written: str) -> int:
    count = int(written)
    if count < 1:
        raise argparse.ArgumentTypeError(f"{written}: accepted is 1 or more")
    return count


async def _run(asked: argparse.Namespace, settings: Settings) -> int:
    try:
        async with bus_by_hand(settings, "dead-letters") as bus:
            return await _order(asked, bus)
    except NotFoundError:
        absent = f"stream {subjects.DEAD_LETTERS} is not there: a service makes it at its start"
        print(absent, file=sys.stderr)
    except UnavailableError as away:
        print(away, file=sys.stderr)
    except (NatsError, OSError) as away:
        print(f"NATS_URL: NATS does not answer as it should ({away!r})", file=sys.stderr)
    return UNREACHABLE


async def _order(asked: argparse.Namespace, bus: Bus) -> int:
    match asked.order:
        case "list":
            await _list(bus, asked.service, asked.limit, as_json=asked.json)
            return 0
        case "show":
            return await _each([asked.seq], lambda seq: _show(bus, seq))
        case "drop":
            return await _each(asked.seqs, lambda seq: _drop(bus, seq))
        case _:
            seqs = asked.seqs or [letter.seq async for letter in letters(bus, asked.service)]
            return await _each(seqs, lambda seq: _redrive(bus, seq))


async def _each(seqs: Sequence[int], work: Callable[[int], Awaitable[None]]) -> int:
    code = 0
    for seq in dict.fromkeys(seqs):
        try:
            await work(seq)
        except (UnknownLetterError, NotRedrivableError) as refused:
            print(refused, file=sys.stderr)
            code = NOT_ALL
    return code


async def _list(bus: Bus, service: str | None, limit: int, *, as_json: bool) -> None:
    count, newest = 0, deque[Letter](maxlen=limit)
    async for letter in letters(bus, service):
        count += 1
        newest.append(letter)
    if as_json:
        print(json.dumps([_told(letter) for letter in newest], indent=2))
        return
    for letter in newest:
        told = _told(letter)
        print(f"{told['seq']:>7}  {told['kept_at']}  {told['service']}  {told['subject']}")
        print(f"         {told['reason']}")
    print(f"{len(newest)} of {count} letters")


async def _show(bus: Bus, seq: int) -> None:
    letter = await read_letter(bus, seq)
    for name, value in _told(letter).items():
        print(f"{name + ':':<10} {value}")
    for name, value in letter.original.headers.items():
        print(f"header     {ascii(name)[1:-1]}: string, {len(value.encode())} bytes")
    for name, form in summary(letter.data).items():
        print(f"payload    {name + ': ' if name else ''}{form}")


def _told(letter: Letter) -> dict[str, object]:
    """What may be shown of a letter; the payload and the values of its headers may not."""
    original = letter.original
    return {
        "seq": letter.seq,
        "kept_at": letter.kept_at.isoformat(timespec="seconds"),
        "service": letter.service,
        "reason": letter.reason,
        "subject": ascii(original.subject)[1:-1],
        "stream": original.stream,
        "sequence": original.sequence,
        "tries": original.tries,
        "bytes": original.size,
        "whole": letter.whole,
    }


async def _redrive(bus: Bus, seq: int) -> None:
    letter = await read_letter(bus, seq)
    await redrive(bus, letter)
    print(f"{seq}: back in {letter.original.stream} as {ascii(letter.original.subject)[1:-1]}")


async def _drop(bus: Bus, seq: int) -> None:
    await drop(bus, seq)
    print(f"{seq}: dropped")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Settings()))
