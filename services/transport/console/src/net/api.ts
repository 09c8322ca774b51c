/** What the page asks of the server, and says to it, over HTTP. */

import type {
  AnswerAccepted, CallerIdentity, EventsPage, Explanation, ForkChatAnswer, ListChangeAccepted, MessageAccepted, RewindAccepted,
  StartChatAnswer, StopAccepted, UploadAnswer, UserChats, WorkflowConfig,
} from "../wire/http";
import { pathOf, type Place } from "./address";
import { headersOf } from "./signin";

const PATIENCE = 15_000;
const UPLOAD_PATIENCE = 120_000;

/** Why a request failed: the server's own sentence, or one of these. */
export type Failure = "unreachable" | "late" | "refused";

/** The server said no, or nothing: `message` is its sentence, empty where `failure` says it all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    detail: string,
    readonly code: string | null = null,
    readonly failure: Failure = "refused",
  ) {
    super(detail);
  }
}

export type Query = Record<string, string | number | boolean | Array<string> | undefined | null>;

type Chat = Pick<Place, "app" | "chat">;

export const me = () => get<CallerIdentity>(["api", "me"]);

export const workflows = () => get<Record<string, WorkflowConfig>>(["api", "workflows"]);

export const diagnostics = () => get<Record<string, string[]>>(["api", "workflows", "diagnostics"]);

export type ChatFilter = { search?: string; place?: "active" | "archived" | "deleted"; status?: string[]; workflow?: string[]; cursor?: string | null; limit?: number };

/** A user's chats, newest first; with `search` those whose title, or one message, has all the words. */
export const chats = (app: string, user: string, filter: ChatFilter) => get<UserChats>(["api", "users", app, user, "chats"], filter);

export const rename = ({ app, chat }: Chat, user: string, title: string) =>
  send<ListChangeAccepted>("POST", ["api", "chats", app, chat, "rename"], { user_id: user, title });

export const archive = ({ app, chat }: Chat, user: string) => send<ListChangeAccepted>("POST", ["api", "chats", app, chat, "archive"], { user_id: user });

export const unarchive = ({ app, chat }: Chat, user: string) =>
  send<ListChangeAccepted>("POST", ["api", "chats", app, chat, "unarchive"], { user_id: user });

export const remove = ({ app, chat }: Chat, user: string) =>
  request<ListChangeAccepted>("DELETE", ["api", "chats", app, chat], { query: { user_id: user } });

export const undelete = ({ app, chat }: Chat, user: string) =>
  send<ListChangeAccepted>("POST", ["api", "chats", app, chat, "undelete"], { user_id: user });

/** `name` names this request: sent twice, it is still one chat. */
export const start = (app: string, workflow: string, user: string, name: string, more: object = {}) =>
  send<StartChatAnswer>("POST", ["api", "chats", app, workflow, "start"], { user_id: user, client_request_id: name, force_new: true, ...more });

/** `name` names the message: sent twice, it is still one. */
export const say = ({ app, chat }: Chat, user: string, message: string, name: string) =>
  send<MessageAccepted>("POST", ["chat", app, chat, user, "input"], { message, client_message_id: name });

export const answer = (question: string, text: string) =>
  send<AnswerAccepted>("POST", ["api", "user-input", "submit"], { input_request_id: question, user_input: text });

/** The decision about a call: `{ approved, always }`, and a reason as `text`. */
export type Decision = { approved: boolean; always?: boolean; text: string | null; arguments_digest: string };

export const decide = ({ app, chat }: Chat, question: string, decision: Decision) =>
  send<AnswerAccepted>("POST", ["api", "chats", app, chat, "questions", question, "answer"], decision);

export const respond = (form: string, response: object) =>
  send<AnswerAccepted>("POST", ["api", "ui-tool", "submit"], { event_id: form, response_data: response });

/** The page of `limit` events before event `before`. */
export const earlier = ({ app, chat }: Chat, user: string, before: number, limit: number, whole: boolean) =>
  get<EventsPage & { first_sequence: number }>(["api", "chats", app, chat, "events"], { user_id: user, before, limit, events: whole ? 1 : 0 });

