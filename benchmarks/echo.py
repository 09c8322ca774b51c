"""The floor under sockets: a bare Litestar app that says back what it hears, or tells a whole room.

`python -m benchmarks.echo PORT`; a socket at `/ROOM`. A text that begins with `!` goes to all others there.
"""

import asyncio
import sys
from collections import defaultdict
from typing import Any

import uvicorn
from litestar import Litestar, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from infra.ports import LOOPBACK
from services.transport.app import socket_options
from services.transport.settings import Settings

TO_ALL = "!"

Socket = WebSocket[Any, Any, Any]
rooms: defaultdict[str, set[Socket]] = defaultdict(set)


@get("/ready", sync_to_thread=False)
def ready() -> dict[str, bool]:
    return {"ready": True}


@websocket("/{room:str}")
async def echo(socket: WebSocket[Any, Any, Any], room: FromPath[str]) -> None:
    await socket.accept()
    rooms[room].add(socket)
    try:
        while True:
            await _answer(socket, room, await socket.receive_text())
    except WebSocketDisconnect:
        pass
    finally:
        rooms[room].discard(socket)


async def _answer(socket: Socket, room: str, text: str) -> None:
    if text.startswith(TO_ALL):
        others = rooms[room] - {socket}
        await asyncio.gather(*(one.send_text(text) for one in others))
    else:
        await socket.send_text(text)


def main() -> None:
    app = Litestar([ready, echo], openapi_config=None, logging_config=None)
    options = {**socket_options(Settings()), "ws": "websockets-sansio"}
    uvicorn.run(
        app, host=LOOPBACK, port=int(sys.argv[1]), log_config=None, access_log=False, **options
    )


if __name__ == "__main__":
    main()
