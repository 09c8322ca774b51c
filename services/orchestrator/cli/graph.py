"""A workflow's speakers and who follows whom, as a graph."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from contracts.ids import AgentName
from services.orchestrator.domain.speaker_selection import candidates
from services.orchestrator.workflows.spec import TERMINATE, USER, Agent, Workflow

PATTERN = AgentName("pattern:")
"""The node for the choice of a pattern; no agent has this name."""


@dataclass(frozen=True, slots=True)
class Node:
    """A speaker, the choice of a pattern, or the end; `name` is what is shown."""

    id: AgentName
    name: str
    kind: Literal["agent", "user", "pattern", "end"]


@dataclass(frozen=True, slots=True)
class Edge:
    """`target` may follow `source`; `is_choice`: by a condition, or chosen by a model or a pattern."""

    source: AgentName
    target: AgentName
    label: str = ""
    is_choice: bool = False


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in reading order: the user first, where the user begins."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(workflow: Workflow) -> Graph:
    edges = tuple(_edges(workflow))
    used = {end for edge in edges for end in (edge.source, edge.target)}
    agents = [Node(name, name, "agent") for name in workflow.agents]
    user = [Node(USER, USER, "user")] if USER in used else []
    pattern = [Node(PATTERN, workflow.pattern, "pattern")] if PATTERN in used else []
    end = [Node(TERMINATE, "end", "end")] if TERMINATE in used else []
    speakers = [*user, *agents] if _first(workflow) == USER else [*agents, *user]
    return Graph((*speakers, *pattern, *end), edges)


def _first(workflow: Workflow) -> AgentName:
    return USER if workflow.startup_mode == "UserDriven" else workflow.initial_agent


def _edges(workflow: Workflow) -> Iterator[Edge]:
    first = _first(workflow)
    if first == USER:
        yield Edge(USER, workflow.after_user or workflow.initial_agent)
    for agent in workflow.agents.values():
        yield from _edges_of(agent)
    for rule in workflow.after_user_if:
        yield Edge(USER, rule.target, rule.condition.text, is_choice=True)
    if workflow.after_user is not None and first != USER:
        yield Edge(USER, workflow.after_user)
    undecided = [name for name, agent in workflow.agents.items() if agent.after_work is None]
    if workflow.pattern != "DefaultPattern" and undecided:
        yield from (Edge(name, PATTERN) for name in undecided)
        yield from (Edge(PATTERN, name, is_choice=True) for name in candidates(workflow))


def _edges_of(agent: Agent) -> Iterator[Edge]:
    for handoff in agent.handoffs:
        yield Edge(agent.name, handoff.target, handoff.condition, is_choice=True)
    for rule in agent.before_reply:
        yield Edge(agent.name, rule.target, f"before: {rule.condition.text}", is_choice=True)
    for rule in agent.after_work_if:
        yield Edge(agent.name, rule.target, rule.condition.text, is_choice=True)
    if agent.after_work is not None:
        yield Edge(agent.name, agent.after_work)


def short(label: str, characters: int = 60) -> str:
    """The label in one line of at most so many characters."""
    text = " ".join(label.split())
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
