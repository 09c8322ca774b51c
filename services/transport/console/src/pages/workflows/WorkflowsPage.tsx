/** The workflows that can be started: `#workflows`, and one of them: `#workflows/name`, with a chat that it follows. */

import { useState } from "react";
import type { PageProps } from "../../app/App";
import { PageHead } from "../../app/Layout";
import { chatHash, navigate, pageHash } from "../../app/router";
import { useStore } from "../../app/store";
import * as api from "../../net/api";
import { picture, source } from "../../net/operators";
import { useFetched } from "../../parts/fetched";
import { Tabs } from "../../parts/Tabs";
import { app, useIsOperatorOfAll, user, workflows } from "../../session/session";
import { useTexts } from "../../texts";
import type { WorkflowConfig } from "../../wire/http";
import { useMoment } from "./follow";
import { Picture } from "./Picture";
import { Playground } from "./Playground";
import { Prompts } from "./Prompts";
import { StartForm } from "./StartForm";
import "../../style/panels.css";
import "./workflows.css";

export default function WorkflowsPage({ segments }: PageProps) {
  const [name, chat] = segments;
  return name ? <Details key={name} name={name} chat={chat ?? null} /> : <Catalogue />;
}

function Catalogue() {
  const t = useTexts();
  const words = t.workflowPages;
  const { cards, problems, fault, loaded } = useStore(workflows);
  const shown = Object.values(cards);
  const broken = Object.keys(problems).filter((name) => !(name in cards));
  return (
    <>
      <PageHead title={t.pages.workflows} />
      <div className="page-body">
        <p className="fault" role="alert">{fault}</p>
        {loaded && shown.length === 0 && <p className="note">{words.none}</p>}
        <ul className="cards">
          {shown.map((card) => <Card key={card.name} card={card} problems={problems[card.name] ?? []} />)}
          {broken.map((name) => (
            <li key={name} className="card" data-testid="workflow-card" data-name={name}>
              <h2>{name}</h2>
              <p className="chips"><span className="badge" data-tone="bad">{words.notLoaded}</span></p>
              <Problems lines={problems[name] ?? []} />
            </li>
          ))}
        </ul>
      </div>
    </>
  );
}

function Card({ card, problems }: { card: WorkflowConfig; problems: string[] }) {
  const t = useTexts();
  const words = t.workflowPages;
  return (
    <li className="card" data-testid="workflow-card" data-name={card.name}>
      <h2><a href={pageHash("workflows", card.name)}>{card.name}</a></h2>
      <p>{card.description}</p>
      <Badges card={card} />
      {problems.length > 0 && <><p className="note">{words.problems}. {words.keptVersion}</p><Problems lines={problems} /></>}
    </li>
  );
}

function Badges({ card }: { card: WorkflowConfig }) {
  const t = useTexts();
  const words = t.workflowPages;
  return (
    <p className="chips">
      <span className="badge">{words.agents(card.agents.length)}</span>
      <span className="badge">{words.tools(Object.keys(card.tools).length)}</span>
      <span className="badge">{card.model}</span>
      <span className="badge">{words.begins[card.startup_mode]}</span>
      {card.pattern !== "DefaultPattern" && <span className="badge">{card.pattern}</span>}
      {card.version && <span className="badge" title={words.version}>{card.version}</span>}
    </p>
  );
}

function Problems({ lines }: { lines: string[] }) {
  return <ul className="problems">{lines.map((line) => <li key={line}>{line}</li>)}</ul>;
}

type Part = "picture" | "prompts" | "start" | "playground";

function Details({ name, chat }: { name: string; chat: string | null }) {
  const t = useTexts();
  const words = t.workflowPages;
  const seesSource = useIsOperatorOfAll();
  const { cards, problems } = useStore(workflows);
  const card = cards[name];
  const drawn = useFetched(name, () => picture(name));
  const written = useFetched(seesSource ? name : null, () => source(name));
  const [part, setPart] = useState<Part>("picture");
  const parts: Part[] = seesSource ? ["picture", "prompts", "start", "playground"] : ["picture", "start"];
  return (
    <>
      <PageHead title={name}>
        <span className="page-tools"><a className="plain" href={pageHash("workflows")}>{words.back}</a></span>
      </PageHead>
      <div className="page-body">
        <p className="fault" role="alert">{drawn.fault}</p>
        {card && <div className="lead"><p>{card.description}</p><Badges card={card} /></div>}
        {problems[name] && <Problems lines={problems[name]} />}
        <Tabs label={words.sections} tabs={parts.map((one) => ({ name: one, label: words.tabs[one] }))} chosen={part} onChoose={setPart}>
          {part === "picture" && drawn.value && <Followed name={name} chat={chat} graph={drawn.value.graph} card={card} />}
          {part === "start" && drawn.value && <StartForm workflow={name} settable={drawn.value.settable} source={written.value} />}
          {(part === "prompts" || part === "playground") && <p className="fault" role="alert">{written.fault}</p>}
          {part === "prompts" && written.value && <Prompts source={written.value} />}
          {part === "playground" && written.value && <Playground source={written.value} />}
        </Tabs>
      </div>
    </>
  );
}

const LISTED_EVERY = 10_000;

function Followed({ name, chat, graph, card }: {
  name: string; chat: string | null; graph: Parameters<typeof Picture>[0]["graph"]; card: WorkflowConfig | undefined;
}) {
  const t = useTexts();
  const words = t.workflowPages;
  const tenant = useStore(app);
  const person = useStore(user);
  const place = chat ? { app: tenant, workflow: name, chat } : null;
  const moment = useMoment(place);
  const list = useFetched(`${tenant} ${person} ${name}`, () => api.chats(tenant, person, { workflow: [name], limit: 20 }), LISTED_EVERY);
  return (
    <>
      <div className="row follow">
        <label htmlFor="follow">{words.live}</label>
        <select id="follow" value={chat ?? ""} onChange={({ target }) => navigate(pageHash("workflows", name, ...(target.value ? [target.value] : [])))} data-testid="follow">
          <option value="">{words.noLive}</option>
          {chat && !list.value?.chats.some((one) => one.chat_id === chat) && <option value={chat}>{chat}</option>}
          {list.value?.chats.map((one) => <option key={one.chat_id} value={one.chat_id}>{one.title || one.chat_id} ({t.status[one.status]})</option>)}
        </select>
        {place && <a className="plain" href={chatHash(place)}>{words.openChat}</a>}
        {place && <a className="plain" href={pageHash("trace", place.app, place.chat)}>{words.openTrace}</a>}
      </div>
      <Picture name={name} graph={graph} card={card} moment={moment} />
    </>
  );
}
