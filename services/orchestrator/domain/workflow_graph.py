"""The graph of a workflow: its speakers, and who follows whom."""

from collections.abc import Iterator

from contracts.ids import AgentName
from contracts.workflow_graph import Edge, Graph, Node
from services.orchestrator.domain.speaker_selection import candidates
from services.orchestrator.workflows.spec import TERMINATE, USER, Agent, Workflow

PATTERN = AgentName("pattern:")
"""The node for the choice of a pattern; no agent has this name."""


def graph_of(workflow: Workflow) -> Graph:
    edges = tuple(_edges(workflow))
    used = {end for edge in edges for end in (edge.source, edge.target)}
    agents = [Node(id=name, name=name, kind="agent") for name in workflow.agents]
    user = [Node(id=USER, name=USER, kind="user")] if USER in used else []
    pattern = [Node(id=PATTERN, name=workflow.pattern, kind="pattern")] if PATTERN in used else []
    end = [Node(id=TERMINATE, name="end", kind="end")] if TERMINATE in used else []
    speakers = [*user, *agents] if _first(workflow) == USER else [*agents, *user]
    return Graph(nodes=(*speakers, *pattern, *end), edges=edges)


def _first(workflow: Workflow) -> AgentName:
    return USER if workflow.startup_mode == "UserDriven" else workflow.initial_agent


def _edges(workflow: Workflow) -> Iterator[Edge]:
    first = _first(workflow)
    if first == USER:
        yield _edge(USER, workflow.after_user or workflow.initial_agent)
    for agent in workflow.agents.values():
        yield from _edges_of(agent)
    for rule in workflow.after_user_if:
        yield _choice(USER, rule.target, rule.condition.text)
    if workflow.after_user is not None and first != USER:
        yield _edge(USER, workflow.after_user)
    undecided = [name for name, agent in workflow.agents.items() if agent.after_work is None]
    if workflow.pattern != "DefaultPattern" and undecided:
        yield from (_edge(name, PATTERN) for name in undecided)
        yield from (_choice(PATTERN, name) for name in candidates(workflow))


def _edges_of(agent: Agent) -> Iterator[Edge]:
    for handoff in agent.handoffs:
        yield _choice(agent.name, handoff.target, handoff.condition)
    for rule in agent.before_reply:
        yield _choice(agent.name, rule.target, f"before: {rule.condition.text}")
    for rule in agent.after_work_if:
        yield _choice(agent.name, rule.target, rule.condition.text)
    if agent.after_work is not None:
        yield _edge(agent.name, agent.after_work)


def _edge(source: AgentName, target: AgentName) -> Edge:
    return Edge(source=source, target=target)


def _choice(source: AgentName, target: AgentName, label: str = "") -> Edge:
    return Edge(source=source, target=target, label=label, is_choice=True)


def short(label: str, characters: int = 60) -> str:
    """The label in one line of at most so many characters."""
    text = " ".join(label.split())
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
