/** What charts show: the newest numbers of the server, kept while the page is open. Pure. */

import type { Streams, TenantUse } from "../../net/operators";

export type Sample = { time: number; chats: number; tokens: number; cost: number; lag: number };

export const KEPT = 240;

export function sampleOf(time: number, apps: TenantUse[], streams: Streams): Sample {
  const sum = (number: (app: TenantUse) => number) => apps.reduce((all, app) => all + number(app), 0);
  return {
    time,
    chats: sum((app) => app.chats.running ?? 0),
    tokens: sum((app) => app.prompt_tokens + app.completion_tokens),
    cost: sum((app) => app.cost),
    lag: streams.consumers.reduce((all, one) => all + one.pending, streams.unfolded_messages),
  };
}

export function withSample(history: Sample[], sample: Sample): Sample[] {
  return [...history, sample].slice(-KEPT);
}

export type ChartName = "chats" | "tokens" | "cost" | "lag";

/** The values of a chart, one for each sample; tokens per second since the sample before. */
export function valuesOf(history: Sample[], name: ChartName): number[] {
  return history.map((sample, place) => {
    const before = history[place - 1];
    if (name !== "tokens") return sample[name];
    return before ? Math.max(0, (sample.tokens - before.tokens) / Math.max((sample.time - before.time) / 1000, 0.001)) : 0;
  });
}
