/** Where nodes and arrows of a workflow's graph are: by dagre, in layers from the left or from the top. Pure. */

import dagre from "@dagrejs/dagre";
import type { Graph } from "../../wire/http";

export type Point = { x: number; y: number };
export type Box = Point & { id: string; width: number; height: number };
export type Route = { path: string; label: Point; lines: string[] };
export type Drawing = { boxes: Box[]; routes: Route[] };

const NAME = 8.6; // pixels of a character, and more for wide ones: the page's own font is not measured here
const TOOL = 7.2;
const ROW = 24;
const LABEL = 6.4;
const LINE = 15;
const LINE_CHARS = 26;
const LINES = 3;

/** `tools` are the names of a node's tools, one below another. */
export function drawn(graph: Graph, tools: (id: string) => string[], direction: "LR" | "TB"): Drawing {
  const layout = new dagre.graphlib.Graph({ multigraph: true });
  layout.setGraph({ rankdir: direction, nodesep: 36, edgesep: 18, ranksep: 44, marginx: 8, marginy: 8 });
  layout.setDefaultEdgeLabel(() => ({}));
  for (const node of graph.nodes ?? []) layout.setNode(node.id, sizeOf(node.name, tools(node.id)));
  const labels = (graph.edges ?? []).map((edge) => linesOf(edge.label ?? ""));
  for (const [number, edge] of (graph.edges ?? []).entries()) {
    const lines = labels[number] ?? [];
    const width = Math.max(0, ...lines.map((line) => line.length * LABEL));
    layout.setEdge(edge.source, edge.target, { width, height: lines.length * LINE, labelpos: "c" }, String(number));
  }
  dagre.layout(layout);
  const boxes = (graph.nodes ?? []).map(({ id }) => {
    const { x, y, width, height } = layout.node(id);
    return { id, x: x - width / 2, y: y - height / 2, width, height };
  });
  const routes = (graph.edges ?? []).map((edge, number) => {
    const found = layout.edge({ v: edge.source, w: edge.target, name: String(number) });
    const points: Point[] = found.points;
    const middle = points[Math.floor(points.length / 2)] ?? { x: 0, y: 0 };
    return { path: pathOf(points), label: { x: found.x ?? middle.x, y: found.y ?? middle.y }, lines: labels[number] ?? [] };
  });
  return { boxes, routes };
}

export function sizeOf(name: string, tools: string[]): { width: number; height: number } {
  const width = Math.max(name.length * NAME, ...tools.map((tool) => tool.length * TOOL + 14)) + 34;
  return { width: Math.max(width, 84), height: 42 + tools.length * ROW };
}

/** A line through the points, with round corners. */
export function pathOf(points: Point[]): string {
  const [first, ...others] = points;
  if (!first) return "";
  let path = `M${first.x} ${first.y}`;
  for (const [number, point] of others.entries()) {
    const next = others[number + 1];
    path += next ? `Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}` : `L${point.x} ${point.y}`;
  }
  return path;
}

/** A label in at most three short lines. */
export function linesOf(label: string): string[] {
  const lines: string[] = [];
  for (const word of label.split(/\s+/).filter(Boolean)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < LINE_CHARS) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  if (lines.length <= LINES) return lines;
  return [...lines.slice(0, LINES - 1), `${lines[LINES - 1]} …`];
}
