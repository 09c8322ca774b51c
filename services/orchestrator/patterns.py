"""Who speaks next: the rules that every workflow may have, and the pattern where they say nothing."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from random import Random

from contracts.events.turn import SELECTOR, Choice
from contracts.ids import AgentName
from services.orchestrator.state import ChatState, Line, Said, Turn
from services.orchestrator.workflows.expressions import evaluate
from services.orchestrator.workflows.spec import TERMINATE, USER, Rule, Workflow

SELECTION_TRIES = 3
"""How often a selector may answer nonsense before the next agent in order has the word."""


@dataclass(frozen=True, slots=True)
class Speaker:
    agent: AgentName
    by: Choice


@dataclass(frozen=True, slots=True)
class Finish:
    """The conversation is over; `reason` is what `chat.completed` says."""

    reason: str


@dataclass(frozen=True, slots=True)
class Circle:
    """Agents whose rules give the word on and on before anyone replies."""

    agents: tuple[AgentName, ...]


Next = Speaker | Finish | Circle


def next_speaker(workflow: Workflow, state: ChatState) -> Next:
    """What follows in a chat where nobody is speaking.

    First the agent's own handoff, then its after-work rules, then the pattern. Whoever it is may
    give the word on before replying; every pattern stops at `max_turns` turns of agents.
    """
    return _admitted(workflow, state, _following(workflow, state))


def after_selection(workflow: Workflow, state: ChatState, answer: str) -> Next:
    """What follows once the selector has answered; its turn is the newest of the chat.

    An answer that names nobody is asked for again; after SELECTION_TRIES the order decides.
    """
    return _admitted(workflow, state, _chosen(workflow, state, answer))


def candidates(workflow: Workflow) -> tuple[AgentName, ...]:
    """Whom a selector may choose: every agent, and the person where they take part."""
    return (*workflow.agents, *((USER,) if workflow.human_in_the_loop else ()))


# -- rules ------------------------------------------------------------------------------------


def _following(workflow: Workflow, state: ChatState) -> Next:
    if state.spoke is None:
        waits = workflow.startup_mode == "UserDriven" and not state.lines
        return Speaker(USER if waits else workflow.initial_agent, "initial")
    if state.spoke == USER:
        return _after_user(workflow, state)
    turn = _last_turn(state)
    assert turn is not None  # noqa: S101  an agent has spoken
    follows = _after(workflow, state, turn)
    if turn.said and isinstance(follows, Speaker) and follows.agent == USER:
        return _after_user(workflow, state)  # the person has spoken already, while the agent did
    return follows


def _after(workflow: Workflow, state: ChatState, turn: Turn) -> Next:
    if turn.handoff is not None:
        return _to(turn.handoff, "handoff")
    agent = workflow.agents.get(turn.agent)
    if agent is None:
        return _by_pattern(workflow, state)
    target = _held(agent.after_work_if, state) or agent.after_work
    return _by_pattern(workflow, state) if target is None else _to(target, "after_work")


def _after_user(workflow: Workflow, state: ChatState) -> Next:
    """After the person spoke: their own rules, else whoever they spoke with, or the pattern."""
    target = _held(workflow.after_user_if, state) or workflow.after_user
    if target is not None:
        return _to(target, "user_message")
    turn = _last_turn(state)
    if turn is None:
        return Speaker(workflow.initial_agent, "user_message")
    if workflow.pattern == "DefaultPattern":
        return Speaker(turn.agent, "user_message")
    return _by_pattern(workflow, state)


def _held(rules: Iterable[Rule], state: ChatState) -> AgentName | None:
    """The target of the first rule that holds."""
    return next((r.target for r in rules if evaluate(r.condition, state.variables)), None)


def _to(target: AgentName, by: Choice) -> Next:
    return Finish(TERMINATE) if target == TERMINATE else Speaker(target, by)


# -- patterns ---------------------------------------------------------------------------------


def _by_pattern(workflow: Workflow, state: ChatState) -> Next:
    match workflow.pattern:
        case "DefaultPattern":
            return Finish(TERMINATE)
        case "RoundRobinPattern":
            return Speaker(_next_in_order(workflow, state), "round_robin")
        case "RandomPattern":
            return Speaker(_drawn(workflow, state), "random")
        case "AutoPattern":
            only, *others = candidates(workflow)
            return Speaker(SELECTOR if others else only, "auto")


def _next_in_order(workflow: Workflow, state: ChatState) -> AgentName:
    order = list(workflow.agents)
    turn = _last_turn(state)
    if turn is None or turn.agent not in workflow.agents:
        return order[0]
    return order[(order.index(turn.agent) + 1) % len(order)]


def _drawn(workflow: Workflow, state: ChatState) -> AgentName:
    """By lot, but never the same twice running; the same in every replay of this chat."""
    turn = _last_turn(state)
    others = [name for name in workflow.agents if turn is None or name != turn.agent]
    lot = Random(f"{state.seed}:{state.turns + 1}")  # noqa: S311  fair is enough, and repeatable
    return lot.choice(others or list(workflow.agents))


def _chosen(workflow: Workflow, state: ChatState, answer: str) -> Next:
    name = _named(candidates(workflow), answer)
    if name == USER and isinstance(state.lines[-1], Said):
        return _after_user(workflow, state)  # the person has spoken already, during the choice
    if name is not None:
        return Speaker(name, "auto")
    if _tries(state) < SELECTION_TRIES:
        return Speaker(SELECTOR, "auto")
    return Speaker(_next_in_order(workflow, state), "fallback")


def _tries(state: ChatState) -> int:
    """How often running the selector was asked."""
    return len(list(takewhile(_is_selection, reversed(state.lines))))


def _named(names: Iterable[AgentName], answer: str) -> AgentName | None:
    """Whom an answer names: by itself, as `{"next": name}`, or as the only one that it mentions."""
    known = tuple(names)
    said = _plain(answer)
    for as_read in (str, str.casefold):
        for spelling in (said, said.strip("\"'`*.[]")):
            meant = [name for name in known if as_read(name) == as_read(spelling)]
            if len(meant) == 1:
                return meant[0]
    mentioned = [n for n in known if re.search(rf"(?<!\w){re.escape(n)}(?!\w)", said)]
    return mentioned[0] if len(mentioned) == 1 else None


def _plain(answer: str) -> str:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return answer.strip()
    said = told.get("next") if isinstance(told, dict) else answer
    return said.strip() if isinstance(said, str) else ""


# -- limits -----------------------------------------------------------------------------------


def _admitted(workflow: Workflow, state: ChatState, follows: Next) -> Next:
    """Whom the limits let speak: who was found, whoever has the word from them, or nobody."""
    if isinstance(follows, Speaker):
        follows = _redirected(workflow, state, follows)
    if isinstance(follows, Speaker):
        follows = _patient(workflow, state, follows)
    exhausted = state.agent_turns >= workflow.max_turns
    if exhausted and isinstance(follows, Speaker) and follows.agent != USER:
        return Finish("max_turns")
    return follows


def _redirected(workflow: Workflow, state: ChatState, speaker: Speaker) -> Next:
    """Whoever is to reply once all rules before replies were asked."""
    passed = [speaker.agent]
    while (agent := workflow.agents.get(passed[-1])) is not None:
        target = _held(agent.before_reply, state)
        if target is None or target == passed[-1]:
            break
        if target == TERMINATE:
            return Finish(TERMINATE)
        if target in passed:  # no variable changes meanwhile: it would go round for ever
            return Circle((*passed, target))
        passed.append(target)
    return speaker if len(passed) == 1 else Speaker(passed[-1], "before_reply")


def _patient(workflow: Workflow, state: ChatState, speaker: Speaker) -> Next:
    """The person instead of an agent that has spoken too often running; the end without one."""
    agent = workflow.agents.get(speaker.agent)
    limit = None if agent is None else agent.max_consecutive_auto_reply
    if limit is None or _running(state, speaker.agent) < limit:
        return speaker
    if workflow.human_in_the_loop:
        return Speaker(USER, "reply_limit")
    return Finish("max_consecutive_auto_reply")


def _running(state: ChatState, agent: AgentName) -> int:
    """How many turns an agent has taken since anyone else spoke, the selector aside."""
    heard = (line for line in reversed(state.lines) if not _is_selection(line))
    return len(
        list(takewhile(lambda line: not isinstance(line, Said) and line.agent == agent, heard))
    )


def _last_turn(state: ChatState) -> Turn | None:
    """The newest turn of an agent."""
    turns = (line for line in reversed(state.lines) if isinstance(line, Turn))
    return next((turn for turn in turns if turn.agent != SELECTOR), None)


def _is_selection(line: Line) -> bool:
    return isinstance(line, Turn) and line.agent == SELECTOR
