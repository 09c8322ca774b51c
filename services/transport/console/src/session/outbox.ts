/** Messages that could not be sent yet: they wait in this browser and go out, in order, once the server is there. */

import { Store } from "../app/store";
import type { Place } from "../net/address";
import * as api from "../net/api";
import { sentenceOf } from "./session";

const KEY = "mozaiks.outbox";
const AGAIN_AFTER = 5_000;

/** `id` is sent with the message: sent twice, it is still one. `fault`: the server does not want it. */
export type Waiting = { id: string; place: Place; user: string; text: string; fault: string };

export const outbox = new Store<Waiting[]>(read());
outbox.subscribe(() => localStorage.setItem(KEY, JSON.stringify(outbox.get())));

let sending = false;
let timer: ReturnType<typeof setTimeout> | undefined;

export function enqueue(message: Omit<Waiting, "fault">): Promise<void> {
  outbox.update((all) => [...all, { ...message, fault: "" }]);
  return flushOutbox();
}

export function withdraw(id: string): void {
  outbox.update((all) => all.filter((one) => one.id !== id));
}

/** Sends what waits, oldest first; while the server cannot be reached it goes on waiting. */
export async function flushOutbox(): Promise<void> {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let next = ready(); next; next = ready()) await sent(next);
  } catch {
    timer = setTimeout(flushOutbox, AGAIN_AFTER);
  } finally {
    sending = false;
  }
}

function ready(): Waiting | undefined {
  return outbox.get().find(({ fault }) => !fault);
}

async function sent({ id, place, user, text }: Waiting): Promise<void> {
  try {
    await api.say(place, user, text, id);
    withdraw(id);
  } catch (error) {
    if (error instanceof api.ApiError && (error.failure !== "refused" || error.status >= 500)) throw error;
    outbox.update((all) => all.map((one) => (one.id === id ? { ...one, fault: sentenceOf(error) } : one)));
  }
}

function read(): Waiting[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? (kept as Waiting[]) : [];
  } catch {
    return [];
  }
}

window.addEventListener("online", () => void flushOutbox());
