/** The middle of the page: a list of entries kept in step with the state. */

import { say } from "./elements.js";
import { drawn } from "./entries.js";
import { textId } from "./state.js";

const NEAR = 80;

export class Conversation {
  #scroller;
  #list;
  #thinking;
  #jump;
  #spoken;
  #deeds;
  #shown = new Map();
  #stuck = true;

  constructor({ scroller, list, thinking, jump, spoken, deeds }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#thinking = thinking;
    this.#jump = jump;
    this.#spoken = spoken;
    this.#deeds = deeds;
    scroller.addEventListener("scroll", () => this.#scrolled());
    jump.addEventListener("click", () => this.#follow());
  }

  clear() {
    this.#shown.clear();
    this.#list.replaceChildren();
    this.#stuck = true;
  }

  show(state, thinker) {
    const entries = withStream(state);
    this.#forget(entries);
    entries.forEach((entry, at) => this.#place(entry, at, entries[at - 1], state.ready));
    say(this.#thinking, thinker ? `${thinker} is thinking` : "");
    this.#thinking.hidden = !thinker;
    if (this.#stuck) this.#scroller.scrollTop = this.#scroller.scrollHeight;
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
  }

  #follow() {
    this.#stuck = true;
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight });
  }
}

/** What is being said comes last, until its event gives it a place. */
function withStream({ entries, stream }) {
  if (!stream || !stream.text) return entries;
  const { agent, text } = stream;
  return [...entries, { id: textId(stream), kind: "text", agent, text, streaming: true, time: "" }];
}

function sameText(one, other) {
  return one.streaming && other.streaming && one.text === other.text && one.agent === other.agent;
}

function joined(before, entry) {
  const voiced = ["text", "tool", "question", "form", "data"];
  return Boolean(before) && voiced.includes(before.kind) && voiced.includes(entry.kind) && before.agent === entry.agent;
}
