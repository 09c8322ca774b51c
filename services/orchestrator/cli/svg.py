"""Draw the graph of a workflow as an SVG: speakers in a column, arrows beside it, no label over another.

Every arrow leaves and enters a node at a height of its own, and runs down or up in a lane beside the
column. So labels, which stand where an arrow leaves, need no layout by a library.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from contracts.ids import AgentName
from contracts.workflow_graph import Edge, Graph, Node
from services.orchestrator.domain.workflow_graph import short

_ROW, _GAP, _MARGIN, _LANE, _CORNER = 22, 18, 20, 14, 6
_CHAR = 7.2
"""The width of a character of the font, and more for wide ones, in pixels as all of these."""

_STYLE = """\
text { font: 13px ui-sans-serif, system-ui, sans-serif; fill: #1f2937 }
.label { font-size: 11px; fill: #4b5563 }
rect { fill: #eef2ff; stroke: #6366f1 }
.user rect { fill: #ecfdf5; stroke: #10b981 }
.pattern rect { fill: #fffbeb; stroke: #f59e0b; stroke-dasharray: 5 3 }
.end rect { fill: #f3f4f6; stroke: #6b7280 }
path { fill: none; stroke: #6b7280; stroke-width: 1.3; marker-end: url(#arrow) }
.choice { stroke-dasharray: 4 3 }
#arrow path { fill: #6b7280; stroke: none; marker-end: none }"""

_MARKER = (
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
    'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
)


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a node is: its top and height, and the heights at which its edges leave and enter."""

    top: float
    height: float
    leaving: tuple[float, ...]
    entering: tuple[float, ...]


def svg(graph: Graph) -> str:
    """An SVG document."""
    boxes = _boxes(graph)
    width = max((_width(node.name) for node in graph.nodes), default=0) + 2 * _MARGIN
    right = _MARGIN + width
    labels = max((_width(short(edge.label)) for edge in graph.edges), default=0)
    routes = _routes(graph, boxes)
    lanes = _lanes([(y1, y2) for _, y1, y2 in routes])
    first_lane = right + labels + _LANE
    total = first_lane + (max(lanes, default=0) + 1) * _LANE + _MARGIN
    bottom = max((box.top + box.height for box in boxes.values()), default=0) + _MARGIN
    parts = [_node(node, boxes[node.id], width) for node in graph.nodes]
    for (edge, y1, y2), lane in zip(routes, lanes, strict=True):
        parts += _arrow(edge, right, first_lane + lane * _LANE, y1, y2)
    size = f'width="{total:g}" height="{bottom:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {total:g} {bottom:g}">'
    white = f'<rect {size} style="fill: white; stroke: none"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", _MARKER, white, *parts, "</svg>\n"])


def _width(text: str) -> float:
    """An estimate; characters beyond Latin may be twice as wide."""
    return sum(_CHAR if ord(one) < 0x2E80 else 2 * _CHAR for one in text)


def _boxes(graph: Graph) -> dict[AgentName, _Box]:
    boxes: dict[AgentName, _Box] = {}
    top = float(_MARGIN)
    for node in graph.nodes:
        leaving = sum(edge.source == node.id for edge in graph.edges)
        entering = sum(edge.target == node.id for edge in graph.edges)
        rows = [top + _ROW * (number + 0.5) for number in range(max(leaving + entering, 1))]
        height = _ROW * len(rows) + 4
        boxes[node.id] = _Box(top, height, tuple(rows[entering:]), tuple(rows[:entering]))
        top += height + _GAP
    return boxes


def _routes(graph: Graph, boxes: dict[AgentName, _Box]) -> list[tuple[Edge, float, float]]:
    """Each edge with the heights at which it leaves and enters."""
    leaving = {name: iter(box.leaving) for name, box in boxes.items()}
    entering = {name: iter(box.entering) for name, box in boxes.items()}
    return [(edge, next(leaving[edge.source]), next(entering[edge.target])) for edge in graph.edges]


def _lanes(spans: list[tuple[float, float]]) -> list[int]:
    """The lane of each span: short ones first, each in the innermost where it meets no other."""
    lanes = [0] * len(spans)
    taken: list[list[tuple[float, float]]] = []
    for place in sorted(range(len(spans)), key=lambda one: abs(spans[one][0] - spans[one][1])):
        low, high = sorted(spans[place])
        lane = 0
        while lane < len(taken) and any(a <= high and low <= b for a, b in taken[lane]):
            lane += 1
        if lane == len(taken):
            taken.append([])
        taken[lane].append((low, high))
        lanes[place] = lane
    return lanes


def _node(node: Node, box: _Box, width: float) -> str:
    middle = box.top + box.height / 2
    radius = 4 if node.kind in ("agent", "pattern") else min(box.height / 2, 16)
    return (
        f'<g class="{node.kind}"><rect x="{_MARGIN}" y="{box.top:g}" width="{width:g}" '
        f'height="{box.height:g}" rx="{radius:g}"/><text x="{_MARGIN + width / 2:g}" '
        f'y="{middle + 4.5:g}" text-anchor="middle">{escape(node.name)}</text></g>'
    )


def _arrow(edge: Edge, right: float, lane: float, y1: float, y2: float) -> Iterator[str]:
    down = _CORNER if y2 > y1 else -_CORNER
    path = (
        f"M{right:g} {y1:g}H{lane - _CORNER:g}Q{lane:g} {y1:g} {lane:g} {y1 + down:g}"
        f"V{y2 - down:g}Q{lane:g} {y2:g} {lane - _CORNER:g} {y2:g}H{right:g}"
    )
    kind = ' class="choice"' if edge.is_choice else ""
    yield f'<path{kind} d="{path}"/>'
    if edge.label:
        yield (
            f'<text class="label" x="{right + 6:g}" y="{y1 - 4:g}">{escape(short(edge.label))}'
            f"<title>{escape(edge.label)}</title></text>"
        )
