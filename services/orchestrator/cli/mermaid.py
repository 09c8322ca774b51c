"""Draw the graph of a workflow as a Mermaid flowchart."""

from contracts.workflow_graph import Edge, Graph, Node
from services.orchestrator.domain.workflow_graph import short


def mermaid(graph: Graph) -> str:
    """The text of the flowchart: a node for each speaker, an arrow for each handoff.

    Solid arrows follow without a choice, dotted ones are chosen by a condition or by the model.
    """
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    nodes = [f"  {_node(ids[node.id], node)}" for node in graph.nodes]
    edges = [f"  {ids[edge.source]} {_arrow(edge)} {ids[edge.target]}" for edge in graph.edges]
    return "\n".join(["flowchart TD", *nodes, *edges]) + "\n"


def _node(id_: str, node: Node) -> str:
    match node.kind:
        case "agent":
            return f'{id_}["{_quoted(node.name)}"]'
        case "user":
            return f"{id_}([{node.name}])"
        case "pattern":
            return f"{id_}{{{{{node.name}}}}}"
        case "end":
            return f"{id_}(({node.name}))"


def _arrow(edge: Edge) -> str:
    if not edge.is_choice:
        return "-->"
    return f'-. "{_quoted(short(edge.label))}" .->' if edge.label else "-.->"


def _quoted(text: str) -> str:
    """Mermaid's own entities, which it accepts in labels."""
    return "".join(
        one if one.isalnum() or one in " .,:!?()-_/…" else f"#{ord(one)};" for one in text
    )
