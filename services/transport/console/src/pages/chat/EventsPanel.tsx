/** The side panel: the chat's events as they are appended. */

import { memo, useEffect, useLayoutEffect, useRef, useState } from "react";
import type { State } from "../../chat/state";
import { exactClock } from "../../parts/format";
import { Icon } from "../../parts/Icon";
import { Json } from "../../parts/Json";
import { useTexts } from "../../texts";
import type { EventData } from "../../wire/frames";

const NEAR = 40;
const CATEGORIES = ["all", "runtime", "ui", "business"] as const;

export const EventsPanel = memo(function EventsPanel({ state, onClose }: { state: State; onClose: () => void }) {
  const t = useTexts();
  const { events, eventCount } = state;
  const [follows, setFollows] = useState(true);
  const [category, setCategory] = useState<(typeof CATEGORIES)[number]>("all");
  const list = useRef<HTMLDivElement>(null);
  const first = useRef(events[0]?.seq ?? 0);
  const fromEnd = useRef(0);
  useLayoutEffect(() => {
    const box = list.current;
    if (!box) return;
    if (follows) box.scrollTop = box.scrollHeight;
    else if ((events[0]?.seq ?? 0) < first.current) box.scrollTop = box.scrollHeight - fromEnd.current;
    first.current = events[0]?.seq ?? 0;
    fromEnd.current = box.scrollHeight - box.scrollTop;
  }, [events, follows, category]);
  useEffect(() => {
    const box = list.current;
    const look = () => requestAnimationFrame(() => {
      if (!box) return;
      fromEnd.current = box.scrollHeight - box.scrollTop;
      setFollows(box.scrollHeight - box.scrollTop - box.clientHeight < NEAR);
    });
    for (const kind of ["wheel", "keydown", "touchmove"]) box?.addEventListener(kind, look, { passive: true });
    return () => {
      for (const kind of ["wheel", "keydown", "touchmove"]) box?.removeEventListener(kind, look);
    };
  }, []);
  const hidden = eventCount - events.length;
  const shown = category === "all" ? events : events.filter((event) => event.category === category);
  return (
    <aside className="events" aria-label={t.chat.events}>
      <header>
        <h2>{t.chat.events}</h2>
        <span className="count" data-testid="event-count">{hidden > 0 ? t.chat.eventsShown(eventCount, events.length) : String(eventCount)}</span>
        <label className="follow"><input type="checkbox" data-testid="follow" checked={follows} onChange={({ target }) => setFollows(target.checked)} /> {t.chat.follow}</label>
        <button type="button" className="icon" aria-label={t.chat.closeEvents} onClick={onClose}><Icon name="close" /></button>
      </header>
      <fieldset className="filters">
        <legend className="unseen">{t.chat.category}</legend>
        {CATEGORIES.map((name) => (
          <label key={name}><input type="radio" name="category" value={name} checked={category === name} onChange={() => setCategory(name)} /><span>{t.chat.categories[name]}</span></label>
        ))}
      </fieldset>
      {eventCount === 0 && <p className="note">{t.chat.noEvents}</p>}
      <div className="event-list" ref={list} tabIndex={0} role="region" aria-label={t.chat.events}>{shown.map((event) => <Row key={event.seq} event={event} />)}</div>
    </aside>
  );
});

const Row = memo(function Row({ event }: { event: EventData }) {
  const t = useTexts();
  const [open, setOpen] = useState(false);
  const { seq, type, actor, time, category, version, cause, body } = event;
  return (
    <details className="event" data-testid="event-row" data-seq={seq} data-category={category} data-type={type} onToggle={({ currentTarget }) => setOpen(currentTarget.open)}>
      <summary><span className="seq">{seq}</span><span className="type">{type}</span><span className="actor">{actor}</span><time dateTime={time}>{exactClock(time)}</time></summary>
      {open && <div className="event-body"><p className="facts">{t.chat.eventFacts(category, version, cause)}</p><Json value={body} /></div>}
    </details>
  );
});
