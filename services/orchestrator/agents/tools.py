"""A workflow's Python functions as AG2 tools: loaded from its folder, handed what they ask for."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ag2 import Context, ToolResult, tool
from ag2.events import HumanInputRequest
from ag2.tools.types import FunctionTool

from contracts.events.business import BusinessLogged, Level
from contracts.events.human import Display
from services.orchestrator.agents.approval import ask_first
from services.orchestrator.agents.crossing import Crossing
from services.orchestrator.agents.limits import Bounds, Patience
from services.orchestrator.agents.prints import printing
from services.orchestrator.agents.progress import Progress, Step, step
from services.orchestrator.agents.scope import SCOPE, Scope
from services.orchestrator.agents.workbench import Workbench
from services.orchestrator.turns import HANDOFF
from services.orchestrator.workflows.functions import ToolCode, ToolLoadError
from services.orchestrator.workflows.spec import (
    DataReference,
    Handoff,
    Interface,
    Tool,
    transfer_name,
)

_INJECTED = ("runtime", "context_variables")

T = TypeVar("T")


async def on_human_input(event: HumanInputRequest, context: Context) -> str:
    """AG2's human-in-the-loop hook: `ctx.input` in a tool.

    One for all agents, because AG2 builds a pydantic model for each that it is handed.
    """
    scope: Scope = context.dependencies[SCOPE]
    return await scope.ask(context.tool_call_id or "", event.content, expires_in=event.timeout)


class ToolCancelledError(Exception):
    """A tool ended as if it had been cancelled, which nobody did."""


class Runtime:
    """The ToolRuntime of one run of a tool (see workflows/tooling.py).

    Tools run beside the turn's loop: whatever they ask for is done over there.
    """

    def __init__(
        self,
        scope: Scope,
        tool_call: str,
        declared: Tool,
        patience: Patience,
        references: Sequence[DataReference] = (),
    ) -> None:
        self._scope = scope
        self._references = {one.name: one for one in references}
        self._call = tool_call
        self._name = declared.name
        self._interface = declared.interface or Interface()
        self._patience = patience
        self._way = Crossing()
        self._progress = Progress(self._show)

    @property
    def idempotency_key(self) -> str:
        key = self._scope.key
        return f"{key.app}:{key.chat}:{self._scope.turn.number}:{self._call}"

    @property
    def agent(self) -> str:
        return self._scope.turn.agent

    @property
    def context_variables(self) -> dict[str, Any]:
        return self._scope.variables

    @property
    def whose(self) -> dict[str, str]:
        """What the log says of this run."""
        key = self._scope.key
        agent = str(self._scope.turn.agent)
        return {"app": key.app, "chat": key.chat, "agent": agent, "tool": self._name}

    @property
    def left_alone(self) -> bool:
        """Whether neither a person is waited for nor anyone has cancelled the call."""
        running = asyncio.current_task()
        return not self._scope.suspended and running is not None and not running.cancelling()

    async def ask(
        self,
        prompt: str,
        options: Sequence[str] = (),
        *,
        expires_in: float | None = None,
        default: str | None = None,
    ) -> str:
        return await self._unhurried(
            partial(self._scope.ask, self._call, prompt, options, expires_in, default)
        )

    async def use_ui_tool(
        self,
        ui_tool_id: str,
        payload: dict[str, Any],
        *,
        component: str | None = None,
        display: Display | None = None,
        expires_in: float | None = None,
        default: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        shown = component or self._interface.component or ui_tool_id
        place = display or self._interface.display
        return await self._unhurried(
            partial(
                self._scope.use_ui_tool,
                *(self._call, ui_tool_id, shown, place, payload, expires_in, default),
            )
        )

    async def emit_business_event(
        self, log_event_type: str, message: str, *, level: Level = "info", **metadata: Any
    ) -> None:
        event = BusinessLogged(
            log_event_type=log_event_type, level=level, message=message, metadata=metadata
        )
        await self._way.over(partial(self._scope.log_business, self._call, event))

    async def progress(self, percent: float | None = None, message: str = "") -> None:
        told = step(percent, message)

        async def tell() -> None:
            self._progress.tell(told)

        await self._way.over(tell)

    async def refresh(self, name: str) -> Any:
        if (reference := self._references.get(name)) is None:
            known = ", ".join(self._references) or "none"
            raise ValueError(f"name: {name} is no variable with data elsewhere (accepted: {known})")
        return await self._way.over(partial(self._scope.refresh, self._call, reference))

    def wait(self, asked: Coroutine[Any, Any, T]) -> T:
        return self._way.wait(lambda: asked)

    def settle(self) -> None:
        """In the tool's own thread: what it changed is kept with what it says next."""
        if not self._way.closed:
            self._scope.settle(self._call)

    async def close(self) -> None:
        """The run is over, for us: whatever the tool may still ask for is not done."""
        await self._way.close()
        await self._progress.close()

    async def _unhurried(self, deed: Callable[[], Coroutine[Any, Any, T]]) -> T:
        self.settle()

        async def patiently() -> T:
            with self._patience.lifted():
                return await deed()

        return await self._way.over(patiently)

    async def _show(self, newest: Step) -> None:
        await self._scope.show_progress(self._call, self._name, newest.percent, newest.message)


