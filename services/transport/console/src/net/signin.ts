/** The token that the page shows, where one has to sign in. */

import type { CallerIdentity } from "../wire/http";

const KEPT_AS = "chatui_token"; // where ChatUI keeps it, too

type Kept = Pick<Storage, "getItem" | "setItem">;

/** `#access_token=...` is kept and taken out of the address, where others might read it. */
export function takeToken(location: Location, history: History, kept: Kept): void {
  const given = new URLSearchParams(location.hash.slice(1)).get("access_token");
  if (!given) return;
  kept.setItem(KEPT_AS, given);
  history.replaceState(null, "", location.pathname + location.search);
}

export function headersOf(kept: Pick<Storage, "getItem">): Record<string, string> {
  const token = kept.getItem(KEPT_AS);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** A browser can set no header of a socket but this one. */
export function protocolsOf(kept: Pick<Storage, "getItem">): string[] {
  const token = kept.getItem(KEPT_AS);
  return token ? ["bearer", token] : [];
}

/** Without sign-in everyone may see everything. */
export function isOperator(me: Pick<CallerIdentity, "signed_in" | "scopes">): boolean {
  return !me.signed_in || (me.scopes ?? []).includes("operator");
}

/** Workflows belong to all apps: whose token names apps sees no prompts of theirs. */
export function isOperatorOfAll(me: Pick<CallerIdentity, "signed_in" | "scopes" | "app_ids">): boolean {
  return isOperator(me) && (me.app_ids ?? []).length === 0;
}

/** The app to look at: the one that was chosen, if the token is good for it. */
export function appOf(me: Pick<CallerIdentity, "app_ids">, chosen: string): string {
  const apps = me.app_ids ?? [];
  return apps.includes(chosen) ? chosen : (apps[0] ?? chosen);
}
