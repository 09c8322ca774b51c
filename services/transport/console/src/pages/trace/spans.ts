/** Entries of a timeline as they are drawn: how long, how deep, where on the bar. Pure. */

import type { ProviderWait, TimelineEntry } from "../../wire/http";

export type Filter = "all" | "calls" | "slow" | "failures";

export type Span = { entry: TimelineEntry; left: number; width: number; seconds: number; depth: number };

const WITHIN_TURNS = new Set(["model_call", "provider_wait", "tool_call", "question", "takeover", "compaction", "budget", "stop"]);

export function secondsOf(entry: TimelineEntry, now: number): number {
  const end = entry.ended_at ? Date.parse(entry.ended_at) : now;
  return Math.max(0, (end - Date.parse(entry.started_at)) / 1000);
}

/**
 * With their place on a bar from the first entry's beginning to the last one's end, as fractions. While it
 * is the user's turn, time runs faster: else what agents do would be too small to be seen.
 */
export function spansOf(entries: TimelineEntry[], now: number): Span[] {
  const scale = scaleOf(entries, now);
  return entries.map((entry) => {
    const seconds = secondsOf(entry, now);
    const left = scale(Date.parse(entry.started_at));
    const width = scale(endOf(entry, now)) - left;
    return { entry, left, width, seconds, depth: WITHIN_TURNS.has(entry.kind) ? 1 : 0 };
  });
}

const WAIT_SHARE = 0.12; // of a wait of the user, at most, in all other time

function endOf(entry: TimelineEntry, now: number): number {
  return entry.ended_at ? Date.parse(entry.ended_at) : now;
}

/** From a time to its fraction of the bar. Waits of the user do not overlap. */
function scaleOf(entries: TimelineEntry[], now: number): (time: number) => number {
  const first = Math.min(...entries.map((entry) => Date.parse(entry.started_at)));
  const last = Math.max(...entries.map((entry) => endOf(entry, now)), first + 1);
  const waits = entries.filter((entry) => entry.kind === "wait").map((entry) => ({ start: Date.parse(entry.started_at), end: endOf(entry, now) }));
  const waited = waits.reduce((all, { start, end }) => all + end - start, 0);
  const most = Math.max((last - first - waited) * WAIT_SHARE, 1);
  const cut = (time: number) => waits.reduce((all, { start, end }) => {
    const within = Math.max(0, Math.min(time, end) - start);
    return all + within - (end > start ? (within / (end - start)) * Math.min(end - start, most) : 0);
  }, 0);
  const whole = Math.max(last - first - cut(last), 1);
  return (time) => (time - first - cut(time)) / whole;
}

/** What names an entry of a timeline: several may be of one event. */
export function keyOf({ seq, kind, tool_call_id, attempt }: TimelineEntry): string {
  return `${seq} ${kind} ${tool_call_id ?? ""} ${kind === "provider_wait" ? attempt : ""}`;
}

/** The model call that goes on, if one does. */
export function openCall(entries: TimelineEntry[]): TimelineEntry | null {
  return entries.findLast((entry) => entry.kind === "model_call" && !entry.ended_at) ?? null;
}

/** With the wait of the call that goes on, of which the log has nothing yet. */
export function withWait(entries: TimelineEntry[], wait: ProviderWait | null | undefined): TimelineEntry[] {
  const call = openCall(entries);
  if (!call || !wait) return entries;
  const began = new Date(Date.parse(wait.next_attempt_at) - wait.seconds * 1000).toISOString();
  const { seq, turn, agent } = call;
  const shown: TimelineEntry = {
    kind: "provider_wait", name: wait.code, seq, started_at: began, ended_at: null, attempt: wait.attempt,
    ...(turn === undefined ? {} : { turn }), ...(agent === undefined ? {} : { agent }),
  };
  return entries.toSpliced(entries.indexOf(call) + 1, 0, shown);
}

export function filtered(spans: Span[], filter: Filter): Span[] {
  switch (filter) {
    case "all":
      return spans;
    case "calls":
      return spans.filter(({ entry }) => entry.kind === "model_call" || entry.kind === "tool_call");
    case "failures":
      return spans.filter(({ entry }) => entry.is_failure);
    case "slow":
      return spans.filter(({ entry }) => entry.kind !== "wait").toSorted((one, other) => other.seconds - one.seconds);
  }
}

/** The address of a trace, where the server says how addresses of traces are made. */
export function traceAddress(template: string | null, trace: string | null | undefined): string | null {
  return template && trace ? template.replace("{trace_id}", trace) : null;
}
