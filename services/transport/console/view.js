/** The page as a whole: what is known, shown in its places. */

import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { say } from "./elements.js";
import { EventPanel } from "./events.js";
import { Sidebar } from "./sidebar.js";
import { canRetry, openQuestion, statusOf, thinker } from "./state.js";

const CHAT_WORDS = {
  loading: "Loading", running: "Working", waiting: "Waiting for you", your_turn: "Your turn",
  completed: "Completed", failed: "Failed", cancelled: "Cancelled",
};
const ENDED = ["completed", "failed", "cancelled"];

const at = (id) => document.getElementById(id);

export class View {
  #conversation;
  #composer;
  #events;
  #sidebar;

  constructor(deeds) {
    this.#conversation = new Conversation({
      scroller: at("scroller"), list: at("entries"), thinking: at("thinking"), jump: at("jump"), spoken: at("spoken"),
      earlier: at("earlier"), deeds,
    });
    this.#composer = new Composer({
      form: at("composer-form"), input: at("composer"), send: at("send"), hint: at("hint"), deed: deeds.speak,
    });
    this.#events = new EventPanel({
      panel: at("events"), list: at("event-list"), count: at("event-count"), empty: at("event-empty"),
      follow: at("follow"), filters: document.getElementsByName("category"),
    });
    this.#sidebar = new Sidebar({ parts: sidebarParts(), deeds });
    at("retry").addEventListener("click", () => this.#retry(deeds));
    at("cancel").addEventListener("click", () => this.#cancel(deeds));
    at("stop").addEventListener("click", () => this.#stop(deeds));
    at("status").addEventListener("click", deeds.reconnect);
    at("again").addEventListener("click", deeds.beginAgain);
    this.#drawers();
  }

  get sidebar() {
    return this.#sidebar;
  }

  /** Another chat, or none, is being looked at. */
  turnTo(place) {
    document.body.dataset.chat = place ? "open" : "none";
    document.body.dataset.drawer = "";
    document.title = place ? `${place.workflow} · MozaiksAI` : "MozaiksAI console";
    this.#conversation.clear();
    this.#events.clear();
    this.#composer.reset();
    at("cancel").disabled = false;
    say(at("cancel"), "Cancel");
    say(at("title"), place?.workflow ?? "");
    if (place) this.#composer.focus();
  }

  show(state, card, title, earlier) {
    const status = statusOf(state);
    this.#conversation.show(state, thinker(state), earlier);
    this.#events.show(state);
    const closed = ENDED.includes(status) && !state.end?.resumable;
    this.#composer.show({ closed, placeholder: placeholderFor(state, status) });
    showHeader(state, status, title);
    showStop(status);
    at("retry").hidden = !canRetry(state);
    at("demo").hidden = !card?.demo;
    say(at("intro"), card?.initial_message_to_user ?? "");
    at("intro").hidden = !card?.initial_message_to_user || state.first > 1;
    at("dropped").hidden = state.entriesDropped === 0;
    say(at("dropped"), `${state.entriesDropped} earlier entries are not shown.`);
  }

  showConnection({ state, seconds, reason }) {
    const words = {
      connecting: "Connecting", connected: "Connected", offline: "Offline", closed: "Chat ended",
      waiting: `Reconnecting in ${seconds} s`, refused: reason || "Refused",
    };
    document.body.dataset.connection = state;
    const chip = at("status");
    chip.dataset.state = state === "waiting" ? "reconnecting" : state;
    chip.disabled = !["waiting", "offline"].includes(state);
    chip.title = chip.disabled ? "" : "Try now";
    say(at("status-text"), words[state]);
  }

  async #stop(deeds) {
    const button = at("stop");
    button.disabled = true;
    say(button, "Stopping");
    try {
      await deeds.stop();
    } catch (error) {
      deeds.complain(error.message);
      ready(button);
    }
  }

  async #retry(deeds) {
    const button = at("retry");
    button.disabled = true;
    try {
      await deeds.retry();
    } catch (error) {
      deeds.complain(error.message);
    }
    button.disabled = false;
  }

  async #cancel(deeds) {
    const button = at("cancel");
    button.disabled = true;
    say(button, "Cancelling");
    try {
      await deeds.cancel();
    } catch (error) {
      deeds.complain(error.message);
      button.disabled = false;
      say(button, "Cancel");
    }
  }

  #drawers() {
    const panel = at("toggle-events");
    const wide = window.matchMedia("(min-width: 1100px)");
    const show = (open) => {
      document.body.dataset.events = open ? "open" : "closed";
      panel.setAttribute("aria-expanded", String(open));
      this.#events.revealed();
    };
    const kept = localStorage.getItem("mozaiks.events");
    show(wide.matches && kept !== "closed");
    wide.addEventListener("change", () => { if (!wide.matches) show(false); });
    const toggle = () => {
      const open = document.body.dataset.events !== "open";
      show(open);
      if (wide.matches) localStorage.setItem("mozaiks.events", open ? "open" : "closed");
    };
    panel.addEventListener("click", toggle);
    at("close-events").addEventListener("click", toggle);
    const drawer = (open) => { document.body.dataset.drawer = open ? "open" : ""; };
    at("menu").addEventListener("click", () => drawer(document.body.dataset.drawer !== "open"));
    at("shade").addEventListener("click", () => drawer(false));
    document.addEventListener("keydown", ({ key }) => { if (key === "Escape") drawer(false); });
  }
}

function showHeader(state, status, title) {
  const chip = at("chat-status");
  chip.dataset.status = status;
  say(chip, CHAT_WORDS[status]);
  say(at("subtitle"), title);
  say(at("tokens"), state.tokens ? `${Math.round(state.tokens).toLocaleString()} tokens` : "");
  at("cancel").hidden = ENDED.includes(status) || status === "loading";
  at("again").hidden = !ENDED.includes(status);
  document.body.dataset.turn = ["waiting", "your_turn"].includes(status) ? "yours" : "";
}

/** There while an answer is running; the next answer finds it as new. */
function showStop(status) {
  const button = at("stop");
  if (status !== "running" && button.contains(document.activeElement)) at("composer").focus({ preventScroll: true });
  button.hidden = status !== "running";
  if (button.hidden) ready(button);
}

function ready(button) {
  button.disabled = false;
  say(button, "Stop");
}

function placeholderFor(state, status) {
  if (state.end?.resumable) return "Write a message, or retry";
  if (ENDED.includes(status)) return "This chat has ended";
  const question = openQuestion(state);
  if (question) return `Answer ${question.agent}`;
  return status === "your_turn" ? "Your turn" : "Write a message";
}

function sidebarParts() {
  return {
    workflows: at("workflows"), workflowsNote: at("workflows-note"), problems: at("problems"),
    problemsTitle: at("problems-title"), problemsList: at("problems-list"), chats: at("chats"), chatsNote: at("chats-note"),
  };
}
