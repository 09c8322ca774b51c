"""Create, upgrade and check the streams and buckets of the product, for operators of NATS.

python -m services.chassis.streams ensure    create what is missing, upgrade what is outdated
python -m services.chassis.streams check     print what differs, and change nothing
python -m services.chassis.streams spread 4  move the events to 4 streams, while chats go on
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Literal

from contracts.event_streams import SPREADS
from services.chassis.jetstream.command_line_connection import one_shot_connection
from services.chassis.jetstream.errors import NatsUnavailableError
from services.chassis.local_access import local_settings
from services.chassis.settings import Settings
from services.chassis.streams.ensure import check_streams, ensure_streams
from services.chassis.streams.plan import Difference, Fixed
from services.chassis.streams.spread import Spreader, SpreadError

WAIT_SECONDS = 10.0
RETRY_SECONDS = 0.5
UNREACHABLE = 3
"""The exit code if NATS does not answer; 2 is that of wrong arguments."""


async def run(
    verb: Literal["ensure", "check"], settings: Settings, wait_seconds: float = WAIT_SECONDS
) -> int:
    """Print what was done and what differs; returns the exit code.

    0: nothing is left to do. 1: `check` found a difference, or the server rejected what `ensure`
    had to do. 3: no answer from JetStream within `wait_seconds`.
    """
    deadline = asyncio.get_running_loop().time() + wait_seconds
    while True:
        try:
            return await _run_once(verb, settings)
        except NatsUnavailableError as error:
            if asyncio.get_running_loop().time() > deadline:
                print(f"no answer from JetStream at NATS_URL: {error}", file=sys.stderr)
                return UNREACHABLE
        await asyncio.sleep(RETRY_SECONDS)


async def _run_once(verb: Literal["ensure", "check"], settings: Settings) -> int:
    async with one_shot_connection(settings, "streams") as nc:
        if verb == "check":
            found: Sequence[Difference] = await check_streams(
                nc, replicas=settings.stream_replicas, event_streams=settings.event_streams
            )
            print("\n".join(map(str, found)) or "nothing differs")
            return 1 if found else 0
        ensured = await ensure_streams(
            nc, replicas=settings.stream_replicas, event_streams=settings.event_streams
        )
        print("\n".join([*ensured.changes, *map(str, ensured.remaining)]) or "nothing differs")
        return 1 if any(not isinstance(one, Fixed) for one in ensured.remaining) else 0


async def run_spread(count: int, settings: Settings) -> int:
    """Move the events until they are in so many streams; returns the exit code, as `run`."""
    try:
        async with one_shot_connection(settings, "spread") as nc:
            await Spreader(nc, replicas=settings.stream_replicas, report=print).spread(count)
    except NatsUnavailableError as error:
        print(f"{error}; run the command again", file=sys.stderr)
        return UNREACHABLE
    except SpreadError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["spread", count] if count in map(str, SPREADS):
            return asyncio.run(run_spread(int(count), local_settings(Settings)))
        case ["ensure" | "check" as verb]:
            return asyncio.run(run(verb, local_settings(Settings)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
