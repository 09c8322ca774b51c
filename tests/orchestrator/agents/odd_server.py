"""An MCP server that does odd things: its arguments are its tools, and a port instead of stdio."""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("odd")


def look(where: str = "here") -> str:
    """Look somewhere."""
    return f"the server saw {where}"


def secret() -> str:
    """What it was told."""
    return os.environ.get("TOKEN", "nothing")


def fail() -> str:
    """Fail."""
    raise ToolError("no luck in /srv/secret/place.db")


async def hang() -> str:
    """Never return."""
    await asyncio.Event().wait()
    return "never"


def die() -> str:
    """End the process."""
    os._exit(3)


def flood() -> str:
    """Megabytes."""
    return "x" * 3_000_000


def unsteady(marks: str) -> str:
    """Fail the first time."""
    path = Path(marks)
    if not path.exists():
        path.write_text("tried")
        raise ToolError("not yet")
    return "better"


TOOLS: dict[str, Callable[..., Any]] = {
    **{one.__name__: one for one in (look, secret, fail, hang, die, flood, unsteady)},
    "bad.name": look,
}

for name in sys.argv[1].split(","):
    server.add_tool(TOOLS[name], name=name)
if len(sys.argv) > 2:
    server.run("streamable-http", port=int(sys.argv[2]))
else:
    server.run("stdio")
