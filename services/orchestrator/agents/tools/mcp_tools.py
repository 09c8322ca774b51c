"""The tools of MCP servers as AG2 tools: listed when an agent first needs them, called with limits.

A server that does not start or does not answer never fails a turn: placeholder tools take the place
of its own, and tell the model what is wrong.
"""

import asyncio
import logging
import re
from ast import literal_eval
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ag2 import Context, tool
from ag2.events import ToolCallEvent, ToolErrorEvent, ToolResultEvent
from ag2.middleware import ToolExecution, ToolMiddleware, ToolResultType
from ag2.tools import Toolkit
from ag2.tools.schemas import ToolSchema
from ag2.tools.types import FunctionTool, Tool

from services.orchestrator.agents.ag2.codec import error_text
from services.orchestrator.agents.sandbox.thread_runner import ThreadRunner
from services.orchestrator.agents.session.human_requests import TO_USER
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder
from services.orchestrator.agents.tools.approval import require_approval
from services.orchestrator.agents.tools.check_function import build_check
from services.orchestrator.agents.tools.guarded_calls import (
    GuardedTool,
    OutcomeUnknownError,
    ResolvedResult,
)
from services.orchestrator.agents.tools.limits import CallLimiter, TimeBudget
from services.orchestrator.agents.tools.mcp_call import CALL, McpCall
from services.orchestrator.agents.tools.mcp_config import (
    DISCOVERY_SECONDS,
    Config,
    McpServerError,
    mcp_config,
    missing_program,
)
from services.orchestrator.workflows.effect_policy import mcp_policy
from services.orchestrator.workflows.spec import McpServer

if TYPE_CHECKING:
    from services.orchestrator.agents.tools.mcp_toolkit import KeyedTool, KeyedToolkit

log = logging.getLogger(__name__)

MAX_TOOLS = 128
"""Of one server: providers accept no more in a request."""

_VALID_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TEXT_CONTENT = re.compile(r"TextContent\(type='text', text=(.*?), annotations=", re.DOTALL)


def _toolkit_class() -> type["KeyedToolkit"]:
    """Imported here, because `mcp` takes half a second: most orchestrators call no MCP server."""
    from services.orchestrator.agents.tools.mcp_toolkit import KeyedToolkit

    return KeyedToolkit


