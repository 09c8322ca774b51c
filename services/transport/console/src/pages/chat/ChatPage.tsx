/** Chats: the list, the open one, and its events. */

import { memo, useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { PageProps } from "../../app/App";
import { drawer, PageHead } from "../../app/Layout";
import { chatHash, navigate, pageHash } from "../../app/router";
import { keptStore, useStore } from "../../app/store";
import { statusOf, type State } from "../../chat/state";
import type { Place } from "../../net/address";
import type { ConnectionStatus } from "../../net/connection";
import { count, money } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { Menu } from "../../parts/Menu";
import { ChatSession } from "../../session/chat";
import { begin, changeChat, chats, refreshChats } from "../../session/chats";
import { app, useIsOperator, user, workflows } from "../../session/session";
import { useTexts } from "../../texts";
import { ChatList, rename } from "./ChatList";
import { Composer } from "./Composer";
import { ActionsContext, actionsOf, forkPoint, useActions } from "./context";
import { Conversation } from "./Conversation";
import { saveBlob } from "./Entries";
import { EventsPanel } from "./EventsPanel";
import { entriesOf, framesOf, markdownOf } from "./transcript";
import { Welcome } from "./Welcome";
import "../../style/chat.css";

const eventsChoice = keptStore<"open" | "closed">("events", "open");
const WIDE = window.matchMedia("(min-width: 1200px)");
const ENDED = ["completed", "failed", "cancelled"];

export default function ChatPage({ segments }: PageProps) {
  const t = useTexts();
  const key = segments.join("/");
  const place = useMemo<Place | null>(() => {
    const [inApp, workflow, chat] = segments;
    return inApp && workflow && chat ? { app: inApp, workflow, chat } : null;
  }, [key]); // eslint-disable-line
  useStore(user); // another user is another connection
  useEffect(() => {
    if (place) app.set(place.app);
  }, [place]);
  return (
    <div className="chat-page" data-chat={place ? "open" : "none"}>
      <ChatList current={place?.chat ?? null} />
      {place ? <OpenChat key={`${key}/${user.get()}`} place={place} /> : (
        <section className="chat-main">
          <PageHead title={t.chat.newChat} before={<DrawerButton />} />
          <Welcome />
        </section>
      )}
    </div>
  );
}

function DrawerButton() {
  const t = useTexts();
  return <button type="button" className="icon drawer-button" data-testid="drawer" aria-label={t.pages.chat} onClick={() => drawer.set(true)}><Icon name="menu" /></button>;
}

function OpenChat({ place }: { place: Place }) {
  const t = useTexts();
  const session = useMemo(() => new ChatSession(place), [place]);
  const actions = useMemo(() => actionsOf(session), [session]);
  useEffect(() => {
    session.open();
    return () => session.close();
  }, [session]);
  const view = useStore(session.view);
  const { state, connection } = view;
  const card = useStore(workflows).cards[place.workflow];
  const listed = useStore(chats).list.find(({ chat_id }) => chat_id === place.chat);
  const title = state.title ?? listed?.title ?? "";
  const [wide, setWide] = useState(WIDE.matches);
  const [over, setOver] = useState(false); // the events over the conversation, where there is no room beside it
  const kept = useStore(eventsChoice);
  const showsEvents = wide ? kept === "open" : over;
  useEffect(() => {
    const changed = () => setWide(WIDE.matches);
    WIDE.addEventListener("change", changed);
    return () => WIDE.removeEventListener("change", changed);
  }, []);
  useEffect(() => {
    document.title = `${title || place.workflow} · MozaiksAI`;
    return () => { document.title = "MozaiksAI console"; };
  }, [title, place.workflow]);
  useListUpToDate(state, listed?.last_sequence ?? 0);
  const toggle = useCallback(
    () => (wide ? eventsChoice.update((now) => (now === "open" ? "closed" : "open")) : setOver((now) => !now)), [wide],
  );
  const settled = useSettled(state);
  const refused = connection.state === "refused";
  return (
    <ActionsContext value={actions}>
      <section className="chat-main" data-connection={connection.state}>
        <Head place={place} title={title} state={settled} connection={connection} onEvents={toggle} showsEvents={showsEvents} onReconnect={session.reconnect} onFault={session.complain} />
        {card?.demo && !refused && <p className="notice" data-testid="demo-notice">{t.chat.demoNotice}</p>}
        {state.origin && !refused && (
          <p className="notice origin"><Icon name="fork" size={14} /><a href={chatHash({ ...place, chat: state.origin.chat })}>{t.chat.forkOf}</a></p>
        )}
        {refused ? <Refused connection={connection} /> : (
          <>
            <Conversation view={view} intro={card?.initial_message_to_user ?? ""} onEarlier={session.showEarlier}>
              {ENDED.includes(statusOf(state)) && <EndActions place={place} forkAt={forkPoint(state)} onFault={session.complain} />}
            </Conversation>
            <Composer state={settled} />
          </>
        )}
      </section>
      {showsEvents && !refused && <EventsPanel state={settled} onClose={toggle} />}
    </ActionsContext>
  );
}

const QUIET = 500; // milliseconds without an event

/** The list knows of what was seen here as soon as persistence does, not only when it is read the next time. */
function useListUpToDate({ ready, seq }: State, listed: number): void {
  const isBehind = ready && listed < seq;
  useEffect(() => {
    if (!isBehind) return undefined;
    const timer = setTimeout(() => void refreshChats(), QUIET);
    return () => clearTimeout(timer);
  }, [isBehind, seq]);
}

/** The state but for the text that streams: what does not show it is not rendered at every chunk. */
function useSettled(state: State): State {
  const last = useRef(state);
  const names = Object.keys(state) as Array<keyof State>;
  if (names.some((name) => name !== "stream" && state[name] !== last.current[name])) last.current = state;
  return last.current;
}

/** A chat that has ended is no dead end. */
function EndActions({ place, forkAt, onFault }: { place: Place; forkAt: number | undefined; onFault: (error: unknown) => void }) {
  const t = useTexts();
  const { fork } = useActions();
  return (
    <p className="end-actions">
      <button type="button" className="plain" id="again" onClick={() => void begin(place.workflow).catch(onFault)}><Icon name="plus" size={15} />{t.chat.again}</button>
      <button type="button" className="plain" data-testid="fork-end" onClick={() => void fork(forkAt)}><Icon name="fork" size={15} />{t.chat.forkChat}</button>
    </p>
  );
}

/** Why this chat is not shown. */
function Refused({ connection }: { connection: ConnectionStatus }) {
  const t = useTexts();
  const reason = connection.state === "refused" ? connection.reason : "";
  const unknown = reason.includes("NOT_FOUND") || reason.includes("INVALID");
  return (
    <div className="page-note" role="alert" data-testid="refused">
      <h2>{unknown ? t.chat.unknown : t.chat.refused}</h2>
      <p className="quiet">{unknown ? t.chat.unknownText : reason}</p>
      <a className="plain" href="#/">{t.chat.toChats}</a>
    </div>
  );
}

const Head = memo(function Head({ place, title, state, connection, onEvents, showsEvents, onReconnect, onFault }: {
  place: Place; title: string; state: State; connection: ConnectionStatus;
  onEvents: () => void; showsEvents: boolean; onReconnect: () => void; onFault: (error: unknown) => void;
}) {
  const t = useTexts();
  const { cancel, retry, fork } = useActions();
  const isOperator = useIsOperator();
  const status = statusOf(state);
  const refused = connection.state === "refused";
  const isOver = ENDED.includes(status);
  const exported = (kind: "md" | "json") => async () => {
    try {
      const frames = await framesOf(place);
      const name = (title || place.workflow).replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60).replace(/^-|-$/g, "") || "chat";
      const text = kind === "md" ? markdownOf(title || place.workflow, entriesOf(frames)) : JSON.stringify({ ...place, title, exported_at: new Date().toISOString(), frames }, null, 2);
      saveBlob(new Blob([text], { type: kind === "md" ? "text/markdown" : "application/json" }), `${name}.${kind}`);
    } catch (error) {
      onFault(error);
    }
  };
  const listed = chats.get().list.find(({ chat_id }) => chat_id === place.chat);
  const items = [
    { label: t.chat.rename, icon: "edit" as const, onSelect: () => void rename(place.chat, title, t).catch(onFault) },
    { label: t.chat.retry, icon: "retry" as const, disabled: status === "running", onSelect: () => void retry() },
    { label: t.chat.forkChat, icon: "fork" as const, onSelect: () => void fork(forkPoint(state)) },
    { label: t.chat.exportMarkdown, icon: "download" as const, onSelect: exported("md") },
    { label: t.chat.exportJson, icon: "download" as const, onSelect: exported("json") },
    ...(isOperator ? [{ label: t.pages.trace, icon: "trace" as const, onSelect: () => navigate(pageHash("trace", place.app, place.chat)) }] : []),
    ...(isOver || status === "loading" ? [] : [{ label: t.chat.cancelChat, icon: "stop" as const, danger: true, onSelect: () => void cancel() }]),
    ...(listed ? [{ label: t.chat.archive, icon: "archive" as const, onSelect: () => void changeChat("archive", listed).then(() => navigate("#/")).catch(onFault) }] : []),
  ];
  return (
    <PageHead title={title || place.workflow} before={<DrawerButton />}>
      {title && <span className="quiet subtitle">{place.workflow}</span>}
      <span className="grow" />
      {!refused && <span className="pill" data-testid="chat-status" data-status={status} role="status">{t.status[status]}</span>}
      {!refused && !isOver && status !== "loading" && <CancelButton onCancel={cancel} />}
      {state.tokens > 0 && <span className="tokens" data-testid="totals">{t.chat.tokens(count(state.tokens))}{state.cost > 0 ? ` · ${money(state.cost)}` : ""}</span>}
      <Connected connection={connection} onReconnect={onReconnect} />
      {!refused && <Menu label={t.chat.menu} testid="chat-actions" items={items}><Icon name="more" /></Menu>}
      {!refused && <button type="button" className="icon" data-testid="toggle-events" aria-label={t.chat.events} title={t.chat.events} aria-expanded={showsEvents} onClick={onEvents}><Icon name="panel" /></button>}
    </PageHead>
  );
});

function CancelButton({ onCancel }: { onCancel: () => Promise<void> }) {
  const t = useTexts();
  const [busy, setBusy] = useState(false);
  const press = async () => {
    setBusy(true);
    await onCancel();
    setBusy(false);
  };
  return <button type="button" className="plain cancel" data-testid="cancel" disabled={busy} onClick={press}>{busy ? t.chat.cancelling : t.chat.cancelChat}</button>;
}

function Connected({ connection, onReconnect }: { connection: ConnectionStatus; onReconnect: () => void }) {
  const t = useTexts();
  const { state } = connection;
  const words = connection.state === "waiting" ? t.connection.waiting(connection.seconds) : t.connection[connection.state === "refused" ? "refused" : connection.state];
  const canTry = state === "waiting" || state === "offline";
  return (
    <button type="button" className="chip" data-testid="status" data-state={state === "waiting" ? "reconnecting" : state} disabled={!canTry} title={canTry ? t.connection.tryNow : ""} onClick={onReconnect}>
      <span className="dot" data-status={state === "waiting" ? "reconnecting" : state} /><span className="chip-text" role="status">{words}</span>
    </button>
  );
}

