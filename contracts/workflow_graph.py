"""A workflow's speakers and who follows whom, as a graph."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.ids import AgentName


class Node(BaseModel):
    """A speaker, the choice of a pattern, or the end; `name` is what is shown."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: AgentName
    name: str
    kind: Literal["agent", "user", "pattern", "end"]


class Edge(BaseModel):
    """`target` may follow `source`; `is_choice`: by a condition, or chosen by a model or a pattern."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    source: AgentName
    target: AgentName
    label: str = ""
    is_choice: bool = False


class Graph(BaseModel):
    """Nodes in reading order: the user first, where the user begins."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
