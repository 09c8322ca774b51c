"""Do what a chat waits for: an agent's turn, step after step, or the tools around the chat."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ag2 import Agent as Ag2Agent
from ag2 import ToolResult
from ag2.events import ToolErrorEvent, ToolResultEvent

from contracts.events import Event
from contracts.events.turn import RUNTIME, SELECTOR, ToolReturned
from contracts.ids import ChatKey, QuestionId, RunnerId
from contracts.live import Delta
from services.orchestrator.agents import codec
from services.orchestrator.agents.build import Cast
from services.orchestrator.agents.compaction import compact
from services.orchestrator.agents.hooks import NO_HOOKS, Hooks
from services.orchestrator.agents.journal import Journal, NobodyToAskError
from services.orchestrator.agents.scope import Manner, Scope
from services.orchestrator.agents.tools import Function
from services.orchestrator.agents.turn import Task, left, talk
from services.orchestrator.chatlog import ChatLog, TurnOverError
from services.orchestrator.projection import (
    Passage,
    as_passages,
    conversation,
    prompt,
    selection,
    selector_prompt,
)
from services.orchestrator.runner import StandstillError
from services.orchestrator.state import AroundChat, ChatState, Turn
from services.orchestrator.turns import (
    Broke,
    Capture,
    Done,
    Invoke,
    Noted,
    Outcome,
    Process,
    Step,
    Talk,
    Waits,
    around_chat,
    next_step,
)
from services.orchestrator.workflows.spec import Agent, DataReference, Tool, Workflow

log = logging.getLogger(__name__)

_HOOKS = "hooks"
"""Whose changes of variables those of a turn's hooks are."""


@dataclass(frozen=True, slots=True)
class Part:
    """One agent's part in a play.

    `before` is the conversation before the open turn, as this agent remembers it.
    """

    key: ChatKey
    agent: Agent
    built: Ag2Agent
    before: Callable[[ChatState], Sequence[Passage]]
    prompt: Callable[[ChatState], str]
    functions: Mapping[Tool, Function]
    hooks: Hooks
    call_limit: int


def part_of(workflow: Workflow, cast: Cast, turn: Turn, key: ChatKey, call_limit: int) -> Part:
    """The part of whoever has the word."""
    built = cast.agents[turn.agent]
    if turn.agent == SELECTOR:
        return Part(
            key=key,
            agent=Agent(SELECTOR, ""),
            built=built,
            before=partial(selection, workflow),
            prompt=lambda _: selector_prompt(workflow),
            functions={},
            hooks=NO_HOOKS,
            call_limit=call_limit,
        )
    agent = workflow.agents[turn.agent]
    return Part(
        key=key,
        agent=agent,
        built=built,
        before=lambda state: conversation(state, turn.agent, workflow.initial_message),
        prompt=partial(prompt, agent),
        functions=cast.functions,
        hooks=cast.hooks.get(turn.agent, NO_HOOKS),
        call_limit=call_limit,
    )


async def take_turn(part: Part, journal: Journal) -> Outcome:
    """Take the open turn from wherever its log ends to its end, or until it waits.

    Raises what the journal raises, and CancelledError where the turn was cancelled from outside.
    """
    began = journal.state.turns
    while True:
        state = journal.state
        turn = state.open
        if turn is None or turn.number != began:
            raise TurnOverError(f"turn {began} of {part.key.app}/{part.key.chat}")
        step = next_step(turn, part.agent, part.key.chat)
        outcome = await _take(step, part, journal, turn)
        if outcome is not None:
            return outcome
        if journal.state.seq == state.seq:
            raise StandstillError(f"{part.key.app}/{part.key.chat} turn {turn.number}: {step}")


async def _take(step: Step, part: Part, journal: Journal, turn: Turn) -> Outcome | None:
    match step:
        case Done(outcome):
            return outcome
        case Capture(output):
            await journal.record(output)
            return None
        case Process():
            task = _task(part, journal.state, turn)
            if await compact(part.built, task, part.key, journal):
                return None
            return await _process(part, journal, turn)
        case Talk(again):
            task = _task(part, journal.state, turn, again)
            if await compact(part.built, task, part.key, journal):
                return None
            return await talk(
                part.built,
                task,
                _scope(part, journal, turn),
                call_limit=part.call_limit,
            )
        case Invoke():
            return await invoke(step, part.functions, _scope(part, journal, turn))


