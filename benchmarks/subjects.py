"""Memory of nats-server for each subject of the events: `python -m benchmarks.subjects 1000000` for more.

A chat has one or two subjects for as long as its events are in NATS, and a server keeps every subject
of its streams in memory. The floor stores as many messages of the same size in one subject.
"""

import argparse
import asyncio
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nats

from benchmarks.figures import Figure
from benchmarks.table import table
from contracts import subjects
from contracts.ids import AppId, ChatId, ChatKey
from infra.servers import NatsServer
from services.chassis.streams.ensure import ensure_streams

SUBJECTS = 20_000
REPETITIONS = 3
DATA = b"x" * 200
AT_ONCE = 1000
"""Messages between two answers: the server takes no more than it can store."""


async def measure(server: NatsServer, count: int = SUBJECTS) -> list[Figure]:  # noqa: ARG001
    """Of servers of its own, which it starts and restarts."""
    ours, floor = [], []
    for _ in range(REPETITIONS):
        ours.append(await _bytes_per_message(count, _subject_of_chat))
        floor.append(await _bytes_per_message(count, lambda _: _subject_of_chat(0)))
    name, note = f"nats-server, each of {count:,} subjects", "floor: the messages in one subject"
    return [
        Figure(
            f"{name}, {when}",
            "bytes",
            [one[place] for one in ours],
            [max(one[place], 1.0) for one in floor],
            note=note,
        )
        for place, when in enumerate(("written", "after a restart"))
    ]


async def _bytes_per_message(count: int, subject: Callable[[int], str]) -> tuple[float, float]:
    """Memory per message after they were stored, and after a restart."""
    with _own_server() as server:
        nc = await nats.connect(server.url)
        await ensure_streams(nc, replicas=1)
        before = _resident(server)
        for start in range(0, count, AT_ONCE):
            last = min(start + AT_ONCE, count) - 1
            for number in range(start, last):
                await nc.publish(subject(number), DATA)
            await nc.request(subject(last), DATA, timeout=30)
        written = _resident(server)
        await nc.close()
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        return (written - before) / count, (_resident(server) - before) / count


def _subject_of_chat(number: int) -> str:
    return subjects.event(ChatKey(AppId("bench"), ChatId(f"{number:032x}")), "runtime")


@contextmanager
def _own_server() -> Iterator[NatsServer]:
    with tempfile.TemporaryDirectory(prefix="bench-subjects-") as folder:
        server = NatsServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _resident(server: NatsServer) -> float:
    """Bytes of the server's memory that are resident."""
    status = Path(f"/proc/{server.child.pid}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return 0.0 if found is None else float(found[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=SUBJECTS)
    count = parser.parse_args().count
    with _own_server() as server:
        print(table(asyncio.run(measure(server, count))))


if __name__ == "__main__":
    main()