/** The page of events after event `after`; an empty one after the last. */
export const later = ({ app, chat }: Chat, user: string, after: number, whole: boolean) =>
  get<EventsPage>(["api", "chats", app, chat, "events"], { user_id: user, after, events: whole ? 1 : 0 });

/** `turn` is the one that the user saw: an answer to a later message is not stopped. */
export const stop = ({ app, chat }: Chat, user: string, turn: number | null) =>
  send<StopAccepted>("POST", ["api", "chats", app, chat, "stop"], { user_id: user, ...(turn ? { turn } : {}) });

/** What the agents did after `seen`, the last event that the user saw, is not undone: then `confirm` is asked for. */
export const retry = ({ app, chat }: Chat, user: string, seen: number | undefined, confirm: boolean) =>
  send<RewindAccepted>("POST", ["api", "chats", app, chat, "retry"], { user_id: user, seen_seq: seen, confirm });

export const edit = ({ app, chat }: Chat, user: string, seen: number | undefined, confirm: boolean, seq: number, message: string) =>
  send<RewindAccepted>("POST", ["api", "chats", app, chat, "edit"], { user_id: user, seen_seq: seen, confirm, message_seq: seq, message });

/** A new chat that goes on from event `seq`; without it from the last one. */
export const fork = ({ app, chat }: Chat, user: string, seq: number | undefined, name: string) =>
  send<ForkChatAnswer>("POST", ["api", "chats", app, chat, "fork"], { user_id: user, seq, client_request_id: name });

export const cancel = ({ app, chat }: Chat, user: string) => send("POST", ["api", "chats", app, chat, "cancel"], { user_id: user, reason: "" });

export const explain = ({ app, chat }: Chat, user: string) => get<Explanation>(["api", "chats", app, chat, "explain"], { user_id: user });

export const upload = (place: Chat, user: string, file: File) => {
  const form = new FormData();
  for (const [name, value] of Object.entries({ appId: place.app, userId: user, chatId: place.chat, intent: "context" })) form.append(name, value);
  form.append("file", file);
  return request<UploadAnswer>("POST", ["api", "chat", "upload"], { form });
};

/** A file of a chat: with the token, which an address could not carry. */
export async function attachment({ app, chat }: Chat, user: string, id: string): Promise<Blob> {
  const response = await reached(`${pathOf("api", "chats", app, chat, "attachments", id)}?${searchOf({ user_id: user })}`, {
    headers: headersOf(localStorage), signal: AbortSignal.timeout(UPLOAD_PATIENCE),
  });
  if (!response.ok) throw await refusal(response);
  return response.blob();
}

/** A JSON answer of the server. Raises ApiError. */
export function get<T>(path: string[], query?: Query): Promise<T> {
  return request<T>("GET", path, { query });
}

export function send<T>(method: string, path: string[], body: object): Promise<T> {
  return request<T>(method, path, { body });
}

export async function request<T>(
  method: string, path: string[], { query, body, form }: { query?: Query | undefined; body?: object; form?: FormData } = {},
): Promise<T> {
  const search = query ? `?${searchOf(query)}` : "";
  const response = await reached(pathOf(...path) + search, {
    method,
    headers: { Accept: "application/json", ...headersOf(localStorage), ...(body ? { "Content-Type": "application/json" } : {}) },
    body: form ?? (body ? JSON.stringify(body) : null),
    signal: AbortSignal.timeout(form ? UPLOAD_PATIENCE : PATIENCE),
    cache: "no-cache", // asks each time; the same list comes as 304
  });
  if (!response.ok) throw await refusal(response);
  return (await response.json().catch(() => null)) as T;
}

export function searchOf(query: Query): URLSearchParams {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") search.append(name, String(one));
    }
  }
  return search;
}

async function reached(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw new ApiError(0, "", null, late ? "late" : "unreachable");
  }
}

async function refusal(response: Response): Promise<ApiError> {
  const told = (await response.json().catch(() => null)) as { detail?: unknown; code?: string } | null;
  const { detail } = told ?? {};
  const sentence = typeof detail === "string" ? detail : detail ? JSON.stringify(detail) : "";
  return new ApiError(response.status, sentence, told?.code ?? null);
}
