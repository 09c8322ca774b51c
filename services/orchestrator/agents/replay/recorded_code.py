"""The code of a workflow whose tools are not run: each does what the log says that it did."""

import asyncio
import base64
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any, cast

from ag2 import ToolResult
from pydantic import TypeAdapter

from contracts import large_values
from contracts.events.business import BusinessLogged
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.parts import BinaryPart, Part, TextPart, text_of
from contracts.events.turn import ToolReturned
from services.orchestrator.agents.ag2.codec import input_of
from services.orchestrator.agents.execution.agent_factory import tools_of
from services.orchestrator.agents.replay.recorded_calls import CallKey
from services.orchestrator.agents.replay.recorded_chat import RecordedChat
from services.orchestrator.agents.replay.recorded_model import ChatSource
from services.orchestrator.agents.tools.limits import ToolTimeLimitError
from services.orchestrator.agents.tools.tool_runtime import Runtime
from services.orchestrator.compatibility.current_runtime import current_runtime
from services.orchestrator.workflows.code.loader import ToolCode
from services.orchestrator.workflows.loading import LoadedWorkflow

Name = tuple[str, str]
"""A file and a function of it."""


class RecordedFailureError(Exception):
    """An attempt failed, and the log does not say how: another one followed."""


def with_recorded_tools(loaded: LoadedWorkflow, source: ChatSource) -> LoadedWorkflow:
    """The workflow with its tools and their checks replaced.

    Hooks that change what an agent reads are run; those that change an answer are not, as the
    recorded answer is the changed one.
    """
    code = _RecordedCode(loaded, source, asyncio.get_running_loop())
    return replace(loaded, code=cast(ToolCode, code))


