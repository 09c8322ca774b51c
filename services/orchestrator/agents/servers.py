"""MCP servers as an agent's tools: asked what they offer when first needed, called as any tool is.

A server that does not start, does not answer or dies is an error that the model hears of, never the
end of a turn: tools that stand in for its own say what is wrong.
"""

import asyncio
import importlib.util
import logging
import re
import shutil
import sys
from ast import literal_eval
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ag2 import Context, tool
from ag2.events import ToolCallEvent, ToolErrorEvent
from ag2.middleware import ToolExecution, ToolMiddleware, ToolResultType
from ag2.tools import MCPServerConfig, MCPStdioServerConfig, MCPToolkit, Toolkit
from ag2.tools.schemas import ToolSchema
from ag2.tools.types import FunctionTool, Tool

from services.orchestrator.agents.approval import ask_first
from services.orchestrator.agents.codec import told_of
from services.orchestrator.agents.limits import Bounds, Patience
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.workflows.spec import McpServer

log = logging.getLogger(__name__)

DISCOVERY_SECONDS = 30.0
"""How long a server may take to say what it offers."""
MAX_TOOLS = 128
"""Of one server: providers take no more in a request."""

Config = MCPServerConfig | MCPStdioServerConfig

_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TEXT = re.compile(r"TextContent\(type='text', text=(.*?), annotations=", re.DOTALL)
_DIE_WITH_US = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "try: os.execvp(sys.argv[1], sys.argv[1:])\n"
    "except OSError as missing: sys.exit(f'{sys.argv[1]}: {missing.strerror}')"
)
"""A program that ignores the end of its input would outlive a killed orchestrator."""


class ServerError(Exception):
    """An MCP server could not do what it was asked; the message names it."""

    def __init__(self, server: McpServer, why: str) -> None:
        super().__init__(f"MCP server {server.name}: {why}")
        self.why = why


class ServerTools(Toolkit):
    """The tools of one server for one agent; `taken` are the names of the agent's other tools.

    `before` are the servers whose tools were there first.
    """

    def __init__(
        self,
        server: McpServer,
        environment: Mapping[str, str],
        bounds: Bounds,
        taken: Collection[str],
        before: Sequence["ServerTools"] = (),
    ) -> None:
        super().__init__(name=server.name)
        self._server = server
        self._environment = environment
        self._bounds = bounds
        self._taken = taken
        self._before = before
        self._bench = Workbench()  # what a server sends is taken apart beside our loop
        self._asking = asyncio.Lock()
        self._remote: MCPToolkit | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "ServerTools":
        return self  # AG2 copies an agent's tools; a server's limits are for all its calls

    async def schemas(self, context: Context) -> Iterable[ToolSchema]:
        async with self._asking:
            self._tools = {one.name: one for one in await self._offered(context)}
        return await super().schemas(context)

    def _snapshot(self) -> Toolkit:
        """For one turn: what was found, not asked for again."""
        found = Toolkit(name=self.name)
        for one in self.tools:
            found |= one
        return found

    async def _offered(self, context: Context) -> Sequence[Tool]:
        try:
            if self._remote is None:
                async with asyncio.timeout(self._patience):
                    self._remote = await self._discovered(context)
        except Exception as trouble:  # noqa: BLE001  whatever it is, the model hears of it
            error = ServerError(self._server, self._why_silent(trouble))
            log.warning("an MCP server offers nothing", extra={"why": told_of(error)})
            return [_stand_in(name, error) for name in self._expected()]
        return self._remote.tools

    @property
    def _patience(self) -> float:
        return min(DISCOVERY_SECONDS, self._bounds.seconds)

    async def _discovered(self, context: Context) -> MCPToolkit:
        """What the server offers, under names that are legal and nobody else's."""
        config = config_of(self._server, self._environment)
        while True:
            remote = MCPToolkit(config, middleware=self._around)
            await self._bench.run_async(partial(remote.schemas, context), self._bounds.left_behind)
            better = adjusted(
                config, self._server.name, [t.name for t in remote.tools], self._names
            )
            if better is None:
                return remote
            config = better

    @property
    def _around(self) -> list[ToolMiddleware]:
        """What a call goes through, outermost first."""
        return [ask_first, self._call] if self._server.requires_approval else [self._call]

    @property
    def _names(self) -> set[str]:
        """Of the agent's other tools."""
        return {*self._taken, *(one.name for kit in self._before for one in kit.tools)}

    def _expected(self) -> list[str]:
        """The names that stand-ins have: those of the manifest, else the server's own."""
        names = self._server.allowed_tools or (self._server.name,)
        return [name for name in names if _LEGAL.fullmatch(name) and name not in self._names]

    async def _call(
        self, call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        """One call, within the limits of the manifest."""

        async def once(_: Patience) -> ToolResultType:
            work = partial(call_next, event, context)
            result: ToolResultType = await self._bench.run_async(work, self._bounds.left_behind)
            if isinstance(result, ToolErrorEvent):
                raise ServerError(self._server, self._why_failed(result.error))
            return result

        try:
            done: ToolResultType = await self._bounds.run(once, lambda: None, lambda: False)
        except Exception as trouble:  # noqa: BLE001  a result as any other
            return ToolErrorEvent.from_call(event, trouble)
        return done

    def _why_silent(self, trouble: Exception) -> str:
        server, args = self._server, self._server.args
        match innermost(trouble):
            case TimeoutError():
                return f"it did not answer within {self._patience:g} s"
            case ServerError() as known:
                return known.why
            case _ if server.command is not None and not _is_program(server):
                return f"there is no program {server.command}"
            case _ if _is_python(server) and args[:1] == ("-m",) and not _is_there(args[1:2]):
                return f"there is no Python module {''.join(args[1:2])}: install its package"
            case other:
                return told_of(other)

    def _why_failed(self, error: Exception) -> str:
        """What the server says of a failed call, without the form that it came in."""
        texts = _TEXT.findall(str(error))
        with suppress(ValueError, SyntaxError):
            return "\n".join(literal_eval(text) for text in texts) or told_of(error)
        return told_of(error)


def config_of(server: McpServer, environment: Mapping[str, str]) -> Config:
    """How to reach a server. Raises ServerError where a secret is not in the environment."""
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
    command, *args = _started(server)
    return MCPStdioServerConfig(
        command=command,
        args=args,
        env=secrets or None,
        cwd=str(server.folder),
        server_label=server.name,
        allowed_tools=allowed,
        blocked_tools=list(server.blocked_tools),
    )


def _secret(server: McpServer, held_by: str, environment: Mapping[str, str]) -> str:
    if not (value := environment.get(held_by)):
        raise ServerError(server, f"the environment variable {held_by} is not set")
    return value


def _started(server: McpServer) -> list[str]:
    assert server.command is not None  # noqa: S101  a server by its address is not started
    program = [sys.executable if _is_python(server) else server.command, *server.args]
    if sys.platform != "linux":
        return program
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_US, *program]


