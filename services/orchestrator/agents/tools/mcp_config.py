"""How an MCP server is started or reached: AG2's configuration of it, and what is missing for it."""

import importlib.util
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ag2.tools import MCPServerConfig, MCPStdioServerConfig

from services.orchestrator.workflows.spec import McpServer

DISCOVERY_SECONDS = 30.0
"""How long a server may take to list its tools."""

Config = MCPServerConfig | MCPStdioServerConfig

_EXEC_WITH_PARENT_DEATH_SIGNAL = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "try: os.execvp(sys.argv[1], sys.argv[1:])\n"
    "except OSError as missing: sys.exit(f'{sys.argv[1]}: {missing.strerror}')"
)
"""A program that ignores the end of its input would survive a killed orchestrator."""


class McpServerError(Exception):
    """An MCP server could not do what it was asked; the message names it."""

    def __init__(self, server: McpServer, reason: str) -> None:
        super().__init__(f"MCP server {server.name}: {reason}")
        self.reason = reason


def mcp_config(server: McpServer, environment: Mapping[str, str]) -> Config:
    """AG2's configuration. Raises McpServerError if a secret is not in the environment."""
    secrets = {name: _secret(server, held_by, environment) for name, held_by in server.secrets}
    allowed = None if server.allowed_tools is None else list(server.allowed_tools)
    if server.command is None:
        return MCPServerConfig(
            server_url=server.url or "",
            headers=secrets or None,
            server_label=server.name,
            allowed_tools=allowed,
            blocked_tools=list(server.blocked_tools),
            connection_timeout=DISCOVERY_SECONDS,
        )
    command, *args = _command_line(server)
    return MCPStdioServerConfig(
        command=command,
        args=args,
        env=secrets or None,
        cwd=str(server.folder),
        server_label=server.name,
        allowed_tools=allowed,
        blocked_tools=list(server.blocked_tools),
    )


def missing_program(server: McpServer) -> str | None:
    """What is not installed that the server needs, as a sentence; none if nothing is missing."""
    if server.command is None:
        return None
    if not _program_exists(server):
        return f"there is no program {server.command}"
    module = server.args[1:2]
    if _runs_python(server) and server.args[:1] == ("-m",) and not _module_exists(module):
        return f"there is no Python module {''.join(module)}: install its package"
    return None


def _secret(server: McpServer, variable: str, environment: Mapping[str, str]) -> str:
    if not (value := environment.get(variable)):
        raise McpServerError(server, f"the environment variable {variable} is not set")
    return value


def _command_line(server: McpServer) -> list[str]:
    assert server.command is not None  # noqa: S101  a server with an address is not started
    program = [sys.executable if _runs_python(server) else server.command, *server.args]
    if sys.platform != "linux":
        return program
    return [sys.executable, "-I", "-S", "-c", _EXEC_WITH_PARENT_DEATH_SIGNAL, *program]


def _runs_python(server: McpServer) -> bool:
    return server.command in ("python", "python3")


def _program_exists(server: McpServer) -> bool:
    command = server.command or ""
    return (
        _runs_python(server)
        or shutil.which(command) is not None
        or (server.folder / command).is_file()
    )


def _module_exists(module: Sequence[str]) -> bool:
    with suppress(ImportError, ValueError):
        return all(importlib.util.find_spec(name) is not None for name in module)
    return False