class ServerToolkit(Toolkit):
    """The tools of one server for one agent.

    `other_names` are the names of the agent's own tools, `earlier` the servers whose tools have
    precedence when names are equal.
    """

    def __init__(
        self,
        server: McpServer,
        environment: Mapping[str, str],
        limiter: CallLimiter,
        other_names: Collection[str],
        earlier: Sequence["ServerToolkit"] = (),
        check: Callable[..., Any] | None = None,
    ) -> None:
        """`check` is the function that finds out whether a call in doubt was done.

        Raises ToolLoadError for a check that cannot be called.
        """
        super().__init__(name=server.name)
        self._server = server
        self._environment = environment
        self._limiter = limiter
        self._other_names = other_names
        self._earlier = earlier
        self._thread_runner = ThreadRunner()  # a server's messages are parsed beside our loop
        self._discovery = asyncio.Lock()
        self._remote: KeyedToolkit | None = None
        self._guarded: Mapping[str, GuardedTool] = {}
        self._check = (
            None
            if check is None
            else build_check(check, server.name, self._thread_runner, limiter.timeout_seconds)
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "ServerToolkit":
        return self  # AG2 copies an agent's tools; a server's limits are for all its calls

    async def schemas(self, context: Context) -> Iterable[ToolSchema]:
        async with self._discovery:
            self._tools = {one.name: one for one in await self._available_tools(context)}
        return await super().schemas(context)

    def _snapshot(self) -> Toolkit:
        """For one turn: the tools found already, without asking the server again."""
        snapshot = Toolkit(name=self.name)
        for one in self.tools:
            snapshot |= one
        return snapshot

    async def _available_tools(self, context: Context) -> Sequence[Tool]:
        try:
            if self._remote is None:
                toolkit = await asyncio.to_thread(_toolkit_class)
                async with asyncio.timeout(self._discovery_seconds):
                    self._remote = await self._discover(toolkit, context)
                self._guarded = {one.name: self._guarded_tool(one) for one in self._remote.keyed}
        except Exception as error:  # noqa: BLE001  the model is told of every error
            server_error = McpServerError(self._server, self._discovery_failure(error))
            log.warning("MCP server offers no tools", extra={"error": error_text(server_error)})
            return [_placeholder(name, server_error) for name in self._expected_names()]
        return self._remote.tools

    @property
    def _discovery_seconds(self) -> float:
        return min(DISCOVERY_SECONDS, self._limiter.timeout_seconds)

    def _guarded_tool(self, tool: "KeyedTool") -> GuardedTool:
        server = self._server
        declared = server.declared_effect
        own = dict(server.tool_effects).get(tool.remote_name)
        return GuardedTool(
            tool.name,
            mcp_policy(declared if own is None else replace(declared, effect=own), tool.hints),
            self._limiter,
            self._check,
            TO_USER if server.approval is None else server.approval.routing,
        )

    async def _discover(self, toolkit: type["KeyedToolkit"], context: Context) -> "KeyedToolkit":
        """The server's tools, under names that are valid and not taken."""
        config = mcp_config(self._server, self._environment)
        while True:
            remote = toolkit(config, middleware=self._call_middleware)
            await self._thread_runner.run_async(
                partial(remote.schemas, context), self._limiter.abandoned_runs
            )
            names = [one.name for one in remote.tools]
            better = with_usable_names(config, self._server.name, names, self._taken_names)
            if better is None:
                return remote
            config = better

    @property
    def _call_middleware(self) -> list[ToolMiddleware]:
        """What a call passes through, outermost first."""
        if self._server.approval is not None:
            return [require_approval(self._server.approval), self._call]
        return [self._call]

    @property
    def _taken_names(self) -> set[str]:
        return {*self._other_names, *(one.name for kit in self._earlier for one in kit.tools)}

    def _expected_names(self) -> list[str]:
        """The names of the placeholders: those of the manifest, otherwise the server's own."""
        names = self._server.allowed_tools or (self._server.name,)
        return [
            name for name in names if _VALID_NAME.fullmatch(name) and name not in self._taken_names
        ]

    async def _call(
        self, call_next: ToolExecution, event: ToolCallEvent, context: Context
    ) -> ToolResultType:
        """One call, within the limits of the manifest."""

        recorder: TurnRecorder = context.dependencies[RECORDER]
        call = McpCall(recorder.dispatches.key_of(event.id))

        async def run(_: TimeBudget) -> ToolResultType:
            call.restart()
            CALL.set(call)
            result: ToolResultType = await self._thread_runner.run_async(
                partial(call_next, event, context), self._limiter.abandoned_runs
            )
            if not isinstance(result, ToolErrorEvent):
                return result
            error = McpServerError(self._server, _call_failure(result.error))
            if call.is_in_doubt:
                raise OutcomeUnknownError("ended without an answer of the server", error)
            raise error

        try:
            done = await self._guarded[event.name].call(
                recorder, event.id, run, may_have_begun=lambda: call.is_sent
            )
        except OutcomeUnknownError as unknown:
            return ToolErrorEvent.from_call(event, unknown.error)
        except Exception as error:  # noqa: BLE001  the model is told of every error
            return ToolErrorEvent.from_call(event, error)
        if isinstance(done, ResolvedResult):
            return ToolResultEvent.from_call(event, result=done.value)
        result: ToolResultType = done
        return result

    def _discovery_failure(self, error: Exception) -> str:
        match root_cause(error):
            case TimeoutError():
                return f"it did not answer within {self._discovery_seconds:g} s"
            case McpServerError() as server_error:
                return server_error.reason
            case cause:
                return missing_program(self._server) or error_text(cause)


def _call_failure(error: Exception) -> str:
    """The text of a failed call, without the representation that AG2 wraps it in."""
    texts = _TEXT_CONTENT.findall(str(error))
    with suppress(ValueError, SyntaxError):
        return "\n".join(literal_eval(text) for text in texts) or error_text(error)
    return error_text(error)


def with_usable_names(
    config: Config, server: str, names: Sequence[str], taken: Collection[str]
) -> Config | None:
    """The configuration under which a server's tools have usable names; none if they have already.

    If a name is taken, all tools of the server get the server's name as a prefix. A tool whose name
    providers refuse is left out. Raises ValueError if there are too many tools.
    """
    if len(names) > MAX_TOOLS:
        raise ValueError(f"it offers {len(names)} tools, {MAX_TOOLS} can be used: allowed_tools")
    prefix = str(config.tool_name_prefix)
    if not prefix and any(name in taken for name in names):
        return replace(config, tool_name_prefix=f"{server}_")
    unusable = [name for name in names if name in taken or not _VALID_NAME.fullmatch(name)]
    if not unusable:
        return None
    log.warning(
        "tools of an MCP server are left out: their names cannot be used",
        extra={"server": server, "tools": unusable},
    )
    blocked = [*list(config.blocked_tools or []), *(name.removeprefix(prefix) for name in unusable)]  # type: ignore[arg-type]
    return replace(config, blocked_tools=blocked)


def root_cause(error: Exception) -> Exception:
    """A failure without the exception groups that wrap it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _placeholder(name: str, error: McpServerError) -> FunctionTool:
    """A tool in place of the server's own, which tells why that one is not available."""

    async def unavailable() -> None:
        raise error

    async def answer(_: ToolExecution, event: ToolCallEvent, __: Context) -> ToolResultType:
        return ToolErrorEvent.from_call(event, error)

    built: FunctionTool = tool(
        unavailable,
        name=name,
        description=f"Not available now. {error_text(error)}",
        schema={"type": "object", "properties": {}},
        middleware=[answer],
    )
    return built
