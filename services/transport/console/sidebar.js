/** The left of the page: which workflows there are, and which chats. */

import { clock, el, say } from "./elements.js";

const STATUS_OF_NUMBER = { 0: "running", 1: "completed", 2: "failed", 3: "cancelled" };
const STATUS_WORDS = {
  running: "running", waiting: "waiting for an answer", completed: "completed", failed: "failed", cancelled: "cancelled",
};

export class Sidebar {
  #parts;
  #deeds;
  #shown = new Map();

  constructor({ parts, deeds }) {
    this.#parts = parts;
    this.#deeds = deeds;
  }

  showWorkflows(cards) {
    if (this.#isShown("workflows", cards)) return;
    const known = Object.entries(cards);
    this.#parts.workflows.replaceChildren(...known.map(([name, card]) => this.#card(name, card)));
    say(this.#parts.workflowsNote, known.length > 0 ? "" : "No workflow is loaded yet.");
  }

  showProblems(problems) {
    const broken = Object.entries(problems);
    this.#parts.problems.hidden = broken.length === 0;
    say(this.#parts.problemsTitle, broken.length === 1 ? "1 workflow did not load" : `${broken.length} workflows did not load`);
    this.#parts.problemsList.replaceChildren(...broken.map(([name, lines]) =>
      el("li", {}, el("strong", {}, name), el("ul", {}, ...lines.map((line) => el("li", {}, line))))));
  }

  /** `words` are those that the chats were searched for. */
  showChats(chats, current, words = "") {
    if (this.#isShown("chats", [chats, current, words])) return;
    this.#parts.chats.replaceChildren(...chats.map((chat) => this.#chat(chat, current)));
    say(this.#parts.chatsNote, chats.length > 0 ? "" : words ? "No chat has these words." : "Nothing yet. Start one above.");
  }

  workflowsFault(message) {
    this.#shown.delete("workflows");
    say(this.#parts.workflowsNote, message);
  }

  chatsFault(message) {
    this.#shown.delete("chats");
    say(this.#parts.chatsNote, message);
  }

  /** What has not changed is left alone, with the focus that may rest on it. */
  #isShown(what, value) {
    const text = JSON.stringify(value);
    const same = this.#shown.get(what) === text;
    this.#shown.set(what, text);
    return same;
  }

  #card(name, card) {
    const note = el("span.card-fault", { role: "alert" });
    const button = el("button.workflow", { type: "button", "data-testid": `new-chat-${name}`, "aria-label": `New chat with ${name}` },
      el("span.workflow-name", {}, name, card.demo ? el("span.badge", {}, "demo model") : ""),
      card.description ? el("span.workflow-text", {}, card.description) : "",
      el("span.agents", {}, ...(card.agents ?? []).map((agent) => el("span", {}, agent))), note);
    button.addEventListener("click", () => this.#begin(button, note, name));
    return button;
  }

  async #begin(button, note, name) {
    button.disabled = true;
    say(note, "");
    try {
      await this.#deeds.begin(name);
    } catch (error) {
      say(note, error.message);
    }
    button.disabled = false;
  }

  #chat(chat, current) {
    const status = STATUS_OF_NUMBER[chat.status] ?? chat.status;
    const title = chat.title || chat.workflow_name;
    return el("div.chat-row", {}, this.#link(chat, current, status, title), this.#menu(chat, title));
  }

  #link(chat, current, status, title) {
    return el("a.chat", {
      href: this.#deeds.linkTo(chat), "data-testid": "chat-item", "data-chat": chat.chat_id,
      "aria-current": chat.chat_id === current ? "page" : null,
    },
    el("span.dot", { "data-status": status, title: STATUS_WORDS[status] ?? status }),
    el("span.chat-title", {}, title),
    el("span.chat-facts", {}, chat.title ? `${chat.workflow_name} · ` : "", when(chat.last_updated_at ?? chat.created_at)),
    chat.excerpt ? el("span.chat-facts", { "data-testid": "excerpt" }, chat.excerpt) : "",
    el("span.unseen", {}, `, ${STATUS_WORDS[status] ?? status}`));
  }

  #menu(chat, title) {
    const note = el("span.card-fault", { role: "alert" });
    const act = (deed) => deed().catch(({ message }) => say(note, message));
    const button = (words, deed) =>
      el("button.plain", { type: "button", "aria-label": `${words} ${title}`, onclick: () => act(deed) }, words);
    return el("details.chat-menu", { "data-testid": "chat-menu" },
      el("summary", { "aria-label": `Rename, archive or delete ${title}`, title: "Rename, archive, delete" }, "⋯"),
      el("div.chat-deeds", {},
        button("Rename", async () => {
          const named = window.prompt("Title of the chat", title)?.trim();
          if (named) await this.#deeds.rename(chat, named);
        }),
        button("Archive", () => this.#deeds.archive(chat)),
        button("Delete", async () => {
          if (window.confirm(SURE)) await this.#deeds.remove(chat);
        }), note));
  }
}

/** What is asked before a chat is deleted. */
const SURE = "Delete this chat? Its answer is stopped, and after a while it is erased.";

function when(time) {
  const instant = new Date(time);
  if (Number.isNaN(instant.valueOf())) return "";
  const today = new Date().toDateString() === instant.toDateString();
  return today ? clock(time) : instant.toLocaleDateString([], { day: "numeric", month: "short" });
}
