/** A workflow's agents, tools and handoffs as a picture, lit where a chat is at the moment. */

import {
  Background, BaseEdge, Controls, EdgeLabelRenderer, Handle, MarkerType, Position, ReactFlow, type Edge, type EdgeProps, type Node, type NodeProps,
} from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import { useEffect, useMemo, useState } from "react";
import { useTexts } from "../../texts";
import type { Graph, WorkflowConfig } from "../../wire/http";
import type { Moment } from "./follow";
import { drawn, type Drawing, type Route } from "./layout";

type Speaker = { name: string; kind: string; tools: string[]; isLit: boolean; running: string[]; isTopDown: boolean };
type SpeakerNode = Node<Speaker, "speaker">;
type HandoffEdge = Edge<{ route: Route }, "handoff">;

const NARROW = "(max-width: 759px)";

export function Picture({ name, graph, card, moment }: { name: string; graph: Graph; card: WorkflowConfig | undefined; moment: Moment }) {
  const t = useTexts();
  const isTopDown = useMatches(NARROW);
  const drawing = useMemo(() => drawn(graph, (id) => toolsOf(card, id), isTopDown ? "TB" : "LR"), [graph, card, isTopDown]);
  const nodes = useMemo(() => nodesOf(graph, drawing, card, moment, isTopDown), [graph, drawing, card, moment, isTopDown]);
  const edges = useMemo(() => edgesOf(graph, drawing, moment), [graph, drawing, moment]);
  return (
    <>
      <div className="picture" role="group" aria-label={t.workflowPages.pictureOf(name)} data-testid="picture">
        <ReactFlow
          key={String(isTopDown)} nodes={nodes} edges={edges} nodeTypes={NODES} edgeTypes={EDGES} fitView fitViewOptions={{ padding: 0.12, maxZoom: 1.1 }} minZoom={0.2}
          nodesDraggable={false} nodesConnectable={false} nodesFocusable={false} edgesFocusable={false} elementsSelectable={false}
          zoomOnScroll={false} preventScrolling={false} panOnDrag proOptions={{ hideAttribution: true }}
        >
          <Background gap={22} size={1} />
          <Controls showInteractive={false} />
        </ReactFlow>
      </div>
      <p className="note" role="status" aria-live="polite" data-testid="moment">{words(moment, t)}</p>
      <p className="note">{t.workflowPages.graphHelp}</p>
      <details className="handoffs">
        <summary>{t.workflowPages.asList}</summary>
        <ul>
          {(graph.edges ?? []).map((edge, number) => <li key={number}>{t.workflowPages.handoff(named(graph, edge.source), named(graph, edge.target), edge.label ?? "")}</li>)}
        </ul>
      </details>
    </>
  );
}

function words(moment: Moment, t: ReturnType<typeof useTexts>): string {
  if (!moment.speaker) return "";
  const speaking = moment.speaker === "user" || moment.speaker === "terminate" ? t.status[moment.status] : t.workflowPages.speaking(moment.speaker);
  return [speaking, ...moment.tools.map(t.workflowPages.calling)].join(", ");
}

function named(graph: Graph, id: string): string {
  return graph.nodes?.find((node) => node.id === id)?.name ?? id;
}

function toolsOf(card: WorkflowConfig | undefined, agent: string): string[] {
  return Object.values(card?.tools ?? {}).filter((tool) => tool.agents.includes(agent)).map((tool) => tool.name);
}

function nodesOf(graph: Graph, drawing: Drawing, card: WorkflowConfig | undefined, moment: Moment, isTopDown: boolean): SpeakerNode[] {
  return (graph.nodes ?? []).flatMap(({ id, name, kind }, number) => {
    const box = drawing.boxes[number];
    if (!box) return [];
    const tools = toolsOf(card, id);
    const running = moment.tools.filter((tool) => tools.includes(tool));
    return [{
      id,
      type: "speaker" as const,
      position: { x: box.x, y: box.y },
      width: box.width,
      height: box.height,
      data: { name, kind, tools, isLit: moment.speaker === id, running, isTopDown },
    }];
  });
}

function edgesOf(graph: Graph, drawing: Drawing, moment: Moment): HandoffEdge[] {
  return (graph.edges ?? []).flatMap((edge, number) => {
    const route = drawing.routes[number];
    if (!route) return [];
    const isLit = moment.before !== "" && edge.source === moment.before && edge.target === moment.speaker;
    return [{
      id: String(number),
      type: "handoff" as const,
      source: edge.source,
      target: edge.target,
      data: { route },
      className: isLit ? "lit" : edge.is_choice ? "choice" : "",
      markerEnd: { type: MarkerType.ArrowClosed, width: 16, height: 16 },
    }];
  });
}

function HandoffArrow({ data, markerEnd }: EdgeProps<HandoffEdge>) {
  if (!data) return null;
  const { path, label, lines } = data.route;
  return (
    <>
      <BaseEdge path={path} {...(markerEnd ? { markerEnd } : {})} />
      {lines.length > 0 && (
        <EdgeLabelRenderer>
          <span className="handoff-label" style={{ transform: `translate(-50%, -50%) translate(${label.x}px, ${label.y}px)` }}>
            {lines.map((line, number) => <span key={number}>{line}</span>)}
          </span>
        </EdgeLabelRenderer>
      )}
    </>
  );
}

function SpeakerBox({ data }: NodeProps<SpeakerNode>) {
  return (
    <div className="speaker" data-kind={data.kind} data-lit={data.isLit || undefined} data-testid="speaker" data-name={data.name}>
      <Handle type="target" position={data.isTopDown ? Position.Top : Position.Left} isConnectable={false} />
      <span>{data.name}</span>
      {data.tools.length > 0 && (
        <span className="speaker-tools">
          {data.tools.map((tool) => <span key={tool} data-running={data.running.includes(tool) || undefined}>{tool}</span>)}
        </span>
      )}
      <Handle type="source" position={data.isTopDown ? Position.Bottom : Position.Right} isConnectable={false} />
    </div>
  );
}

const NODES = { speaker: SpeakerBox };
const EDGES = { handoff: HandoffArrow };

function useMatches(query: string): boolean {
  const [matches, setMatches] = useState(() => window.matchMedia(query).matches);
  useEffect(() => {
    const list = window.matchMedia(query);
    const changed = () => setMatches(list.matches);
    list.addEventListener("change", changed);
    return () => list.removeEventListener("change", changed);
  }, [query]);
  return matches;
}
