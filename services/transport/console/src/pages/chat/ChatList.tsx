/** The list of chats: searched, filtered, renamed, archived, deleted; forks below what they come from. */

import { memo, useEffect, useMemo, useState } from "react";
import { drawer } from "../../app/Layout";
import { chatHash, navigate } from "../../app/router";
import { useSelected, useStore } from "../../app/store";
import { askForLine, askToConfirm } from "../../parts/Confirm";
import { when } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { Menu, type MenuItem } from "../../parts/Menu";
import { changeChat, chats, filter, followChats, moreChats, renameChat, type Filter } from "../../session/chats";
import { forkTree, type OriginRow } from "../../session/fork_tree";
import { isUnread, seen } from "../../session/seen";
import { app, sentenceOf, workflows } from "../../session/session";
import { useTexts } from "../../texts";
import type { UserChat } from "../../wire/http";

const SEARCH_AFTER = 300; // milliseconds after the last key

export function ChatList({ current }: { current: string | null }) {
  const t = useTexts();
  const { list, next, fault, loaded } = useStore(chats);
  const by = useStore(filter);
  const [problem, setProblem] = useState("");
  useEffect(followChats, []);
  const rows = useMemo(() => forkTree(list), [list]);
  const isFiltered = by.search !== "" || by.status !== "" || by.workflow !== "" || by.place !== "active";
  return (
    <aside className="chat-list" aria-label={t.pages.chat}>
      <header>
        <a className="primary new-chat" href="#/" data-testid="new-chat" onClick={() => drawer.set(false)}><Icon name="plus" size={16} />{t.chat.newChat}</a>
        <button type="button" className="icon drawer-close" aria-label={t.close} onClick={() => drawer.set(false)}><Icon name="close" /></button>
      </header>
      <Filters by={by} />
      <nav className="chats" id="chats" aria-label={t.pages.chat}>
        {rows.map((row) => (row.kind === "origin"
          ? <Origin key={row.chat_id} row={row} isCurrent={row.chat_id === current} />
          : <ChatRow key={row.chat.chat_id} chat={row.chat} depth={row.depth} isCurrent={row.chat.chat_id === current} place={by.place} onFault={setProblem} />))}
        {next && <button type="button" className="plain more" onClick={() => void moreChats()}>{t.more}</button>}
        <p className="note" id="chats-note" role="status">{fault || (loaded && list.length === 0 ? (isFiltered ? t.chat.noneFound : t.chat.noneYet) : "")}</p>
        <p className="fault" role="alert">{problem}</p>
      </nav>
    </aside>
  );
}

function Filters({ by }: { by: Filter }) {
  const t = useTexts();
  const names = Object.keys(useStore(workflows).cards);
  const [words, setWords] = useState(by.search);
  useEffect(() => {
    const timer = setTimeout(() => filter.update((known) => (known.search === words.trim() ? known : { ...known, search: words.trim() })), SEARCH_AFTER);
    return () => clearTimeout(timer);
  }, [words]);
  const set = (change: Partial<Filter>) => filter.update((known) => ({ ...known, ...change }));
  return (
    <div className="chat-filters" role="search">
      <label className="search"><Icon name="search" size={15} />
        <input type="search" data-testid="search" placeholder={t.chat.search} aria-label={t.chat.search} maxLength={100} autoComplete="off" value={words}
          onChange={({ target }) => setWords(target.value)} />
      </label>
      <select aria-label={t.chat.filterStatus} data-testid="filter-status" value={by.status} onChange={({ target }) => set({ status: target.value as Filter["status"] })}>
        <option value="">{t.chat.anyStatus}</option>
        {(["waiting", "running", "completed", "failed", "cancelled"] as const).map((status) => <option key={status} value={status}>{t.chat.listStatus[status]}</option>)}
      </select>
      <select aria-label={t.chat.filterWorkflow} data-testid="filter-workflow" value={by.workflow} onChange={({ target }) => set({ workflow: target.value })}>
        <option value="">{t.chat.anyWorkflow}</option>
        {names.map((name) => <option key={name} value={name}>{name}</option>)}
      </select>
      <select aria-label={t.chat.filterPlace} data-testid="filter-place" value={by.place} onChange={({ target }) => set({ place: target.value as Filter["place"] })}>
        {(["active", "archived", "deleted"] as const).map((place) => <option key={place} value={place}>{t.chat.places[place]}</option>)}
      </select>
    </div>
  );
}

