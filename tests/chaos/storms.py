"""Many viewers at once that disconnect while their WebSocket opens."""

import asyncio
import base64
from random import Random

SOCKETS = 50
LONGEST_SECONDS = 0.05
"""How long after its request one of them may still be connected."""


async def storm(port: int, path: str, random: Random) -> int:
    """How many sent their request."""
    left = await asyncio.gather(
        *(_open_and_abort(port, path, random.uniform(0, LONGEST_SECONDS)) for _ in range(SOCKETS))
    )
    return sum(left)


async def _open_and_abort(port: int, path: str, seconds: float) -> bool:
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except (OSError, TimeoutError):
        return False
    try:
        writer.write(_request(port, path))
        await asyncio.sleep(seconds)
    finally:
        writer.transport.abort()
    return True


def _request(port: int, path: str) -> bytes:
    key = base64.b64encode(bytes(range(16))).decode()
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()
