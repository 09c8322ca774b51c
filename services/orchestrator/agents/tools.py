"""A workflow's Python functions as AG2 tools: loaded from its folder, handed what they ask for."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from ag2 import Context, ToolResult, tool
from ag2.events import HumanInputRequest
from ag2.tools.types import FunctionTool

from contracts.events.business import BusinessLogged, Level
from services.orchestrator.agents.limits import Bounds, Patience, in_thread
from services.orchestrator.agents.scope import Scope
from services.orchestrator.workflows.functions import ToolLoadError, load_function
from services.orchestrator.workflows.spec import Handoff, Tool, transfer_name

SCOPE = "mozaiks.scope"
"""Under which a turn's Scope travels in AG2's dependencies."""
HANDOFF = "handoff"
"""Under which a handoff's target travels in a tool result's metadata."""

_INJECTED = ("runtime", "context_variables")


async def on_human_input(event: HumanInputRequest, context: Context) -> str:
    """AG2's human-in-the-loop hook: `ctx.input` in a tool, approvals of a middleware.

    One for all agents, because AG2 builds a pydantic model for each that it is handed.
    """
    scope: Scope = context.dependencies[SCOPE]
    return await scope.ask(context.tool_call_id or "", event.content, expires_in=event.timeout)


class Runtime:
    """The ToolRuntime of one tool call (see workflows/tooling.py)."""

    def __init__(self, scope: Scope, tool_call: str, patience: Patience) -> None:
        self._scope = scope
        self._call = tool_call
        self._patience = patience

    @property
    def idempotency_key(self) -> str:
        key = self._scope.key
        return f"{key.app}:{key.chat}:{self._scope.turn.number}:{self._call}"

    @property
    def context_variables(self) -> dict[str, Any]:
        return self._scope.variables

    async def ask(
        self,
        prompt: str,
        options: Sequence[str] = (),
        *,
        expires_in: float | None = None,
        default: str | None = None,
    ) -> str:
        with self._patience.lifted():
            return await self._scope.ask(self._call, prompt, options, expires_in, default)

    async def use_ui_tool(
        self,
        ui_tool_id: str,
        payload: dict[str, Any],
        *,
        component: str | None = None,
        display: Literal["inline", "artifact"] = "inline",
        expires_in: float | None = None,
        default: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        shown = component or ui_tool_id
        with self._patience.lifted():
            return await self._scope.use_ui_tool(
                self._call, ui_tool_id, shown, display, payload, expires_in, default
            )

    async def emit_business_event(
        self, log_event_type: str, message: str, *, level: Level = "info", **metadata: Any
    ) -> None:
        event = BusinessLogged(
            log_event_type=log_event_type, level=level, message=message, metadata=metadata
        )
        await self._scope.log_business(self._call, event)


def build_tool(declared: Tool) -> FunctionTool:
    """The AG2 tool of a declared function. Raises ToolLoadError."""
    function = load_function(declared.file, declared.function)
    try:
        built: FunctionTool = tool(
            _injecting(function, Bounds(declared.limits)),
            name=declared.name,
            description=declared.description or inspect.getdoc(function) or declared.name,
        )
    except Exception as broken:  # a signature that has no JSON schema
        raise ToolLoadError(f"{declared.file.name}: {declared.function}: {broken}") from broken
    return built


def build_handoff(handoff: Handoff) -> FunctionTool:
    """A tool by which a model hands over; its result is final and so ends the turn."""
    target = handoff.target

    async def transfer(reason: str = "") -> ToolResult:
        told = f"[handoff to {target}] {reason}".strip()
        return ToolResult(told, final=True, metadata={HANDOFF: target})

    built: FunctionTool = tool(transfer, name=transfer_name(target), description=handoff.condition)
    return built


def _injecting(function: Callable[..., Any], bounds: Bounds) -> Callable[..., Any]:
    """The function as AG2 sees it: injected parameters gone, a context in their place."""
    signature = inspect.signature(function, eval_str=True)
    wanted = [name for name in _INJECTED if name in signature.parameters]
    context = inspect.Parameter(
        "mozaiks_context", inspect.Parameter.KEYWORD_ONLY, annotation=Context
    )
    visible = [p for name, p in signature.parameters.items() if name not in _INJECTED]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in visible):
        raise ToolLoadError(f"{function.__name__}: **{visible[-1].name} has no schema")

    async def called(*, mozaiks_context: Any, **arguments: Any) -> Any:
        scope: Scope = mozaiks_context.dependencies[SCOPE]
        call: str = mozaiks_context.tool_call_id or ""

        async def run(patience: Patience) -> Any:
            handed = {
                "runtime": Runtime(scope, call, patience),
                "context_variables": scope.variables,
            }
            work = partial(function, **arguments, **{name: handed[name] for name in wanted})
            if inspect.iscoroutinefunction(function):
                return await work()
            return await in_thread(work)

        return await bounds.run(
            run,
            begin_again=partial(scope.begin_again, call),
            is_final=lambda: scope.fault is not None,
        )

    shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in visible]
    outer: Any = called
    outer.__name__ = function.__name__
    outer.__doc__ = function.__doc__
    outer.__signature__ = signature.replace(
        parameters=[*shown, context], return_annotation=inspect.Signature.empty
    )
    outer.__annotations__ = {p.name: p.annotation for p in [*shown, context]}
    return called
