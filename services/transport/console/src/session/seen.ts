/** Which event of each chat was seen last in this browser: later ones are unread. */

import { Store } from "../app/store";
import type { Place } from "../net/address";

const KEY = "mozaiks.seen";
const KEPT = 500; // chats

type Seen = Record<string, number>;

export const seen = new Store<Seen>(read());

export function markSeen({ app, chat }: Pick<Place, "app" | "chat">, seq: number): void {
  const name = `${app}/${chat}`;
  const known = seen.get();
  if ((known[name] ?? 0) >= seq) return;
  const { [name]: _, ...others } = known;
  const newest = Object.entries(others).slice(1 - KEPT);
  seen.set({ ...Object.fromEntries(newest), [name]: seq });
  later();
}

/** A chat that was never opened here is not unread: it may be years old. */
export function isUnread(known: Seen, app: string, chat: { chat_id: string; last_sequence: number }): boolean {
  const last = known[`${app}/${chat.chat_id}`];
  return last !== undefined && last < chat.last_sequence;
}

let timer: ReturnType<typeof setTimeout> | undefined;

function later(): void {
  timer ??= setTimeout(() => {
    timer = undefined;
    localStorage.setItem(KEY, JSON.stringify(seen.get()));
  }, 1000);
}

function read(): Seen {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Seen;
  } catch {
    return {};
  }
}
