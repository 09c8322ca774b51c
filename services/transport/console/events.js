/** The side panel: the chat's events as they are appended. */

import { el, exactClock, say } from "./elements.js";
import { jsonOf } from "./prose.js";

const NEAR = 40;

export class EventPanel {
  #panel;
  #list;
  #count;
  #follow;
  #rows = new Map();
  #empty;

  constructor({ panel, list, count, empty, follow, filters }) {
    this.#panel = panel;
    this.#list = list;
    this.#count = count;
    this.#empty = empty;
    this.#follow = follow;
    follow.addEventListener("change", () => this.#toEnd());
    list.addEventListener("wheel", () => this.#unfollowAbove(), { passive: true });
    list.addEventListener("keydown", () => this.#unfollowAbove());
    list.addEventListener("touchmove", () => this.#unfollowAbove(), { passive: true });
    for (const filter of filters) filter.addEventListener("change", () => this.#filter(filter.value));
  }

  clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#follow.checked = true;
  }

  show({ events, eventCount }) {
    const first = events[0]?.seq ?? 0;
    const fromEnd = this.#list.scrollHeight - this.#list.scrollTop;
    this.#forgetBefore(first);
    const shown = this.#list.firstChild;
    const firstShown = Number(shown?.dataset.seq ?? Infinity);
    const fresh = events.filter(({ seq }) => !this.#rows.has(seq));
    for (const event of fresh) this.#rows.set(event.seq, row(event));
    for (const { seq } of fresh) this.#list.insertBefore(this.#rows.get(seq), seq < firstShown ? shown : null);
    if (first < firstShown && shown) this.#list.scrollTop = this.#list.scrollHeight - fromEnd;
    const hidden = eventCount - events.length;
    say(this.#count, hidden > 0 ? `${eventCount} (newest ${events.length} shown)` : String(eventCount));
    this.#empty.hidden = eventCount > 0;
    if (fresh.length > 0) this.#toEnd();
  }

  /** Rows that were scrolled out of a long chat are let go with the state's own. */
  #forgetBefore(first) {
    for (const [seq, node] of this.#rows) {
      if (seq >= first) continue; // rows of an earlier page come after later ones in the map
      node.remove();
      this.#rows.delete(seq);
    }
  }

  /** A list that was not laid out could not be scrolled either. */
  revealed() {
    this.#toEnd();
  }

  #toEnd() {
    if (this.#follow.checked) this.#list.scrollTop = this.#list.scrollHeight;
  }

  #unfollowAbove() {
    requestAnimationFrame(() => {
      const { scrollTop, scrollHeight, clientHeight } = this.#list;
      this.#follow.checked = scrollHeight - scrollTop - clientHeight < NEAR;
    });
  }

  #filter(category) {
    this.#panel.dataset.filter = category;
    this.#toEnd();
  }
}

function row(event) {
  const { seq, type, actor, time, category } = event;
  const body = el("div.event-body");
  const node = el("details.event", { "data-testid": "event-row", "data-seq": String(seq), "data-category": category, "data-type": type },
    el("summary", {}, el("span.seq", {}, String(seq)), el("span.type", {}, type),
      el("span.actor", {}, actor), el("time", { datetime: time }, exactClock(time))), body);
  node.addEventListener("toggle", () => {
    if (node.open && !body.firstChild) body.append(facts(event), jsonOf(event.body));
  });
  return node;
}

function facts({ version, category, cause }) {
  return el("p.facts", {}, `${category} · version ${version}`, cause ? ` · caused by ${cause}` : "");
}