def _is_python(server: McpServer) -> bool:
    return server.command in ("python", "python3")


def _is_program(server: McpServer) -> bool:
    command = server.command or ""
    return (
        _is_python(server)
        or shutil.which(command) is not None
        or (server.folder / command).is_file()
    )


def _is_there(module: Sequence[str]) -> bool:
    with suppress(ImportError, ValueError):
        return all(importlib.util.find_spec(name) is not None for name in module)
    return False


def adjusted(
    config: Config, server: str, names: Sequence[str], taken: Collection[str]
) -> Config | None:
    """The configuration under which the names do, none where they do already.

    A name that is another's makes all of the server's begin with its own; one that providers refuse
    is left out. Raises ValueError where there are too many.
    """
    if len(names) > MAX_TOOLS:
        raise ValueError(f"it offers {len(names)} tools, {MAX_TOOLS} can be used: allowed_tools")
    prefix = str(config.tool_name_prefix)
    if not prefix and any(name in taken for name in names):
        return replace(config, tool_name_prefix=f"{server}_")
    bad = [name for name in names if name in taken or not _LEGAL.fullmatch(name)]
    if not bad:
        return None
    log.warning("tools of an MCP server cannot be offered", extra={"server": server, "tools": bad})
    blocked = [*list(config.blocked_tools or []), *(name.removeprefix(prefix) for name in bad)]  # type: ignore[arg-type]
    return replace(config, blocked_tools=blocked)


def innermost(trouble: Exception) -> Exception:
    """A failure without the groups of one that it came in."""
    while isinstance(trouble, ExceptionGroup) and len(trouble.exceptions) == 1:
        trouble = trouble.exceptions[0]
    return trouble


def _stand_in(name: str, error: ServerError) -> FunctionTool:
    """A tool that says why the server's own is not there."""

    async def away() -> None:
        raise error

    async def answer(_: ToolExecution, event: ToolCallEvent, __: Context) -> ToolResultType:
        return ToolErrorEvent.from_call(event, error)

    built: FunctionTool = tool(
        away,
        name=name,
        description=f"Not available now. {told_of(error)}",
        schema={"type": "object", "properties": {}},
        middleware=[answer],
    )
    return built
