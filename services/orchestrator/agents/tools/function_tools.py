"""Builds AG2 tools from the Python functions of a workflow's folder."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import is_
from types import GenericAlias, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from ag2 import Context, ToolResult, tool
from ag2.events import HumanInputRequest
from ag2.tools.types import FunctionTool
from pydantic import Field

from services.orchestrator.agents.sandbox.stdout_capture import capture_output
from services.orchestrator.agents.sandbox.thread_runner import ThreadRunner
from services.orchestrator.agents.session.human_requests import TO_USER
from services.orchestrator.agents.session.recorder import RECORDER, TurnRecorder
from services.orchestrator.agents.tools.approval import require_approval
from services.orchestrator.agents.tools.check_function import CheckFunction, build_check
from services.orchestrator.agents.tools.guarded_calls import GuardedTool, ResolvedResult
from services.orchestrator.agents.tools.limits import CallLimiter, TimeBudget
from services.orchestrator.agents.tools.tool_runtime import Runtime
from services.orchestrator.compatibility.current_runtime import as_current
from services.orchestrator.domain.turn_steps import HANDOFF_KEY
from services.orchestrator.workflows.code.loader import ToolCode, ToolLoadError
from services.orchestrator.workflows.spec import DataReference, Handoff, Tool, transfer_name

_INJECTED = ("runtime", "context_variables")
"""The parameters that the runtime passes to a function, and models do not see."""
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
MAX_ELEMENTS = 10_000
"""Elements of an iterator or generator that a tool returns: the whole of it is its result."""


async def on_human_input(event: HumanInputRequest, context: Context) -> str:
    """AG2's human-in-the-loop hook: `ctx.input` in a tool.

    One for all agents, because AG2 builds a pydantic model for each hook that it is given.
    """
    recorder: TurnRecorder = context.dependencies[RECORDER]
    return await recorder.human_requests.ask(
        context.tool_call_id or "", event.content, expires_in=event.timeout
    )


class TooManyElementsError(Exception):
    """A tool returned an iterator that may have no end."""


class ToolCancelledError(Exception):
    """A tool raised CancelledError although nobody cancelled its call."""


@dataclass(frozen=True, slots=True)
class Function:
    """A declared function with its limits, called by models or by the runtime."""

    declared: Tool
    function: Callable[..., Any]
    signature: inspect.Signature
    limiter: CallLimiter
    thread_runner: ThreadRunner
    references: Sequence[DataReference] = ()
    check: CheckFunction | None = None

    async def call(
        self, recorder: TurnRecorder, tool_call: str, arguments: Mapping[str, Any]
    ) -> Any:
        """What the function returns for one tool call; raises what it raises.

        Of a call in doubt, it may be the result that its check or the user says it had.
        """

        async def run(budget: TimeBudget) -> Any:
            runtime = Runtime(recorder, tool_call, self.declared, budget, self.references)
            return await self._run(runtime, arguments)

        declared = self.declared
        routing = TO_USER if declared.approval is None else declared.approval.routing
        tool = GuardedTool(declared.name, declared.effects, self.limiter, self.check, routing)
        result = await tool.call(recorder, tool_call, run)
        return result.value if isinstance(result, ResolvedResult) else result

    def accepted_arguments(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that the function has parameters for."""
        parameters = self.signature.parameters.values()
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            return dict(arguments)
        names = {one.name for one in parameters if one.name not in _INJECTED}
        return {name: value for name, value in arguments.items() if name in names}

    async def _run(self, runtime: Runtime, arguments: Mapping[str, Any]) -> Any:
        injectable = {"runtime": runtime, "context_variables": runtime.context_variables}
        injected = {
            name: injectable[name] for name in _INJECTED if name in self.signature.parameters
        }
        try:
            with capture_output(runtime.log_fields), as_current(runtime):
                return await self._run_in_thread(
                    partial(self.function, **arguments, **injected), runtime
                )
        except asyncio.CancelledError:
            if runtime.is_active:
                raise ToolCancelledError("the tool cancelled itself") from None
            raise
        finally:
            await runtime.close()

    async def _run_in_thread(self, work: Callable[[], Any], runtime: Runtime) -> Any:
        """Also where a decorator hides that the function is async: what it returns is awaited."""
        abandoned = self.limiter.abandoned_runs
        if inspect.iscoroutinefunction(self.function):
            returned = work
        else:
            value = await self.thread_runner.run_blocking(
                partial(_attributing_changes, work, runtime), abandoned
            )
            if not isinstance(value, Awaitable | AsyncIterator):
                return value
            returned = partial(_identity, value)
        return await self.thread_runner.run_async(
            partial(_attributing_changes_async, returned, runtime), abandoned
        )


async def _attributing_changes_async(work: Callable[[], Any], runtime: Runtime) -> Any:
    try:
        return await _awaited(work())
    finally:
        runtime.attribute_changes()


def _attributing_changes(work: Callable[[], Any], runtime: Runtime) -> Any:
    try:
        value = work()
        return _elements(value) if isinstance(value, Iterator) else value
    finally:
        runtime.attribute_changes()