/** Leads to the chat that the forks below it come from. */
function Origin({ row: { chat_id, workflow_name }, isCurrent }: { row: OriginRow; isCurrent: boolean }) {
  const t = useTexts();
  return (
    <div className="chat-row">
      <a className="chat origin" href={chatHash({ app: app.get(), workflow: workflow_name, chat: chat_id })} data-testid="origin-item" aria-current={isCurrent ? "page" : undefined}
        onClick={() => drawer.set(false)}>
        <span className="dot" />
        <span className="chat-title">{t.chat.origin}</span>
        <span className="chat-facts">{t.chat.originElsewhere}</span>
      </a>
    </div>
  );
}

const ChatRow = memo(function ChatRow({ chat, depth, isCurrent, place, onFault }: {
  chat: UserChat; depth: number; isCurrent: boolean; place: Filter["place"]; onFault: (fault: string) => void;
}) {
  const t = useTexts();
  const unread = useSelected(seen, (known) => isUnread(known, app.get(), chat)) && !isCurrent;
  const title = chat.title || chat.workflow_name;
  const status = t.chat.listStatus[chat.status];
  const marks = [status, unread ? t.chat.unread : "", depth > 0 ? t.chat.isFork : ""].filter(Boolean).join(", ");
  return (
    <div className="chat-row" style={{ "--depth": Math.min(depth, 6) } as React.CSSProperties} data-depth={depth}>
      <a className="chat" href={chatHash({ app: app.get(), workflow: chat.workflow_name, chat: chat.chat_id })} data-testid="chat-item" data-chat={chat.chat_id}
        data-unread={unread} aria-current={isCurrent ? "page" : undefined} onClick={() => drawer.set(false)}>
        {depth > 0 ? <span className="fork-mark" data-status={chat.status}><Icon name="fork" size={13} /></span> : <span className="dot" data-status={chat.status} title={status} />}
        <span className="chat-title" dir="auto">{title}</span>
        {chat.status === "waiting" && <span className="badge" data-tone="warn" data-testid="waiting-mark">{t.chat.forYou}</span>}
        <span className="chat-facts">{chat.title ? `${chat.workflow_name} · ` : ""}{when(chat.last_updated_at ?? chat.created_at)}</span>
        {chat.excerpt && <span className="chat-facts" data-testid="excerpt">{chat.excerpt}</span>}
        <span className="unseen">, {marks}</span>
      </a>
      <Menu label={t.chat.rowMenu(title)} testid="chat-menu" items={itemsOf(chat, title, place, isCurrent, onFault, t)}><Icon name="more" /></Menu>
    </div>
  );
});

function itemsOf(
  chat: UserChat, title: string, place: Filter["place"], isCurrent: boolean, onFault: (fault: string) => void, t: ReturnType<typeof useTexts>,
): MenuItem[] {
  const attempt = (act: () => Promise<unknown>) => () => void act().then(() => onFault(""), (error: unknown) => onFault(sentenceOf(error)));
  const leave = () => isCurrent && navigate("#/");
  const change = (kind: Parameters<typeof changeChat>[0]) => attempt(() => changeChat(kind, chat).then(leave));
  if (place === "deleted") return [{ label: t.chat.undelete, icon: "retry", onSelect: change("undelete") }];
  return [
    { label: t.chat.rename, icon: "edit", onSelect: attempt(() => rename(chat.chat_id, title, t)) },
    place === "archived"
      ? { label: t.chat.unarchive, icon: "archive", onSelect: change("unarchive") }
      : { label: t.chat.archive, icon: "archive", onSelect: attempt(() => changeChat("archive", chat)) },
    {
      label: t.chat.delete, icon: "trash", danger: true, onSelect: attempt(async () => {
        if (await askToConfirm({ title: t.chat.delete, text: t.chat.deleteSure, action: t.chat.delete, danger: true })) await changeChat("remove", chat).then(leave);
      }),
    },
  ];
}

/** Asks for the title of a chat, and sets it. */
export async function rename(chat: string, title: string, t: ReturnType<typeof useTexts>): Promise<void> {
  const named = await askForLine({ title: t.chat.rename, text: "", action: t.save, value: title });
  if (named) await renameChat(chat, named);
}
