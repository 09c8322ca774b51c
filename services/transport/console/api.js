/** What the page asks of the server, and says to it, over HTTP. */

import { headersOf } from "./signin.js";

const PATIENCE = 15_000;
const HOW_TO_SIGN_IN = "Open the console with #access_token=... behind its address.";

/** The server said no: `detail` is its sentence. */
export class RefusalError extends Error {
  constructor(status, detail, code = null) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export const me = () => ask("GET", ["api", "me"]);

export const workflows = () => ask("GET", ["api", "workflows"]);

export const diagnostics = () => ask("GET", ["api", "workflows", "diagnostics"]);

export const sessions = (app, user) => ask("GET", ["api", "sessions", "list", app, user]);

/** Chats whose title, or one message, has all the words. */
export const search = (app, user, words) =>
  ask("GET", ["api", "users", app, user, "chats"], undefined, { search: words, limit: 50 });

export const rename = ({ app, chat }, user, title) =>
  ask("POST", ["api", "chats", app, chat, "rename"], { user_id: user, title });

export const archive = ({ app, chat }, user) =>
  ask("POST", ["api", "chats", app, chat, "archive"], { user_id: user });

export const remove = ({ app, chat }, user) =>
  ask("DELETE", ["api", "chats", app, chat], undefined, { user_id: user });

/** `request` names this wish: told twice, it is still one chat. */
export const start = (app, workflow, user, request) =>
  ask("POST", ["api", "chats", app, workflow, "start"], {
    user_id: user, client_request_id: request, force_new: true,
  });

export const say = ({ app, chat }, user, message) =>
  ask("POST", ["chat", app, chat, user, "input"], { message });

export const answer = (question, text) =>
  ask("POST", ["api", "user-input", "submit"], { input_request_id: question, user_input: text });

/** The decision about a call: `{ approved, always }`, and a reason as `text`. */
export const decide = ({ app, chat }, question, decision) =>
  ask("POST", ["api", "chats", app, chat, "questions", question, "answer"], decision);

export const respond = (form, response) =>
  ask("POST", ["api", "ui-tool", "submit"], { event_id: form, response_data: response });

/** The page of `limit` events before event `before`. */
export const earlier = ({ app, chat }, user, before, limit, whole) =>
  ask("GET", ["api", "chats", app, chat, "events"], undefined,
    { user_id: user, before, limit, events: whole ? 1 : 0 });

/** `turn` is the one that the person saw: an answer to a later message is not stopped. */
export const stop = ({ app, chat }, user, turn) =>
  ask("POST", ["api", "chats", app, chat, "stop"], { user_id: user, ...(turn ? { turn } : {}) });

/** What the agents did after `seen`, the last event that the person saw, is not undone: then `confirm` is asked for. */
export const retry = ({ app, chat }, user, seen, confirm) =>
  ask("POST", ["api", "chats", app, chat, "retry"], { user_id: user, seen_seq: seen, confirm });

export const edit = ({ app, chat }, user, seen, confirm, seq, message) =>
  ask("POST", ["api", "chats", app, chat, "edit"],
    { user_id: user, seen_seq: seen, confirm, message_seq: seq, message });

export const cancel = ({ app, chat }, user) =>
  ask("POST", ["api", "chats", app, chat, "cancel"], { user_id: user, reason: "cancelled in the console" });

async function ask(method, path, body, query) {
  const search = query ? `?${new URLSearchParams(query)}` : "";
  const response = await reached(`/${path.map(encodeURIComponent).join("/")}${search}`, {
    method,
    headers: { ...headersOf(localStorage), ...(body ? { "Content-Type": "application/json" } : {}) },
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE),
    cache: "no-cache", // asks each time; the same list comes as 304
  });
  const answered = await response.json().catch(() => null);
  if (response.ok) return answered;
  throw new RefusalError(response.status, sentence(answered?.detail, response.status), answered?.code);
}

async function reached(url, request) {
  try {
    return await fetch(url, request);
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new RefusalError(0, late ? "The server did not answer in time." : "The server cannot be reached.");
  }
}

function sentence(detail, status) {
  if (status === 401) return `${detail}. ${HOW_TO_SIGN_IN}`;
  if (typeof detail === "string" && detail) return detail;
  return detail ? JSON.stringify(detail) : `The server answered ${status}.`;
}
