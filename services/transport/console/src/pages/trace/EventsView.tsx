/** Every event of a chat as it is stored, with a search. */

import { useDeferredValue, useMemo, useState } from "react";
import { later } from "../../net/api";
import { clock, count } from "../../parts/figures";
import { useFetched } from "../../parts/fetched";
import { JsonView } from "../../parts/JsonView";
import { useTexts } from "../../texts";
import type { EventData } from "../../wire/frames";
import type { ChatHead } from "../../wire/http";
import { useReader } from "./ModelCall";

const PAGE = 500;
const SHOWN = 200;

export function EventsView({ chat }: { chat: ChatHead }) {
  const t = useTexts();
  const words = t.tracePages;
  const person = useReader(chat.user_id);
  const [pages, setPages] = useState(2);
  const [asked, setAsked] = useState("");
  const [shown, setShown] = useState(SHOWN);
  const search = useDeferredValue(asked.trim().toLowerCase());
  const key = `${chat.app_id} ${chat.chat_id} ${person} ${pages}`;
  const { value, fault } = useFetched(key, () => read({ app: chat.app_id, chat: chat.chat_id }, person, pages));
  const events = value ?? [];
  const found = useMemo(() => events.filter((event) => matches(event, search)), [events, search]);
  const isAll = value !== null && (events.at(-1)?.seq ?? 0) >= chat.last_sequence;
  return (
    <section aria-label={words.tabs.events}>
      <p className="row tools">
        <input type="search" value={asked} onChange={({ target }) => setAsked(target.value)} aria-label={words.searchEvents} placeholder={words.searchEvents} data-testid="search-events" />
        <span className="note" role="status" data-testid="events-found">{words.events(count(found.length), count(chat.last_sequence))}</span>
        {value !== null && !isAll && <button type="button" className="plain" onClick={() => setPages((known) => known * 2)}>{words.moreEvents}</button>}
      </p>
      {fault && <p className="fault" role="alert">{fault}. {person === chat.user_id ? "" : words.otherUser}</p>}
      <ol className="events">
        {found.slice(0, shown).map((event) => (
          <li key={event.seq} data-testid="event">
            <details>
              <summary><span className="number">{event.seq}</span> <code>{event.type}</code> <span className="note">{clock(event.time)} {event.actor}</span></summary>
              <JsonView label={`${event.seq} ${event.type}`} value={event.body} />
            </details>
          </li>
        ))}
      </ol>
      {found.length > shown && <button type="button" className="plain" onClick={() => setShown((known) => known + SHOWN)}>{t.more}</button>}
    </section>
  );
}

async function read(place: { app: string; chat: string }, person: string, pages: number): Promise<EventData[]> {
  const events: EventData[] = [];
  let after = 0;
  for (let page = 0; page < pages; page += 1) {
    const found = await later(place, person, after, PAGE, true);
    events.push(...found.frames.filter((frame) => frame.type === "chat.event").map((frame) => frame.data as unknown as EventData));
    const last = found.last_sequence;
    if (last <= after) break;
    after = last;
  }
  return events;
}

function matches(event: EventData, search: string): boolean {
  return !search || `${event.seq} ${event.type} ${event.actor} ${JSON.stringify(event.body)}`.toLowerCase().includes(search);
}
