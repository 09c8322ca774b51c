/** The timeline of a chat, and the details of the entry that is chosen. */

import { useState } from "react";
import { explain } from "../../net/api";
import { timeline } from "../../net/operators";
import { useFetched } from "../../parts/fetched";
import { clock, count, dollars, moment, seconds } from "../../parts/figures";
import { sentenceOf, user } from "../../session/session";
import { useTexts } from "../../texts";
import type { ChatHead, ProviderWait, TimelineEntry, TimelinePage } from "../../wire/http";
import { ModelCall } from "./ModelCall";
import { filtered, keyOf, openCall, spansOf, traceAddress, withWait, type Filter, type Span } from "./spans";

const EXPLAINED_EVERY = 5_000;
const FILTERS: Filter[] = ["all", "calls", "slow", "failures"];

export function TimelineView({ page }: { page: TimelinePage }) {
  const t = useTexts();
  const words = t.tracePages;
  const [filter, setFilter] = useState<Filter>("all");
  const [chosen, setChosen] = useState<string | null>(null);
  const [before, setBefore] = useState<TimelinePage[]>([]);
  const [fault, setFault] = useState("");
  const told = [...before.flatMap((one) => one.entries), ...page.entries];
  const entries = withWait(told, useWait(page.chat, openCall(told) !== null));
  const spans = filtered(spansOf(entries, Date.now()), filter);
  const earliest = (before[0] ?? page).earlier;
  const entry = entries.find((one) => keyOf(one) === chosen) ?? null;

  const readEarlier = async () => {
    try {
      const found = await timeline({ app: page.chat.app_id, chat: page.chat.chat_id }, earliest);
      setBefore((known) => [found, ...known]);
    } catch (error) {
      setFault(sentenceOf(error));
    }
  };
  return (
    <div className="trace">
      <section aria-label={words.tabs.timeline}>
        <p className="row tools">
          <label htmlFor="filter">{words.filter}</label>
          <select id="filter" value={filter} onChange={({ target }) => setFilter(target.value as Filter)} data-testid="filter">
            {FILTERS.map((name) => <option key={name} value={name}>{words.filters[name]}</option>)}
          </select>
          {earliest !== null && <button type="button" className="plain" onClick={() => void readEarlier()}>{words.earlier}</button>}
        </p>
        <p className="fault" role="alert">{fault}</p>
        <ol className="spans" data-testid="spans">
          {spans.map((span) => <Row key={keyOf(span.entry)} span={span} isChosen={span.entry === entry} onChoose={() => setChosen(keyOf(span.entry))} />)}
        </ol>
      </section>
      <section className="panel trace-details" aria-label={words.details} aria-live="polite">
        {entry ? <Details key={chosen} entry={entry} page={page} /> : <p className="note">{words.chooseEntry}</p>}
      </section>
    </div>
  );
}

/** What the model call that goes on waits for, as the orchestrator knows it. */
function useWait({ app_id, chat_id }: ChatHead, goesOn: boolean): ProviderWait | null | undefined {
  const asked = useFetched(goesOn ? `${app_id} ${chat_id}` : null, () => explain({ app: app_id, chat: chat_id }, user.get()), EXPLAINED_EVERY);
  return asked.value?.account.provider_wait;
}

function Row({ span, isChosen, onChoose }: { span: Span; isChosen: boolean; onChoose: () => void }) {
  const t = useTexts();
  const words = t.tracePages;
  const { entry, left, width } = span;
  const time = entry.ended_at ? (entry.ended_at === entry.started_at ? "" : seconds(span.seconds)) : words.running;
  return (
    <li>
      <button
        type="button" className="span" data-kind={entry.kind} data-failed={entry.is_failure || undefined} data-depth={span.depth}
        aria-pressed={isChosen} onClick={onChoose} data-testid="span" data-seq={entry.seq}
      >
        <span className="span-kind">{words.kinds[entry.kind]}</span>
        <span className="span-name">{entry.name}</span>
        <span className="span-bar" aria-hidden="true"><i style={{ insetInlineStart: `${left * 100}%`, width: `max(3px, ${width * 100}%)` }} /></span>
        <span className="span-time">{time}</span>
      </button>
    </li>
  );
}

function Details({ entry, page }: { entry: TimelineEntry; page: TimelinePage }) {
  const t = useTexts();
  const words = t.tracePages;
  const address = traceAddress(page.trace_url, entry.trace_id);
  const took = entry.ended_at ? seconds((Date.parse(entry.ended_at) - Date.parse(entry.started_at)) / 1000) : words.running;
  const { prompt_tokens: prompt, completion_tokens: completion } = entry;
  return (
    <>
      <h2>{words.kinds[entry.kind]}: {entry.name}</h2>
      <dl className="facts">
        <dt>{words.at}</dt><dd>{moment(entry.started_at)}</dd>
        <dt>{words.took}</dt><dd>{took}</dd>
        {entry.agent && <><dt>{words.agent}</dt><dd>{entry.agent}</dd></>}
        {entry.outcome && <><dt>{words.outcome}</dt><dd>{entry.outcome}</dd></>}
        {typeof entry.attempt === "number" && <><dt>{words.attempt}</dt><dd>{entry.attempt}</dd></>}
        {typeof prompt === "number" && <><dt>{words.tokens}</dt><dd>{words.tokensOf(count(prompt), count(completion ?? 0))}</dd></>}
        {typeof entry.cost === "number" && <><dt>{words.cost}</dt><dd>{dollars(entry.cost)}</dd></>}
        {typeof entry.time_to_first_chunk === "number" && <><dt>{words.firstChunk}</dt><dd>{seconds(entry.time_to_first_chunk)}</dd></>}
        {entry.trace_id && <><dt>{words.traceId}</dt><dd>{address ? <a href={address} target="_blank" rel="noreferrer">{words.traceLink}</a> : <code>{entry.trace_id}</code>}</dd></>}
      </dl>
      {entry.cached && <p><span className="badge">{words.cached}</span></p>}
      {entry.kind === "model_call" && <ModelCall app={page.chat.app_id} chat={page.chat.chat_id} owner={page.chat.user_id} seq={entry.seq} />}
      <p className="note">{clock(entry.started_at)}, #{entry.seq}</p>
    </>
  );
}