def _task(part: Part, state: ChatState, turn: Turn, again: str | None = None) -> Task:
    done = turn.processed
    if done is None:
        return Task(part.before(state), part.prompt(state), again)
    return Task(as_passages(done.messages, turn.agent), done.prompt, again)


def _scope(part: Part, journal: Journal, turn: Turn) -> Scope:
    # A copy to the bottom: what a tool changes in place must not reach the state, or another chat.
    variables = {} if turn.agent == SELECTOR else codec.jsonable(journal.state.variables)
    return Scope(part.key, turn, variables, journal, _manner(part))


def _manner(part: Part) -> Manner:
    agent, hooks = part.agent, part.hooks
    return Manner(
        hides=agent.hides,
        may_become=agent.may_hide,
        edited=partial(hooks.before_send, agent.name) if hooks.edit else None,
    )


async def _process(part: Part, journal: Journal, turn: Turn) -> Broke | None:
    """Show the conversation to the hooks, and keep what they make of it."""
    state, scope = journal.state, _scope(part, journal, turn)
    try:
        processed = await part.hooks.processed(
            part.agent.name,
            part.before(state),
            part.prompt(state),
            scope.variables,
            turn.number,
        )
    except Exception as trouble:
        log.warning("a hook failed", exc_info=trouble, extra={"agent": part.agent.name})
        return Broke("HOOK_FAILED", codec.told_of(trouble))
    scope.settle(_HOOKS)
    await scope.record(processed, *scope.variable_changes(_HOOKS))
    return None


# -- tools that the runtime calls ---------------------------------------------------------------


async def invoke(step: Invoke, functions: Mapping[Tool, Function], scope: Scope) -> Waits | None:
    """Call a tool and keep its result; what it raises is a result, too."""
    call = step.call
    if scope.turn.agent != RUNTIME and call not in scope.turn.invoked:
        await scope.record(call)
    try:
        async with scope.invoking(call.tool_call_id):
            result = await _result(step, functions[step.tool], scope)
    except asyncio.CancelledError as cancelled:  # a suspension, too, on its way between threads
        return left(scope, cancelled)
    scope.check()
    await scope.return_invoked(result)
    return None


async def _result(step: Invoke, function: Function, scope: Scope) -> ToolReturned:
    call = step.call
    named: dict[str, Any] = {"parent_id": call.tool_call_id, "name": call.name}
    event: ToolResultEvent
    try:
        given = await function.call(scope, call.tool_call_id, function.accepts(call.arguments))
        event = ToolResultEvent(**named, result=ToolResult.ensure_result(given))
    except Exception as trouble:
        scope.check()
        log.warning("a tool failed", exc_info=trouble, extra={"tool": call.name})
        event = ToolErrorEvent(**named, error=trouble, result=ToolResult(str(trouble)))
    kept = codec.returned_of(event, turn=call.turn, call=max(scope.call, 0), agent=call.agent)
    return kept.model_copy(update={"occasion": call.occasion})


class _Around:
    """The journal of tools that are called where no turn is open."""

    def __init__(self, chat: ChatLog, call: str) -> None:
        self._chat = chat
        self._call = call

    @property
    def state(self) -> ChatState:
        return self._chat.state

    @property
    def runner(self) -> RunnerId:
        return self._chat.runner

    async def record(self, *events: Event) -> None:
        def unless_done(state: ChatState) -> Sequence[Event]:
            return () if self._call in state.around else events

        await self._chat.append(unless_done)

    def check_ownership(self) -> None:
        self._chat.check_ownership()

    async def show(self, delta: Delta) -> None:
        """Nobody speaks here, and nobody watches."""

    async def look_up(
        self, reference: DataReference, variables: Mapping[str, Any], occasion: str
    ) -> Any:
        return await self._chat.look_up(reference, variables, occasion)

    async def expire(self, question: QuestionId, seconds: float) -> datetime:
        raise NobodyToAskError(question, seconds)

    def changed(self) -> Coroutine[Any, Any, object]:
        return self._chat.changed()


async def call_around(
    occasion: AroundChat, workflow: Workflow, functions: Mapping[Tool, Function], chat: ChatLog
) -> Outcome:
    """Call the next of the tools before or after a chat."""
    step = around_chat(occasion, chat.state, workflow)[0]
    journal = _Around(chat, step.call.tool_call_id)
    variables = codec.jsonable(chat.state.variables)
    await invoke(step, functions, Scope(chat.key, Turn(0, RUNTIME, "initial"), variables, journal))
    return Noted()
