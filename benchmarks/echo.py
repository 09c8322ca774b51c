"""The floor under sockets: a bare Litestar app that says back what it hears, and tells all who watch.

`python -m benchmarks.echo PORT`. A text that begins with `!` goes to every socket, others come back.
"""

import asyncio
import sys
from typing import Any

import uvicorn
from litestar import Litestar, WebSocket, get, websocket
from litestar.exceptions import WebSocketDisconnect

from infra.ports import LOOPBACK
from services.transport.app import Settings, socket_options

TO_ALL = "!"

everyone: set[WebSocket[Any, Any, Any]] = set()


@get("/ready", sync_to_thread=False)
def ready() -> dict[str, bool]:
    return {"ready": True}


@websocket("/")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    everyone.add(socket)
    try:
        while True:
            await _answer(socket, await socket.receive_text())
    except WebSocketDisconnect:
        pass
    finally:
        everyone.discard(socket)


async def _answer(socket: WebSocket[Any, Any, Any], text: str) -> None:
    if text.startswith(TO_ALL):
        await asyncio.gather(*(one.send_text(text) for one in everyone))
    else:
        await socket.send_text(text)


def main() -> None:
    app = Litestar([ready, echo], openapi_config=None, logging_config=None)
    options = socket_options(Settings())
    uvicorn.run(
        app, host=LOOPBACK, port=int(sys.argv[1]), log_config=None, access_log=False, **options
    )


if __name__ == "__main__":
    main()
