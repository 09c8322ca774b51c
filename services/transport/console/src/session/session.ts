/** Who looks at which app: kept in this browser, or as the token says; and the workflows of the server. */

import { keptStore, Store, useStore } from "../app/store";
import * as api from "../net/api";
import { appOf, isOperator, isOperatorOfAll } from "../net/signin";
import { texts } from "../texts";
import type { CallerIdentity, WorkflowConfig } from "../wire/http";

const WORKFLOWS_EVERY = 30_000;
const SOON = 3_000;

const NOBODY: CallerIdentity = { signed_in: false, user_id: null, app_ids: null, scopes: null, roles: null, expires_at: null };

export const app = keptStore<string>("app", "local-dev");
export const user = keptStore<string>("user", "56132");
export const me = new Store<CallerIdentity>(NOBODY);

export type Workflows = { cards: Record<string, WorkflowConfig>; problems: Record<string, string[]>; fault: string; loaded: boolean };
export const workflows = new Store<Workflows>({ cards: {}, problems: {}, fault: "", loaded: false });

/** Whether operators' pages and whole events are for this user. */
export function useIsOperator(): boolean {
  return isOperator(useStore(me));
}

export function useIsOperatorOfAll(): boolean {
  return isOperatorOfAll(useStore(me));
}

/** Without sign-in a request has every role. */
export function whoAmI(): { user: string; roles: string[] | null } {
  const known = me.get();
  return { user: user.get(), roles: known.signed_in ? (known.roles ?? []) : null };
}

/** Whom the token speaks for; what is wrong with it, the lists will say. */
export async function identify(): Promise<void> {
  const known = await api.me().catch(() => NOBODY);
  if (known.signed_in) {
    user.set(known.user_id ?? user.get());
    app.set(appOf(known, app.get()));
  }
  me.set(known);
}

export async function refreshWorkflows(): Promise<boolean> {
  try {
    const cards = await api.workflows();
    const problems = isOperator(me.get()) ? await api.diagnostics() : {};
    workflows.set({ cards, problems, fault: "", loaded: true });
    return Object.keys(cards).length > 0;
  } catch (error) {
    workflows.update((known) => ({ ...known, fault: sentenceOf(error) }));
    return false;
  }
}

/** What went wrong, in words for the user. */
export function sentenceOf(error: unknown): string {
  const { failures } = texts();
  if (!(error instanceof api.ApiError)) return error instanceof Error ? error.message : String(error);
  if (error.failure !== "refused") return failures[error.failure];
  if (error.status === 401) return `${error.message}. ${failures.signIn}`;
  return error.message || failures.status(error.status);
}

/** An id for a request, so that it may be sent again: `crypto.randomUUID` exists on secure origins only. */
export function newName(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Runs one after another, and not while nobody looks; returns what ends it. */
export function repeat(act: () => Promise<number>): () => void {
  let timer: ReturnType<typeof setTimeout>;
  let over = false;
  const next = async () => {
    const pause = document.hidden ? SOON : await act();
    if (!over) timer = setTimeout(next, pause);
  };
  void next();
  return () => {
    over = true;
    clearTimeout(timer);
  };
}

export function followWorkflows(): () => void {
  return repeat(async () => ((await refreshWorkflows()) ? WORKFLOWS_EVERY : SOON));
}
