"""A flame graph of stacks as an SVG document: the outermost frames at the top, hover for a frame's share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from zlib import crc32

from benchmarks.stack_shares import Stack

WIDTH = 1600
ROW = 18
LEAST_WIDTH = 0.5
"""Narrower frames are left out, with what they call."""
CHARACTER = 7.0
"""Width of a character, for cutting names to their box."""
_STYLE = "text { font: 12px monospace; pointer-events: none; } rect { stroke: white; }"


@dataclass(slots=True)
class _Node:
    samples: int = 0
    callees: dict[str, "_Node"] = field(default_factory=dict)


def svg(title: str, stacks: Sequence[Stack]) -> str:
    """The document; widths are proportional to samples. Frames of one caller are in order of name."""
    root = _tree(stacks)
    boxes = list(_boxes("all", root, 0.0, WIDTH / max(root.samples, 1), 1))
    height = ROW * (2 + max(row for row, _ in boxes))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">'
        f"<style>{_STYLE}</style>"
        f'<text x="4" y="13">{escape(title)}: {root.samples} samples</text>'
    )
    return "\n".join([head, *(box for _, box in boxes), "</svg>\n"])


def _tree(stacks: Sequence[Stack]) -> _Node:
    root = _Node()
    for stack in stacks:
        node = root
        node.samples += stack.samples
        for frame in stack.frames:
            node = node.callees.setdefault(frame, _Node())
            node.samples += stack.samples
    return root


def _boxes(
    frame: str, node: _Node, x: float, scale: float, row: int, total: int = 0
) -> Iterator[tuple[int, str]]:
    total = total or node.samples
    width = node.samples * scale
    if width < LEAST_WIDTH:
        return
    yield row, _box(frame, node.samples, total, x, width, row)
    for name, callee in sorted(node.callees.items()):
        yield from _boxes(name, callee, x, scale, row + 1, total)
        x += callee.samples * scale


def _box(frame: str, samples: int, total: int, x: float, width: float, row: int) -> str:
    colour = f"hsl({20 + crc32(frame.partition('(')[2].encode()) % 40}, 80%, 70%)"
    share = f"{samples / max(total, 1):.1%}, {samples} samples"
    name = frame[: int((width - 6) / CHARACTER)] if width > 3 * CHARACTER else ""
    return (
        f'<g><title>{escape(frame)}: {share}</title><rect x="{x:.1f}" y="{row * ROW}" '
        f'width="{width:.1f}" height="{ROW}" fill="{colour}"/>'
        f'<text x="{x + 3:.1f}" y="{row * ROW + 13}">{escape(name)}</text></g>'
    )
