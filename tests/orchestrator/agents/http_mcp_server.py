"""An MCP server of the protocol's own library over HTTP; its argument is its port."""

import sys
from pathlib import Path

from mcp.server.mcpserver import Context, MCPServer

from tests.orchestrator.agents.misbehaving_mcp_server import look, note

server = MCPServer("odd")


def charge(marker: str, context: Context) -> str:
    """Note the key of the request."""
    note(Path(marker), context.request_context.meta or {}, context.headers or {})
    return "charged"


for one in (look, charge):
    server.add_tool(one)
server.run("streamable-http", port=int(sys.argv[1]))
