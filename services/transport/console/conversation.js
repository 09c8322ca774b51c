/** The middle of the page: a list of entries kept in step with the state. */

import { say } from "./elements.js";
import { drawn } from "./entries.js";
import { hasEarlier, textId } from "./state.js";

const NEAR = 80;

export class Conversation {
  #scroller;
  #list;
  #thinking;
  #jump;
  #earlier;
  #spoken;
  #deeds;
  #shown = new Map();
  #stuck = true;
  #first = 0; // the earliest event that was shown

  constructor({ scroller, list, thinking, jump, spoken, earlier, deeds }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#thinking = thinking;
    this.#jump = jump;
    this.#earlier = earlier;
    this.#spoken = spoken;
    this.#deeds = deeds;
    scroller.addEventListener("scroll", () => this.#scrolled());
    jump.addEventListener("click", () => this.#follow());
    earlier.addEventListener("click", deeds.showEarlier);
  }

  clear() {
    this.#shown.clear();
    this.#list.replaceChildren();
    this.#stuck = true;
    this.#first = 0;
  }

  show(state, thinker, earlier) {
    const entries = withStream(state);
    const isPage = state.first < this.#first;
    const fromEnd = this.#scroller.scrollHeight - this.#scroller.scrollTop;
    this.#first = state.first;
    this.#forget(entries);
    entries.forEach((entry, at) => this.#place(entry, at, entries[at - 1], state.ready && !isPage));
    this.#offerEarlier(state, earlier);
    say(this.#thinking, state.waiting ?? (thinker ? `${thinker} is thinking` : ""));
    this.#thinking.hidden = !thinker && !state.waiting;
    if (this.#stuck) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    else if (isPage) this.#scroller.scrollTop = this.#scroller.scrollHeight - fromEnd;
  }

  #offerEarlier(state, { loading, fault }) {
    const hadFocus = document.activeElement === this.#earlier;
    this.#earlier.hidden = !hasEarlier(state);
    this.#earlier.setAttribute("aria-busy", String(loading));
    say(this.#earlier, earlierWords(loading, fault));
    if (hadFocus && this.#earlier.hidden) this.#scroller.focus();
  }

  #forget(entries) {
    const known = new Set(entries.map(({ id }) => id));
    for (const [id, { node }] of this.#shown) {
      if (known.has(id)) continue;
      node.remove();
      this.#shown.delete(id);
    }
  }

  #place(entry, at, before, live) {
    let shown = this.#shown.get(entry.id);
    if (shown && shown.entry !== entry) shown = this.#changed(shown, entry, live);
    if (!shown) shown = this.#added(entry, live);
    shown.node.classList.toggle("joined", joined(before, entry));
    const there = this.#list.children[at];
    if (there !== shown.node) this.#list.insertBefore(shown.node, there ?? null);
  }

  #added(entry, live) {
    const shown = { ...drawn(entry, this.#deeds), entry };
    this.#shown.set(entry.id, shown);
    if (live) this.#announce(entry);
    return shown;
  }

  #changed(shown, entry, live) {
    const finished = shown.entry.streaming && !entry.streaming;
    if (sameText(shown.entry, entry)) shown.entry = entry;
    else if (shown.takes(entry)) {
      shown.change(entry);
      shown.entry = entry;
    } else {
      shown.node.remove();
      return null;
    }
    if (finished && live) this.#announce(entry);
    return shown;
  }

  /** Whole sentences only: a screen reader should not be read token by token. */
  #announce(entry) {
    if (entry.kind === "text" && !entry.streaming) say(this.#spoken, `${entry.agent}: ${entry.text}`);
    if (entry.kind === "question" && entry.open) say(this.#spoken, `${entry.agent} asks: ${entry.prompt}`);
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#stuck = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#jump.hidden = this.#stuck;
    if (!this.#stuck && scrollTop < NEAR) this.#deeds.showEarlier();
  }

  #follow() {
    this.#stuck = true;
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight });
  }
}

function earlierWords(loading, fault) {
  if (loading) return "Loading earlier messages";
  return fault ? `${fault} Try again` : "Show earlier messages";
}

/** What is being said comes last, until its event gives it a place; after it only what waits to be read. */
function withStream({ entries, stream }) {
  const waiting = entries.filter(({ waits }) => waits);
  const placed = waiting.length > 0 ? entries.filter(({ waits }) => !waits) : entries;
  if (!stream || !stream.text) return [...placed, ...waiting];
  const { agent, text } = stream;
  return [...placed, { id: textId(stream), kind: "text", agent, text, streaming: true, time: "" }, ...waiting];
}

function sameText(one, other) {
  return one.streaming && other.streaming && one.text === other.text && one.agent === other.agent;
}

function joined(before, entry) {
  const voiced = ["text", "tool", "question", "form", "data"];
  return Boolean(before) && voiced.includes(before.kind) && voiced.includes(entry.kind) && before.agent === entry.agent;
}
