/** The list of chats: what is asked for, what the server said, and the changes of the user. */

import { chatHash, navigate } from "../app/router";
import { Store } from "../app/store";
import { reused } from "../chat/reused";
import * as api from "../net/api";
import type { UserChat, UserChats } from "../wire/http";
import { app, newName, repeat, sentenceOf, user } from "./session";

const EVERY = 5_000;
const PAGE = 50;

export type ChatStatusFilter = "" | "waiting" | "running" | "completed" | "failed" | "cancelled";
export type Filter = { search: string; place: "active" | "archived" | "deleted"; status: ChatStatusFilter; workflow: string };

export const NO_FILTER: Filter = { search: "", place: "active", status: "", workflow: "" };

/** `by` is the filter that the list was asked for with. */
export type Chats = { list: UserChat[]; next: string | null; by: Filter; fault: string; loaded: boolean };

const NONE: Chats = { list: [], next: null, by: NO_FILTER, fault: "", loaded: false };

export const filter = new Store<Filter>(NO_FILTER);
export const chats = new Store<Chats>(NONE);

/** Follows the list until the returned function is called. */
export function followChats(): () => void {
  const anew = () => {
    chats.set(NONE);
    void refreshChats();
  };
  const ends = [
    repeat(async () => {
      await refreshChats();
      return EVERY;
    }),
    filter.subscribe(() => void refreshChats()),
    app.subscribe(anew),
    user.subscribe(anew),
  ];
  return () => ends.forEach((end) => end());
}

/** The pages that are shown, read anew: up to one that is as it was, as chats that change move to the top. */
export async function refreshChats(): Promise<void> {
  const asked = askedNow();
  try {
    const known = chats.get();
    const isSameList = known.loaded && known.by === asked.by;
    const list: UserChat[] = [];
    let next: string | null = null;
    do {
      const page: UserChats = await asked.read(next);
      const before = known.list.slice(list.length, list.length + page.chats.length);
      list.push(...page.chats);
      next = page.next;
      if (isSameList && known.list.length > list.length && JSON.stringify(before) === JSON.stringify(page.chats)) {
        list.push(...known.list.slice(list.length));
        next = known.next;
        break;
      }
    } while (next && list.length < known.list.length);
    if (asked.isCurrent()) setList({ list, next, by: asked.by, fault: "", loaded: true });
  } catch (error) {
    if (asked.isCurrent()) chats.update((known) => ({ ...known, fault: sentenceOf(error) }));
  }
}

export async function moreChats(): Promise<void> {
  const { next, list } = chats.get();
  if (!next) return;
  const asked = askedNow();
  try {
    const page = await asked.read(next);
    if (asked.isCurrent()) setList({ list: [...list, ...page.chats], next: page.next, by: asked.by, fault: "", loaded: true });
  } catch (error) {
    chats.update((known) => ({ ...known, fault: sentenceOf(error) }));
  }
}

/** The lists of the server have a change a moment later: so the row changes at once. */
export async function changeChat(change: "archive" | "unarchive" | "remove" | "undelete", chat: UserChat): Promise<void> {
  await api[change]({ app: app.get(), chat: chat.chat_id }, user.get());
  chats.update((known) => ({ ...known, list: known.list.filter(({ chat_id }) => chat_id !== chat.chat_id) }));
}

export async function renameChat(chat: string, title: string): Promise<void> {
  await api.rename({ app: app.get(), chat }, user.get(), title);
  chats.update((known) => ({ ...known, list: known.list.map((one) => (one.chat_id === chat ? { ...one, title } : one)) }));
}

/** What is the same is left as it is, so that it is not rendered again. */
function setList(next: Chats): void {
  const known = chats.get();
  const list = reused(known.list, next.list, ({ chat_id }) => chat_id);
  const isSame = list.length === known.list.length && list.every((chat, place) => chat === known.list[place]);
  if (isSame && known.loaded && !known.fault && known.next === next.next && known.by === next.by) return;
  chats.set({ ...next, list: isSame ? known.list : list });
}

function askedNow() {
  const [forApp, forUser, by] = [app.get(), user.get(), filter.get()];
  return {
    by,
    read: (cursor: string | null) => api.chats(forApp, forUser, {
      search: by.search, place: by.place, status: by.status ? [by.status] : [], workflow: by.workflow ? [by.workflow] : [], cursor, limit: PAGE,
    }),
    // An answer for someone else, or to other words, comes too late.
    isCurrent: () => forApp === app.get() && forUser === user.get() && by === filter.get(),
  };
}

const requests = new Map<string, string>(); // a start that failed on the way is asked for again under its own name

/** Starts a chat and goes there. Raises ApiError. */
export async function begin(workflow: string): Promise<void> {
  const owner = [app.get(), user.get(), workflow].join("\n");
  const name = requests.get(owner) ?? newName();
  requests.set(owner, name);
  const begun = await api.start(app.get(), workflow, user.get(), name);
  requests.delete(owner);
  navigate(chatHash({ app: app.get(), workflow, chat: begun.chat_id }));
  void refreshChats();
}
