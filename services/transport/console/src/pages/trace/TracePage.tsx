/** A chat as it went: `#trace/app/chat`, and beside another one: `#trace/app/chat/compare/other`. */

import { useState } from "react";
import type { PageProps } from "../../app/App";
import { PageHead } from "../../app/Layout";
import { chatHash, navigate, pageHash } from "../../app/router";
import { useStore } from "../../app/store";
import { chats } from "../../net/api";
import { timeline } from "../../net/operators";
import { useFetched } from "../../parts/fetched";
import { count, dollars } from "../../parts/figures";
import { Tabs } from "../../parts/Tabs";
import { Why } from "../../parts/Why";
import { app, useIsOperator, user } from "../../session/session";
import { useTexts } from "../../texts";
import { CompareView } from "./CompareView";
import { EventsView } from "./EventsView";
import { TimelineView } from "./TimelineView";
import "../../style/panels.css";
import "./trace.css";

const PARTS = ["timeline", "events", "compare", "why"] as const;
type Part = (typeof PARTS)[number];
const READ_EVERY = 5_000;

export default function TracePage({ segments }: PageProps) {
  const t = useTexts();
  const isOperator = useIsOperator();
  const [tenant, chat, part, other] = segments;
  if (!isOperator) return <><PageHead title={t.pages.trace} /><p className="page-note">{t.operationPages.operatorsOnly}</p></>;
  if (!tenant || !chat) return <Choose />;
  return <Trace key={`${tenant} ${chat}`} tenant={tenant} chat={chat} first={part === "compare" ? "compare" : "timeline"} other={other ?? null} />;
}

function Trace({ tenant, chat, first, other }: { tenant: string; chat: string; first: Part; other: string | null }) {
  const t = useTexts();
  const words = t.tracePages;
  const [part, setPart] = useState<Part>(first);
  const { value: page, fault } = useFetched(`${tenant} ${chat}`, () => timeline({ app: tenant, chat }), READ_EVERY);
  const head = page?.chat;
  return (
    <>
      <PageHead title={`${t.pages.trace}: ${head?.workflow_name ?? chat}`}>
        {head && (
          <span className="page-tools">
            <a className="plain" href={chatHash({ app: tenant, workflow: head.workflow_name, chat })}>{t.workflowPages.openChat}</a>
            <a className="plain" href={pageHash("workflows", head.workflow_name, chat)}>{t.workflowPages.tabs.picture}</a>
          </span>
        )}
      </PageHead>
      <div className="page-body">
        <p className="fault" role="alert">{fault}</p>
        {head && (
          <p className="row trace-head">
            <span className="dot" data-status={head.chat_status} /> {t.status[head.chat_status]}
            <span className="note">{words.totals(count(head.total_tokens), dollars(head.cost))}</span>
            <code className="note">{chat}</code>
          </p>
        )}
        <Tabs label={words.sections} tabs={PARTS.map((name) => ({ name, label: words.tabs[name] }))} chosen={part} onChoose={setPart}>
          {page && part === "timeline" && <TimelineView page={page} />}
          {head && part === "events" && <EventsView chat={head} />}
          {head && part === "compare" && <CompareView chat={head} other={other} />}
          {part === "why" && <Why app={tenant} chat={chat} />}
        </Tabs>
      </div>
    </>
  );
}

function Choose() {
  const t = useTexts();
  const words = t.tracePages;
  const tenant = useStore(app);
  const person = useStore(user);
  const [chat, setChat] = useState("");
  const { value, fault } = useFetched(`${tenant} ${person}`, () => chats(tenant, person, { limit: 30 }));
  return (
    <>
      <PageHead title={t.pages.trace} />
      <div className="page-body">
        <form className="row trace-choose" onSubmit={(event) => { event.preventDefault(); if (chat.trim()) navigate(pageHash("trace", tenant, chat.trim())); }}>
          <input value={chat} onChange={({ target }) => setChat(target.value)} aria-label={words.choose} placeholder={words.choose} spellCheck={false} autoComplete="off" />
          <button type="submit" className="primary">{words.show}</button>
        </form>
        <p className="fault" role="alert">{fault}</p>
        <h2 className="trace-recent">{words.recent}</h2>
        {value?.chats.length === 0 && <p className="note">{words.noRecent}</p>}
        <ul className="recent">
          {value?.chats.map((one) => (
            <li key={one.chat_id}>
              <a href={pageHash("trace", tenant, one.chat_id)}>{one.title || one.chat_id}</a> <span className="note">{one.workflow_name}, {t.status[one.status]}</span>
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}
