/** The chats of a list as a tree of forks. Pure. */

import type { UserChat } from "../wire/http";

/** A chat and how deep it is in the tree. */
export type ChatRow = { kind: "chat"; chat: UserChat; depth: number };

/** Where forks of the list come from that is not in it: on a later page, left out by a filter, or gone. */
export type OriginRow = { kind: "origin"; chat_id: string; workflow_name: string };

export type Row = ChatRow | OriginRow;

/** Forks below the chat that they come from, in the order of the list. */
export function forkTree(list: UserChat[]): Row[] {
  const known = new Set(list.map(({ chat_id }) => chat_id));
  const forks = new Map<string, UserChat[]>();
  const roots: Array<{ id: string; own: UserChat | null; workflow_name: string }> = [];
  for (const chat of list) {
    const origin = chat.origin?.chat_id;
    if (!origin || origin === chat.chat_id) {
      roots.push({ id: chat.chat_id, own: chat, workflow_name: chat.workflow_name });
      continue;
    }
    const siblings = forks.get(origin);
    if (siblings) siblings.push(chat);
    else {
      forks.set(origin, [chat]);
      if (!known.has(origin)) roots.push({ id: origin, own: null, workflow_name: chat.workflow_name });
    }
  }
  const rows: Row[] = [];
  const placeForks = (origin: string, depth: number): void => {
    for (const chat of forks.get(origin) ?? []) {
      rows.push({ kind: "chat", chat, depth });
      placeForks(chat.chat_id, depth + 1);
    }
  };
  for (const { id, own, workflow_name } of roots) {
    rows.push(own ? { kind: "chat", chat: own, depth: 0 } : { kind: "origin", chat_id: id, workflow_name });
    placeForks(id, 1);
  }
  return rows;
}
