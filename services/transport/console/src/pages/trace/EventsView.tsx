/** Every event of a chat as it is stored, with a search. */

import { useDeferredValue, useMemo, useRef, useState } from "react";
import { earlier } from "../../net/api";
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
  const key = `${chat.app_id} ${chat.chat_id} ${person} ${pages} ${chat.last_sequence}`;
  const { value, fault } = useFetched(key, () => read({ app: chat.app_id, chat: chat.chat_id }, person, chat.last_sequence, pages));
  const kept = useRef<EventData[]>([]); // while newer events are read
  if (value) kept.current = value;
  const events = kept.current;
  const found = useMemo(() => events.filter((event) => matches(event, search)), [events, search]);
  const isAll = (events[0]?.seq ?? 1) <= 1;
  return (
    <section aria-label={words.tabs.events}>
      <p className="row tools">
        <input type="search" value={asked} onChange={({ target }) => setAsked(target.value)} aria-label={words.searchEvents} placeholder={words.searchEvents} data-testid="search-events" />
        <span className="note" role="status" data-testid="events-found">{words.events(count(found.length), count(chat.last_sequence))}</span>
        {!isAll && <button type="button" className="plain" onClick={() => setPages((known) => known * 2)}>{words.moreEvents}</button>}
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

/** The newest events, in their order; `pages` of PAGE events each. */
async function read(place: { app: string; chat: string }, person: string, last: number, pages: number): Promise<EventData[]> {
  const events: EventData[] = [];
  let before = last + 1;
  for (let page = 0; page < pages && before > 1; page += 1) {
    const found = await earlier(place, person, before, PAGE, true);
    events.unshift(...found.frames.filter((frame) => frame.type === "chat.event").map((frame) => frame.data as unknown as EventData));
    before = found.first_sequence;
  }
  return events;
}

function matches(event: EventData, search: string): boolean {
  return !search || `${event.seq} ${event.type} ${event.actor} ${JSON.stringify(event.body)}`.toLowerCase().includes(search);
}
