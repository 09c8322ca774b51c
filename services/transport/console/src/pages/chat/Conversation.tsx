/** The middle of the page: the entries, kept in place while more come before and after them. */

import { Fragment, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, type ReactNode } from "react";
import { canRetry, hasEarlier, shownEntries, statusOf, thinker, type State } from "../../chat/state";
import type { Entry } from "../../chat/entries";
import { announce } from "../../parts/announce";
import { day } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import type { ChatView } from "../../session/chat";
import { useTexts } from "../../texts";
import type { WaitData } from "../../wire/frames";
import { lastAnswerOf } from "./context";
import { EntryView } from "./Entries";

const NEAR = 80; // pixels: whoever is so near to the end wants to stay there

export function Conversation({ view, intro, onEarlier, children }: { view: ChatView; intro: string; onEarlier: () => void; children?: ReactNode }) {
  const t = useTexts();
  const { state, earlier } = view;
  const { scroller, content, isStuck, follow } = useAnchoring(state.first, onEarlier);
  useAnnouncements(state);
  const retryOf = canRetry(state) ? lastAnswerOf(state) : null;
  const shown = useMemo(() => shownEntries(state), [state.entries, state.stream]); // eslint-disable-line
  const thinking = thinker(state);
  return (
    <>
      <div className="scroller" id="scroller" ref={scroller} tabIndex={0} role="log" aria-label={t.chat.conversation} aria-live="off">
        <div className="column" ref={content}>
          {hasEarlier(state) && (
            <Earlier fault={earlier.fault} loading={earlier.loading} onClick={onEarlier} onGone={() => scroller.current?.focus()} />
          )}
          {intro && state.first === 1 && <p className="intro">{intro}</p>}
          {state.entriesDropped > 0 && <p className="note">{t.chat.dropped(state.entriesDropped)}</p>}
          <Entries entries={shown} retryOf={retryOf} />
          {state.waiting ? <Wait wait={state.waiting} /> : thinking && <p className="thinking" data-testid="thinking">{t.chat.thinking(thinking)}</p>}
          {children}
        </div>
      </div>
      {!isStuck && <button type="button" className="jump" onClick={follow}><Icon name="down" size={15} />{t.chat.newest}</button>}
    </>
  );
}

function Entries({ entries, retryOf }: { entries: Entry[]; retryOf: string | null }) {
  let date = "";
  return (
    <div className="entries">
      {entries.map((entry, at) => {
        const its = entry.time.slice(0, 10);
        const begins = its !== "" && its !== date;
        if (begins) date = its;
        return (
          <Fragment key={entry.id}>
            {begins && <p className="day" role="separator"><span>{day(entry.time)}</span></p>}
            <EntryView entry={entry} joined={!begins && joined(entries[at - 1], entry)} canRetry={entry.id === retryOf} />
          </Fragment>
        );
      })}
    </div>
  );
}

const VOICED = new Set(["text", "tool", "question", "form", "data"]);

function joined(before: Entry | undefined, entry: Entry): boolean {
  return before !== undefined && VOICED.has(before.kind) && VOICED.has(entry.kind)
    && "agent" in before && "agent" in entry && before.agent === entry.agent;
}

/** Earlier messages: by this button, or by scrolling to the top. The focus is not lost with it. */
function Earlier({ fault, loading, onClick, onGone }: { fault: string; loading: boolean; onClick: () => void; onGone: () => void }) {
  const t = useTexts();
  const place = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    const button = place.current;
    return () => {
      if (button && document.activeElement === button) onGone();
    };
  }, []); // eslint-disable-line
  const words = loading ? t.chat.loadingEarlier : fault ? `${fault} ${t.tryAgain}` : t.chat.showEarlier;
  return <button type="button" ref={place} id="earlier" className="plain earlier" data-testid="earlier" aria-busy={loading} onClick={onClick}>{words}</button>;
}

/** Why nothing comes; the seconds of a provider are counted down. */
function Wait({ wait }: { wait: WaitData }) {
  const t = useTexts();
  const [left, setLeft] = useState(Math.ceil(wait.seconds ?? 0));
  useEffect(() => {
    setLeft(Math.ceil(wait.seconds ?? 0));
    const timer = setInterval(() => setLeft((now) => Math.max(0, now - 1)), 1000);
    return () => clearInterval(timer);
  }, [wait]);
  const words = wait.reason === "provider" && wait.seconds
    ? t.chat.waiting[wait.code === "MODEL_RATE_LIMITED" ? "provider" : "failure"](left, wait.attempt ?? null, wait.attempts ?? null)
    : wait.reason === "takeover" ? t.chat.waiting.takeover : wait.reason === "queue" ? t.chat.waiting.queue : wait.message;
  return <p className="thinking waiting" data-testid="waiting" role="status" title={wait.message}>{words}</p>;
}

/** Stays at the end while the reader is there; else keeps in place what is being read, also when a page comes before it. */
function useAnchoring(first: number, onEarlier: () => void) {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  const fromEnd = useRef(0);
  const shownFirst = useRef(first);
  const [isStuck, setStuck] = useState(true);
  const earlier = useRef(onEarlier);
  earlier.current = onEarlier;

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    if (first < shownFirst.current && !stuck.current) box.scrollTop = box.scrollHeight - fromEnd.current;
    shownFirst.current = first;
  }, [first]);

  useLayoutEffect(() => {
    const [box, inner] = [scroller.current, content.current];
    if (!box || !inner) return undefined;
    let [height, room] = [0, 0];
    const settle = () => {
      if (stuck.current) box.scrollTop = box.scrollHeight;
      fromEnd.current = box.scrollHeight - box.scrollTop;
      [height, room] = [box.scrollHeight, box.clientHeight];
    };
    const scrolled = () => {
      if (stuck.current && (height !== box.scrollHeight || room !== box.clientHeight)) return settle(); // not the reader: the sizes changed
      const distance = box.scrollHeight - box.scrollTop - box.clientHeight;
      fromEnd.current = box.scrollHeight - box.scrollTop;
      stuck.current = distance < NEAR;
      setStuck(stuck.current);
      if (!stuck.current && box.scrollTop < NEAR) earlier.current();
      return undefined;
    };
    const sizes = new ResizeObserver(settle);
    sizes.observe(inner);
    sizes.observe(box);
    box.addEventListener("scroll", scrolled, { passive: true });
    return () => {
      sizes.disconnect();
      box.removeEventListener("scroll", scrolled);
    };
  }, []);

  const follow = useCallback(() => {
    stuck.current = true;
    setStuck(true);
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  }, []);
  return { scroller, content, isStuck, follow };
}

/** Whole messages and questions, once they are there; nothing of the history. */
function useAnnouncements(state: State): void {
  const t = useTexts();
  const last = useRef<string | null>(null);
  const status = statusOf(state);
  const newest = state.entries.at(-1);
  useEffect(() => {
    const id = newest?.id ?? "";
    const wasReady = last.current !== null;
    if (state.ready && wasReady && id !== last.current && newest) {
      if (newest.kind === "text" && newest.agent !== "user") announce(`${newest.agent}: ${newest.text}`);
      if (newest.kind === "question" && newest.open) announce(t.chat.asks(newest.agent, newest.prompt));
      if (newest.kind === "end") announce(t.status[status]);
    }
    if (state.ready) last.current = id;
  }, [state.ready, newest, status, t]);
}