async def _awaited(value: Any) -> Any:
    """What an awaitable, of whatever depth, comes to; the elements of an asynchronous iterator."""
    while isinstance(value, Awaitable):
        value = await value
    if not isinstance(value, AsyncIterator):
        return _elements(value) if isinstance(value, Iterator) else value
    elements: list[Any] = []
    async for element in value:
        _check_number(len(elements))
        elements.append(element)
    return elements


def _elements(values: Iterator[Any]) -> list[Any]:
    elements: list[Any] = []
    for element in values:
        _check_number(len(elements))
        elements.append(element)
    return elements


def _check_number(elements: int) -> None:
    if elements >= MAX_ELEMENTS:
        raise TooManyElementsError(f"the tool's iterator has more than {MAX_ELEMENTS} elements")


def _identity(value: Any) -> Any:
    return value


def build_function(
    declared: Tool,
    code: ToolCode,
    thread_runner: ThreadRunner,
    references: Sequence[DataReference] = (),
) -> Function:
    """Raises ToolLoadError."""
    function = code.function(declared.file, declared.function)
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:  # an annotation that cannot be evaluated
        raise _load_error(declared, error) from error
    limiter = CallLimiter(declared.limits)
    check = _build_check(declared, code, thread_runner)
    return Function(declared, function, signature, limiter, thread_runner, references, check)


def _build_check(
    declared: Tool, code: ToolCode, thread_runner: ThreadRunner
) -> CheckFunction | None:
    if declared.check is None:
        return None
    function = code.function(declared.file, declared.check)
    name = f"{declared.file.name}: {declared.check}"
    return build_check(function, name, thread_runner, declared.limits.timeout_seconds)


def _load_error(declared: Tool, error: Exception) -> ToolLoadError:
    return ToolLoadError(f"{declared.file.name}: {declared.function}: {error}")


def build_tool(function: Function, *, hides_keywords: bool = False) -> FunctionTool:
    """The AG2 tool of a declared function. Raises ToolLoadError.

    Parameters like `**more` have no schema; with `hides_keywords`, models do not see them.
    """
    declared = function.declared
    try:
        built: FunctionTool = tool(
            _visible_function(function, hides_keywords=hides_keywords),
            name=declared.name,
            description=declared.description or inspect.getdoc(function.function) or declared.name,
            middleware=[] if declared.approval is None else [require_approval(declared.approval)],
        )
    except Exception as error:  # a signature without a JSON schema
        raise _load_error(declared, error) from error
    return built


def build_handoff(handoff: Handoff) -> FunctionTool:
    """A tool by which a model hands over to an agent; its result is final, so it ends the turn."""
    target = handoff.target

    async def transfer(reason: str = "") -> ToolResult:
        text = f"[handoff to {target}] {reason}".strip()
        return ToolResult(text, final=True, metadata={HANDOFF_KEY: target})

    built: FunctionTool = tool(transfer, name=transfer_name(target), description=handoff.condition)
    return built


def _visible_function(function: Function, *, hides_keywords: bool) -> Callable[..., Any]:
    """The function as AG2 sees it: with AG2's context in place of the injected parameters."""
    signature = function.signature
    context = inspect.Parameter(
        "mozaiks_context", inspect.Parameter.KEYWORD_ONLY, annotation=Context
    )
    visible = [p for name, p in signature.parameters.items() if name not in _INJECTED]
    if hides_keywords:
        visible = [p for p in visible if p.kind not in _VARIABLE]
    for parameter in visible:
        if parameter.kind in _VARIABLE:
            raise ToolLoadError(f"{function.function.__name__}: {parameter} has no schema")
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ToolLoadError(
                f"{function.function.__name__}: {parameter.name} is positional-only, and models "
                "give arguments by name: remove the / behind it"
            )

    async def call(*, mozaiks_context: Any, **arguments: Any) -> Any:
        recorder: TurnRecorder = mozaiks_context.dependencies[RECORDER]
        return await function.call(recorder, mozaiks_context.tool_call_id or "", arguments)

    keyword_only = [
        p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=_described(p.annotation))
        for p in visible
    ]
    wrapper: Any = call
    wrapper.__name__ = function.function.__name__
    wrapper.__doc__ = function.function.__doc__
    wrapper.__signature__ = signature.replace(
        parameters=[*keyword_only, context], return_annotation=inspect.Signature.empty
    )
    wrapper.__annotations__ = {p.name: p.annotation for p in [*keyword_only, context]}
    return call


def _described(annotation: Any) -> Any:
    """`Annotated[T, "a description"]`, as AG2's own documentation has it, as a pydantic field.

    Also within another type, as in `Annotated[str, "a place"] | None`.
    """
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        described, *metadata = arguments
        fields = [Field(description=one) if isinstance(one, str) else one for one in metadata]
        return Annotated[_described(described), *fields]
    inner = tuple(map(_described, arguments))
    if all(map(is_, inner, arguments)):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return Union[inner]  # noqa: UP007  of a tuple
    return (
        annotation.copy_with(inner)
        if hasattr(annotation, "copy_with")
        else GenericAlias(get_origin(annotation), inner)
    )
