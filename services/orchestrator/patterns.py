"""Who speaks next: the pure rule of each orchestration pattern."""

from dataclasses import dataclass

from contracts.events.turn import Choice
from contracts.ids import AgentName
from services.orchestrator.state import ChatState, Turn
from services.orchestrator.workflows.spec import TERMINATE, USER, Workflow


@dataclass(frozen=True, slots=True)
class Speaker:
    agent: AgentName
    by: Choice


@dataclass(frozen=True, slots=True)
class Finish:
    """The conversation is over; `reason` is what `chat.completed` says."""

    reason: str


Next = Speaker | Finish


def next_speaker(workflow: Workflow, state: ChatState) -> Next:
    """What follows in a chat where nobody is speaking.

    The order of DefaultPattern: the agent's own handoff, then its after-work rule, then the end.
    Every pattern stops at `max_turns` turns of agents.
    """
    follows = _default(workflow, state)
    exhausted = state.agent_turns >= workflow.max_turns
    if exhausted and isinstance(follows, Speaker) and follows.agent != USER:
        return Finish("max_turns")
    return follows


def _default(workflow: Workflow, state: ChatState) -> Next:
    if state.spoke is None:
        waits = workflow.startup_mode == "UserDriven" and not state.lines
        return Speaker(USER if waits else workflow.initial_agent, "initial")
    turn = _last_turn(state)
    if state.spoke == USER:
        return _after_user(workflow, turn)
    assert turn is not None  # noqa: S101  an agent has spoken
    follows = _after(workflow, turn)
    if turn.said and isinstance(follows, Speaker) and follows.agent == USER:
        return _after_user(workflow, turn)  # the person has spoken already, while the agent did
    return follows


def _after(workflow: Workflow, turn: Turn) -> Next:
    if turn.handoff is not None:
        return _to(turn.handoff, "handoff")
    agent = workflow.agents.get(turn.agent)
    rule = agent.after_work if agent else None
    return _to(rule or TERMINATE, "after_work")


def _after_user(workflow: Workflow, turn: Turn | None) -> Next:
    """After the person spoke: their own rule, else whoever they spoke with."""
    with_whom = workflow.initial_agent if turn is None else turn.agent
    return _to(workflow.after_user or with_whom, "user_message")


def _to(target: AgentName, by: Choice) -> Next:
    return Finish(TERMINATE) if target == TERMINATE else Speaker(target, by)


def _last_turn(state: ChatState) -> Turn | None:
    return next((line for line in reversed(state.lines) if isinstance(line, Turn)), None)