class _RecordedCode:
    """What is needed of `ToolCode`."""

    def __init__(
        self, loaded: LoadedWorkflow, source: ChatSource, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.bundle = loaded.code.bundle
        self._code = loaded.code
        self._tools = RecordedTools(source, loop)
        workflow = loaded.workflow
        declared = tools_of(workflow)
        self._seconds = {
            (one.file.as_posix(), one.function): one.limits.timeout_seconds for one in declared
        }
        agents = workflow.agents.values()
        servers = [server for agent in agents for server in agent.mcp_servers]
        self._checks: set[Name] = {
            (one.file.as_posix(), one.check) for one in declared if one.check is not None
        } | {(one.check[0].as_posix(), one.check[1]) for one in servers if one.check is not None}
        self._edits: set[Name] = {
            (hook.file.as_posix(), hook.function)
            for agent in agents
            for hook in agent.hooks
            if hook.kind == "process_message_before_send"
        }

    def function(self, file: PurePath, name: str) -> Callable[..., Any]:
        """Raises ToolLoadError, as the code itself."""
        real, named = self._code.function(file, name), (file.as_posix(), name)
        if named in self._seconds:
            return self._recorded(real, functools.partial(self._tools.run, self._seconds[named]))
        if named in self._checks:
            return self._recorded(real, self._tools.check)
        return self._recorded(real, _unchanged) if named in self._edits else real

    @staticmethod
    def _recorded(real: Callable[..., Any], work: Callable[..., Any]) -> Callable[..., Any]:
        """A coroutine function with the signature of the real one."""

        @functools.wraps(real)
        async def recorded(*arguments: Any, **keywords: Any) -> Any:
            return await work(*arguments, **keywords)

        recorded.__signature__ = inspect.signature(real, eval_str=True)  # type: ignore[attr-defined]
        return recorded


async def _unchanged(*_: Any, **__: Any) -> None:
    """A hook that leaves the message as it is."""


class RecordedTools:
    """Does in a tool's thread what the log says; the log itself is in the loop of the chat."""

    def __init__(self, source: ChatSource, loop: asyncio.AbstractEventLoop) -> None:
        self._source = source
        self._loop = loop

    async def run(self, seconds: float, *_: Any, **__: Any) -> Any:
        """What the tool of the current call returned; raises what it raised.

        `seconds` is the time limit of an attempt.
        """
        runtime = cast(Runtime, current_runtime())
        chat = self._source.get()
        call = chat.calls.of_key(runtime.idempotency_key)
        number = 0
        while True:
            if call is None:  # the log does not know it: that it is made at all is the difference
                await self._in_chat(_for_ever)
            place, fails = await self._in_chat(
                functools.partial(chat.tool_step, cast(CallKey, call), number)
            )
            if fails:
                raise _failure(chat, place, seconds)
            event = chat.fact(place).event
            if place >= chat.place:
                _change_variables(runtime, chat, place)
            match event:
                case ToolReturned() as result:
                    return _result(runtime, result, seconds, chat.values)
                case _:
                    await _do(runtime, event)
            number += 1

    async def check(self, key: str, *_: Any, **__: Any) -> Any:
        """What the check found, by what followed."""
        chat = self._source.get()
        call = chat.calls.of_key(key)
        if call is None:
            return {"status": "unknown"}
        dispatch = chat.next_dispatch(call)
        if dispatch is not None:
            return {"status": "not_done" if dispatch[1].reason == "check" else "unknown"}
        event = next(
            (one for one in _steps(chat, call) if isinstance(one, ToolReturned)),
            None,
        )
        if event is not None and event.resolved_by == "check":
            return {"status": "done", "result": tool_result(event, chat.values)}
        return {"status": "unknown"}

    async def _in_chat(self, work: Callable[[], Any]) -> Any:
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        return await asyncio.wrap_future(future)


async def _for_ever() -> None:
    await asyncio.Future()


def _steps(chat: RecordedChat, call: CallKey) -> Iterable[Any]:
    number = 0
    while (place := chat.calls.step(call, number)) is not None:
        yield chat.fact(place).event
        number += 1


def _failure(chat: RecordedChat, place: int, seconds: float) -> Exception:
    """The error of an attempt after which another one was made."""
    reason = getattr(chat.fact(place).event, "reason", "retry")
    if reason == "retry":
        return RecordedFailureError("the recorded attempt failed")
    return ToolTimeLimitError(f"took longer than {seconds:g} s")


def _change_variables(runtime: Runtime, chat: RecordedChat, place: int) -> None:
    changes = chat.calls.changes(place)
    for name in changes.removed:
        runtime.context_variables.pop(name, None)
    runtime.context_variables.update(changes.changed)


async def _do(runtime: Runtime, event: Any) -> None:
    match event:
        case HumanAsked():
            await runtime.ask(event.prompt, event.options, **_routing(event), default=event.default)
        case UiToolRequested():
            await runtime.use_ui_tool(
                event.ui_tool_id,
                event.payload,
                component=event.component,
                display=event.display,
                default=event.default,
                **_routing(event),
            )
        case BusinessLogged():
            await runtime.emit_business_event(
                event.log_event_type, event.message, level=event.level, **event.metadata
            )
        case _:
            pass


def _routing(question: HumanAsked | UiToolRequested) -> dict[str, Any]:
    audience, escalation = question.audience, question.escalation
    found: dict[str, Any] = {"send_links": question.send_links}
    if question.expires_at is not None:
        found["expires_in"] = 1.0
    if audience is not None:
        found |= {"users": audience.users, "roles": audience.roles}
    if escalation is not None:
        to = escalation.to
        found |= {"escalate_to_users": to.users, "escalate_to_roles": to.roles}
        found["escalate_after"] = 1.0
    return found


def _result(
    runtime: Runtime, result: ToolReturned, seconds: float, values: Mapping[str, bytes]
) -> ToolResult:
    """Raises the error of a call that failed, so that its text is the same."""
    if result.receipt is not None:
        runtime.receipt(result.receipt)
    if result.resolved_by is not None:
        raise ToolTimeLimitError(f"took longer than {seconds:g} s")
    if result.status == "error":
        raise named_error(result.error or text_of(result.parts))
    return tool_result(result, values)


def tool_result(result: ToolReturned, values: Mapping[str, bytes]) -> ToolResult:
    """What a tool returned, with its whole values, of which the code makes the same beginnings."""
    return ToolResult(
        parts=[input_of(one) for part in result.parts for one in _whole(part, values)],
        final=result.final,
        metadata=result.metadata,
    )


_PARTS: TypeAdapter[list[Part]] = TypeAdapter(list[Part])


def _whole(part: Part, values: Mapping[str, bytes]) -> list[Part]:
    """The part, or the parts, that a part is the beginning of."""
    if part.whole is None or (data := values.get(part.whole.digest)) is None:
        return [part]
    match part.whole.media_type:
        case large_values.TEXT:
            field = "text" if isinstance(part, TextPart) else "data"
            return [part.model_copy(update={field: data.decode(), "whole": None})]
        case large_values.JSON if isinstance(
            part, TextPart
        ):  # a note on the parts that are missing
            return _PARTS.validate_json(data)
        case large_values.JSON:
            return [part.model_copy(update={"data": json.loads(data), "whole": None})]
        case media_type:
            return [BinaryPart(data=base64.b64encode(data).decode(), media_type=media_type)]


def named_error(text: str) -> Exception:
    """An error whose text for a model is this one: its type, and what it says."""
    name, _, message = text.partition(": ")
    if name == ToolTimeLimitError.__name__:
        return ToolTimeLimitError(message)
    kind = type(name if name.isidentifier() else "RecordedError", (Exception,), {})
    error: Exception = kind(message) if message else kind()
    return error
