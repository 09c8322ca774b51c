"""AG2's MCP toolkit with what a call needs that is made at most once: hints, and an idempotency key.

Imported where an agent first uses an MCP server, because `mcp` takes half a second to import.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from ag2.annotations import Context
from ag2.events import ToolCallEvent
from ag2.tools.toolkits.mcp_server.answering import InputRequestAnswerer
from ag2.tools.toolkits.mcp_server.toolkit import (
    MCPToolkit,
    _mcp_session,
    _MCPProxyTool,
    _resolve_config,
)
from mcp import ClientSession
from mcp.shared.exceptions import MCPError
from mcp.types import (
    CONNECTION_CLOSED,
    REQUEST_TIMEOUT,
    CallToolResult,
    PaginatedRequestParams,
)
from mcp.types import Tool as McpTool

from services.orchestrator.agents.tools.mcp_call import CALL, McpCall
from services.orchestrator.workflows.effect_policy import McpHints

KEY_META = "mozaiks/idempotency-key"
"""The key of a request's `_meta`."""
KEY_HEADER = "Idempotency-Key"
_MAX_PAGES = 100


class KeyedTool(_MCPProxyTool):
    """A tool of a server: each call carries its idempotency key in `_meta` and as an HTTP header."""

    __slots__ = ("hints", "remote_name")

    def __init__(self, raw_tool: McpTool, **options: Any) -> None:
        super().__init__(raw_tool=raw_tool, **options)
        found = raw_tool.annotations
        self.remote_name = raw_tool.name
        self.hints = McpHints(
            read_only=found is not None and found.read_only_hint is True,
            idempotent=found is not None and found.idempotent_hint is True,
        )

    async def _call(
        self, session: ClientSession, event: ToolCallEvent, answerer: InputRequestAnswerer
    ) -> CallToolResult:
        call = CALL.get()
        # The one place where a request's `_meta` and its HTTP headers are both made.
        session._stamp = _stamped(session._stamp, call)  # noqa: SLF001
        try:
            result = await super()._call(session, event, answerer)
        except MCPError as error:  # the server's own error answers the call, too
            call.is_answered = error.code not in (CONNECTION_CLOSED, REQUEST_TIMEOUT)
            raise
        call.is_answered = True
        return result


def _stamped(stamp: Callable[..., None], call: McpCall) -> Callable[..., None]:
    """What the session adds to a request, and the key if it calls a tool."""

    def with_key(data: dict[str, Any], options: Any) -> None:
        stamp(data, options)
        if data["method"] != "tools/call":
            return
        call.is_sent = True
        data.setdefault("params", {}).setdefault("_meta", {})[KEY_META] = call.idempotency_key
        options.setdefault("headers", {})[KEY_HEADER] = _header(call.idempotency_key)

    return with_key


def _header(key: str) -> str:
    """The key as a header's value, which is visible ASCII."""
    return "".join(one if " " <= one <= "~" else f"\\u{ord(one):04x}" for one in key)


class KeyedToolkit(MCPToolkit):
    """The tools of one server, listed once."""

    __slots__ = ()

    @property
    def keyed(self) -> list[KeyedTool]:
        """The tools of the server that were found."""
        return [one for one in self._tools.values() if isinstance(one, KeyedTool)]

    async def _discover_tools(self, context: Context) -> None:
        if self._discovered_config is not None:
            return
        resolved = deepcopy(_resolve_config(self.config, context))
        async with _mcp_session(resolved) as session:
            listed = await _list_tools(session)
        prefix = str(resolved.tool_name_prefix)
        allowed, blocked = resolved.allowed_tools, resolved.blocked_tools or ()
        tools = [
            KeyedTool(
                raw_tool=one,
                config=resolved,
                tool_name_prefix=prefix,
                middleware=self._middleware,
                answering=self.answering,
            )
            for one in listed
            if (allowed is None or one.name in allowed) and one.name not in blocked  # type: ignore[operator]
        ]
        self._tools = {one.name: one for one in reversed(tools)}  # the first of a name counts
        self._discovered_config = resolved


async def _list_tools(session: ClientSession) -> list[McpTool]:
    """Raises RuntimeError if the server's list has no end."""
    page = await session.list_tools()
    tools = list(page.tools)
    for _ in range(_MAX_PAGES):
        if page.next_cursor is None:
            return tools
        page = await session.list_tools(params=PaginatedRequestParams(cursor=page.next_cursor))
        tools.extend(page.tools)
    raise RuntimeError(f"its list of tools has more than {_MAX_PAGES} pages")
