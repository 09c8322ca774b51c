"""A workflow's hooks: functions that change what an agent reads, or what it has answered."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from contracts.events.turn import ConversationProcessed, NewMessages
from contracts.ids import AgentName
from services.chassis.secrets import process_redactor
from services.orchestrator.agents.ag2.codec import error_text
from services.orchestrator.agents.ag2.json_values import jsonable, utf8
from services.orchestrator.agents.execution.outcomes import HookError
from services.orchestrator.agents.sandbox.thread_runner import AbandonedRuns, ThreadRunner
from services.orchestrator.domain.agent_conversation import Message, from_ag2, to_ag2
from services.orchestrator.domain.conversation_changes import difference, digest
from services.orchestrator.workflows.code.loader import ToolCode, ToolLoadError
from services.orchestrator.workflows.spec import USER, Hook, HookKind

HOOK_SECONDS = 30.0
"""How long one hook may take."""


@dataclass(slots=True)
class HookedAgent:
    """The agent as a hook sees it; the hook may change its system message and the variables."""

    name: str
    system_message: str = ""
    context_variables: dict[str, Any] = field(default_factory=dict)

    def update_system_message(self, text: str) -> None:
        self.system_message = text


@dataclass(frozen=True, slots=True)
class Hooks:
    """One agent's hooks, in the order of the manifest."""

    functions: Sequence[tuple[HookKind, Callable[..., Any]]]
    thread_runner: ThreadRunner = field(default_factory=ThreadRunner)

    @property
    def edit_output(self) -> bool:
        """Whether a hook changes what the agent answers."""
        return any(kind == "process_message_before_send" for kind, _ in self.functions)

    async def edited_output(self, agent: AgentName, text: str) -> str:
        """The agent's answer after its hooks. Raises HookError."""
        for hook in self._of_kind("process_message_before_send"):
            sender, recipient = HookedAgent(agent), HookedAgent(USER)
            try:
                edited = await self._call(hook, sender, text, recipient, False)  # noqa: FBT003  as AG2 calls it
                text = text if edited is None else _text_of(edited)
            except Exception as error:
                raise HookError(error_text(error)) from error
        return text

    async def process_conversation(
        self,
        agent: AgentName,
        history: Sequence[Message],
        prompt: str,
        variables: dict[str, Any],
        turn: int,
    ) -> ConversationProcessed:
        """What the agent reads after its hooks; they may change `variables`. Raises what they raise."""
        hooked_agent = HookedAgent(agent, prompt, variables)
        before, messages = to_ag2(history), to_ag2(history)  # hooks change the latter in place
        for hook in self._of_kind("update_agent_state"):
            await self._call(hook, hooked_agent, messages)
        for hook in self._of_kind("process_all_messages_before_reply"):
            processed = await self._call(hook, messages)
            messages = messages if processed is None else list(processed)
            if not messages:
                raise ValueError("process_all_messages_before_reply returned no message")
        for hook in self._of_kind("process_last_received_message"):
            processed = await self._call(hook, messages[-1]["content"] if messages else "")
            if messages and processed is not None:
                messages = [*messages[:-1], {**messages[-1], "content": _text_of(processed)}]
        recordable = jsonable(messages)
        from_ag2(recordable, agent)  # raises here, as the hook's error, if a model cannot read it
        changes = await asyncio.to_thread(difference, before, recordable)
        keeps = any(not isinstance(one, NewMessages) for one in changes)
        return ConversationProcessed(
            turn=turn,
            agent=agent,
            changes=changes,
            base=digest(before) if keeps else "",
            prompt=utf8(str(hooked_agent.system_message)),
        )

    async def _call(self, hook: Callable[..., Any], *arguments: Any) -> Any:
        work, abandoned = partial(hook, *arguments), AbandonedRuns()
        async with asyncio.timeout(HOOK_SECONDS):
            if inspect.iscoroutinefunction(hook):
                return await self.thread_runner.run_async(work, abandoned)
            value = await self.thread_runner.run_blocking(work, abandoned)
            if isinstance(value, Awaitable):  # a decorator hides that the hook is async
                return await self.thread_runner.run_async(partial(_identity, value), abandoned)
            return value

    def _of_kind(self, kind: HookKind) -> Iterable[Callable[..., Any]]:
        return (function for own, function in self.functions if own == kind)


NO_HOOKS = Hooks(())


def build_hooks(hooks: Iterable[Hook], code: ToolCode, thread_runner: ThreadRunner) -> Hooks:
    """Raises ToolLoadError."""
    return Hooks([(hook.kind, _function_of(hook, code)) for hook in hooks], thread_runner)


_ARGUMENTS: Mapping[HookKind, Sequence[str]] = {
    "update_agent_state": ("agent", "messages"),
    "process_all_messages_before_reply": ("messages",),
    "process_last_received_message": ("content",),
    "process_message_before_send": ("sender", "message", "recipient", "silent"),
}


def _function_of(hook: Hook, code: ToolCode) -> Callable[..., Any]:
    """Raises ToolLoadError, also where the function does not take what its hook is called with."""
    function, arguments = code.function(hook.file, hook.function), _ARGUMENTS[hook.kind]
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise ToolLoadError(
            f"{hook.file.name}: {hook.function}: {hook.kind} is called with "
            f"({', '.join(arguments)}): {error}"
        ) from error
    return function


def _identity(value: Any) -> Any:
    return value


def _text_of(message: Any) -> str:
    """A message's text: hooks written for the original runtime may return the whole message."""
    if isinstance(message, dict):
        message = message.get("content") or ""
    if not isinstance(message, str | int | float):
        raise TypeError(f"a hook returned {type(message).__name__}, accepted: a text, None")
    return process_redactor().without_known(utf8(str(message)))
