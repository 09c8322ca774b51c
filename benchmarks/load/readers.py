"""Anonymous readers of one page, each as often as it can: python -m benchmarks.load.readers PORT PATH READERS"""

import asyncio
import sys
from collections.abc import Sequence

from infra.ports import LOOPBACK


async def read_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> int:
    """Ask for a page on a connection that stays open; the status of the answer."""
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nAccept-Encoding: gzip\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    if "content-length" in fields:
        await reader.readexactly(int(fields["content-length"]))
    else:
        await reader.readuntil(b"\r\n0\r\n\r\n")
    return int(status.split()[1])


async def read_forever(port: int, path: str) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, limit=2**24)
    while True:
        await read_one(reader, writer, path)


async def main(arguments: Sequence[str]) -> None:
    port, path, readers = arguments
    print("reading", flush=True)
    await asyncio.gather(*(read_forever(int(port), path) for _ in range(int(readers))))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
