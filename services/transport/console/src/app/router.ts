/** Which page the address names: `#/app/workflow/chat` is a chat, `#name/...` another page. */

import { useSyncExternalStore } from "react";
import type { Place } from "../net/address";

export const PAGES = ["chat", "workflows", "trace", "operations"] as const;
export type PageName = (typeof PAGES)[number];

/** A page and the segments behind its name; those of a chat are app, workflow and chat. */
export type Route = { page: PageName; segments: string[] };

/** The route of a hash; the chat page without a chat where the hash names nothing known. */
export function routeOf(hash: string): Route {
  const [name = "", ...encoded] = hash.replace(/^#/, "").split("/");
  const segments = decoded(encoded.filter(Boolean));
  if (segments === null) return { page: "chat", segments: [] };
  if (name === "") return { page: "chat", segments: segments.length === 3 ? segments : [] };
  const page = PAGES.find((known) => known === name);
  return page ? { page, segments } : { page: "chat", segments: [] };
}

function decoded(segments: string[]): string[] | null {
  try {
    return segments.map(decodeURIComponent);
  } catch {
    return null; // a broken percent code names nothing
  }
}

export function hashOf({ page, segments }: Route): string {
  const name = page === "chat" ? "" : page;
  return `#${[name, ...segments.map(encodeURIComponent)].join("/")}${page === "chat" && segments.length === 0 ? "/" : ""}`;
}

/** The chat of a chat page's route, if it names one. */
export function placeOf({ page, segments }: Route): Place | null {
  const [app, workflow, chat] = segments;
  return page === "chat" && app && workflow && chat ? { app, workflow, chat } : null;
}

export function chatHash({ app, workflow, chat }: Place): string {
  return hashOf({ page: "chat", segments: [app, workflow, chat] });
}

export function pageHash(page: PageName, ...segments: string[]): string {
  return hashOf({ page, segments });
}

export function navigate(hash: string): void {
  window.location.hash = hash;
}

function subscribe(changed: () => void): () => void {
  window.addEventListener("hashchange", changed);
  return () => window.removeEventListener("hashchange", changed);
}

let last: { hash: string; route: Route } | null = null;

function current(): Route {
  const { hash } = window.location;
  if (last?.hash !== hash) last = { hash, route: routeOf(hash) };
  return last.route;
}

/** The route now; the component is rendered again when it changes. */
export function useRoute(): Route {
  return useSyncExternalStore(subscribe, current);
}