@dataclass(frozen=True, slots=True)
class Function:
    """A declared function with its bounds, for models and for the runtime to call."""

    declared: Tool
    work: Callable[..., Any]
    signature: inspect.Signature
    bounds: Bounds
    bench: Workbench
    references: Sequence[DataReference] = ()

    async def call(self, scope: Scope, call: str, arguments: Mapping[str, Any]) -> Any:
        """What it returns for one call of a turn; raises what it raises."""

        async def once(patience: Patience) -> Any:
            runtime = Runtime(scope, call, self.declared, patience, self.references)
            return await self._once(runtime, arguments)

        return await self.bounds.run(
            once,
            begin_again=partial(scope.begin_again, call),
            is_final=lambda: scope.fault is not None,
        )

    def accepts(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Of what there is to give, what it has a parameter for."""
        parameters = self.signature.parameters.values()
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            return dict(given)
        names = {one.name for one in parameters if one.name not in _INJECTED}
        return {name: value for name, value in given.items() if name in names}

    async def _once(self, runtime: Runtime, arguments: Mapping[str, Any]) -> Any:
        handed = {"runtime": runtime, "context_variables": runtime.context_variables}
        mine = {name: handed[name] for name in _INJECTED if name in self.signature.parameters}
        try:
            with printing(runtime.whose):
                return await self._worked(partial(self.work, **arguments, **mine), runtime)
        except asyncio.CancelledError:
            if runtime.left_alone:
                raise ToolCancelledError("the tool cancelled itself") from None
            raise
        finally:
            await runtime.close()

    async def _worked(self, work: Callable[[], Any], runtime: Runtime) -> Any:
        left = self.bounds.left_behind
        if inspect.iscoroutinefunction(self.work):
            return await self.bench.run_async(partial(_async_to_its_end, work, runtime), left)
        return await self.bench.run_blocking(partial(_to_its_end, work, runtime), left)


async def _async_to_its_end(work: Callable[[], Awaitable[Any]], runtime: Runtime) -> Any:
    try:
        return await work()
    finally:
        runtime.settle()


def _to_its_end(work: Callable[[], Any], runtime: Runtime) -> Any:
    try:
        return work()
    finally:
        runtime.settle()


def build_function(
    declared: Tool, code: ToolCode, bench: Workbench, references: Sequence[DataReference] = ()
) -> Function:
    """Raises ToolLoadError."""
    work = code.function(declared.file, declared.function)
    try:
        signature = inspect.signature(work, eval_str=True)
    except Exception as broken:  # an annotation that means nothing
        raise _unfit(declared, broken) from broken
    return Function(declared, work, signature, Bounds(declared.limits), bench, references)


def _unfit(declared: Tool, broken: Exception) -> ToolLoadError:
    return ToolLoadError(f"{declared.file.name}: {declared.function}: {broken}")


def build_tool(function: Function) -> FunctionTool:
    """The AG2 tool of a declared function. Raises ToolLoadError."""
    declared = function.declared
    try:
        built: FunctionTool = tool(
            _injecting(function),
            name=declared.name,
            description=declared.description or inspect.getdoc(function.work) or declared.name,
            middleware=[ask_first] if declared.requires_approval else [],
        )
    except Exception as broken:  # a signature that has no JSON schema
        raise _unfit(declared, broken) from broken
    return built


def build_handoff(handoff: Handoff) -> FunctionTool:
    """A tool by which a model hands over; its result is final and so ends the turn."""
    target = handoff.target

    async def transfer(reason: str = "") -> ToolResult:
        told = f"[handoff to {target}] {reason}".strip()
        return ToolResult(told, final=True, metadata={HANDOFF: target})

    built: FunctionTool = tool(transfer, name=transfer_name(target), description=handoff.condition)
    return built


def _injecting(function: Function) -> Callable[..., Any]:
    """The function as AG2 sees it: injected parameters gone, a context in their place."""
    signature = function.signature
    context = inspect.Parameter(
        "mozaiks_context", inspect.Parameter.KEYWORD_ONLY, annotation=Context
    )
    visible = [p for name, p in signature.parameters.items() if name not in _INJECTED]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in visible):
        raise ToolLoadError(f"{function.work.__name__}: **{visible[-1].name} has no schema")

    async def called(*, mozaiks_context: Any, **arguments: Any) -> Any:
        scope: Scope = mozaiks_context.dependencies[SCOPE]
        return await function.call(scope, mozaiks_context.tool_call_id or "", arguments)

    shown = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in visible]
    outer: Any = called
    outer.__name__ = function.work.__name__
    outer.__doc__ = function.work.__doc__
    outer.__signature__ = signature.replace(
        parameters=[*shown, context], return_annotation=inspect.Signature.empty
    )
    outer.__annotations__ = {p.name: p.annotation for p in [*shown, context]}
    return called
