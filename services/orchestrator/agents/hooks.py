"""A workflow's hooks: functions that see what an agent is about to read, or has just said."""

import asyncio
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from contracts.events.turn import ConversationProcessed
from contracts.ids import AgentName
from services.orchestrator.agents.codec import jsonable
from services.orchestrator.agents.workbench import LeftBehind, Workbench
from services.orchestrator.projection import Passage, as_messages, as_passages
from services.orchestrator.workflows.functions import ToolCode
from services.orchestrator.workflows.spec import USER, Hook, HookKind

HOOK_SECONDS = 30.0
"""How long one hook may take."""


@dataclass(slots=True)
class HookedAgent:
    """The agent as a hook sees it: its name, its prompt, which it may rewrite, and the variables."""

    name: str
    system_message: str = ""
    context_variables: dict[str, Any] = field(default_factory=dict)

    def update_system_message(self, text: str) -> None:
        self.system_message = text


@dataclass(frozen=True, slots=True)
class Hooks:
    """One agent's hooks, in the order of the manifest."""

    functions: Sequence[tuple[HookKind, Callable[..., Any]]]
    bench: Workbench = field(default_factory=Workbench)

    @property
    def edit(self) -> bool:
        """Whether a hook changes what the agent says."""
        return any(kind == "process_message_before_send" for kind, _ in self.functions)

    async def before_send(self, agent: AgentName, text: str) -> str:
        """What the agent says once its hooks have seen it. Raises what they raise."""
        for work in self._of("process_message_before_send"):
            sender, recipient = HookedAgent(agent), HookedAgent(USER)
            told = await self._called(work, sender, text, recipient, False)  # noqa: FBT003  its signature
            text = text if told is None else _content(told)
        return text

    async def processed(
        self,
        agent: AgentName,
        before: Sequence[Passage],
        prompt: str,
        variables: dict[str, Any],
        turn: int,
    ) -> ConversationProcessed:
        """What the agent is to read; `variables` may be changed. Raises what the hooks raise."""
        me = HookedAgent(agent, prompt, variables)
        messages = as_messages(before, agent)
        for work in self._of("update_agent_state"):
            await self._called(work, me, messages)
        for work in self._of("process_all_messages_before_reply"):
            told = await self._called(work, messages)
            messages = messages if told is None else list(told)
        for work in self._of("process_last_received_message"):
            told = await self._called(work, messages[-1]["content"] if messages else "")
            if messages and told is not None:
                messages = [*messages[:-1], {**messages[-1], "content": _content(told)}]
        kept = jsonable(messages)
        as_passages(kept, agent)  # what a model cannot be told is the hook's mistake, and said here
        return ConversationProcessed(
            turn=turn, agent=agent, messages=kept, prompt=str(me.system_message)
        )

    async def _called(self, work: Callable[..., Any], *arguments: Any) -> Any:
        left = LeftBehind()
        async with asyncio.timeout(HOOK_SECONDS):
            if inspect.iscoroutinefunction(work):
                return await self.bench.run_async(partial(work, *arguments), left)
            return await self.bench.run_blocking(partial(work, *arguments), left)

    def _of(self, kind: HookKind) -> Iterable[Callable[..., Any]]:
        return (work for own, work in self.functions if own == kind)


NO_HOOKS = Hooks(())


def build_hooks(hooks: Iterable[Hook], code: ToolCode, bench: Workbench) -> Hooks:
    """Raises ToolLoadError."""
    return Hooks([(hook.kind, code.function(hook.file, hook.function)) for hook in hooks], bench)


def _content(told: Any) -> str:
    """A message's text: hooks of the original may return it whole."""
    return str(told.get("content") or "") if isinstance(told, dict) else str(told)
