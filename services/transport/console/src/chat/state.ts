/** What a user sees of one chat: a pure fold over the wire's frames. */

import type {
  ApprovalData, AttachmentUploadedData, BudgetData, ChatEndedData, ErrorData, EventData, Frame, HistoryData, PrintData, QuestionData,
  RewoundData, SpeakerData, StructuredOutputData, TextData, ToolCalledData, ToolProgressData, ToolReturnedData, TurnLimitData, UsageData, WaitData,
} from "../wire/frames";
import type { EndEntry, Entry, QuestionEntry, TextEntry, ToolEntry, Usage } from "./entries";
import { reused } from "./reused";
import { grow, isLater, type CallNumber, type Stream } from "./streams";

export const ENTRIES_KEPT = 2000;
export const EVENTS_KEPT = 2000;
export const FRAMES_KEPT = 10_000; // beyond it no earlier page can be put before them
const USAGES_KEPT = 100; // an answer and what it has used come beside one another

const ENDS = { 1: "completed", 2: "failed", 3: "cancelled" } as const;

/** These are about the connection or the moment; whatever `seq` they carry is not an event's. */
const MOMENTARY = new Set([
  "chat_meta", "chat.resume_boundary", "chat.print", "chat.waiting", "ack.input", "ack.ui_tool_response",
]);

const ACKNOWLEDGEMENTS = new Set(["ack.input", "ack.ui_tool_response", "chat.input_ack"]);

export type ChatStatus = "loading" | "running" | "waiting" | "your_turn" | "completed" | "failed" | "cancelled";

export type State = {
  waiting: WaitData | null; // why nothing comes at the moment
  seq: number; // the highest event heard of
  heard: string[]; // which of its frames
  gap: { expected: number; got: number; askedAgain: boolean } | null; // an event that was jumped over
  ready: boolean; // the history has been told once
  first: number; // the earliest event that is here; those before it are on pages
  frames: AnyFrame[] | null; // what entries and events are made of; null once there are too many
  entries: Entry[];
  entriesDropped: number;
  events: EventData[];
  eventCount: number;
  speaker: string;
  turn: number | null; // the newest one
  stream: Stream | null;
  closed: CallNumber;
  tokens: number;
  cost: number;
  usages: Array<{ call: string; usage: Usage }>;
  always: Record<string, string>; // who approved all calls of a tool by an agent: by `grantOf`
  title: string | null; // as it was renamed while this page is open
  deleted: boolean;
  origin: { chat: string; seq: number } | null;
  end: EndEntry | null;
  stale: boolean; // the chat went back, and too much is here to tell what is left of it
};

/** A frame as it comes from the socket or a page: of whatever release, so its type may be unknown. */
export type AnyFrame = { type: string; seq?: number; data?: any; timestamp?: string };

export const EMPTY: State = Object.freeze({
  waiting: null, seq: 0, heard: [], gap: null, ready: false, first: 1, frames: [], entries: [], entriesDropped: 0, events: [],
  eventCount: 0, speaker: "", turn: null, stream: null, closed: { turn: 0, call: -1 }, tokens: 0, cost: 0, usages: [], always: {}, title: null,
  deleted: false, origin: null, end: null, stale: false,
});

/** One event makes several frames: each is taken once, and none of an earlier event's. */
export function fold(state: State, frame: AnyFrame): State {
  if (frame.type === "chat.history") return withHistory(state, frame.data);
  const { seq } = frame;
  if (!isSeq(seq) || MOMENTARY.has(frame.type)) return applied(state, frame);
  const name = nameOf(frame);
  if (seq < state.seq || mustAskAgain(state)) return state;
  if (seq === state.seq && state.heard.includes(name)) return state;
  if (frame.type === "chat.event" && seq > state.seq + 1 && !state.gap) return jumped(state, seq);
  return applied(advanced(state, seq, name), frame);
}

/**
 * Where to go on from after a lost connection, null where nothing is here yet. The last event may have
 * been cut off between two of its frames, so it is asked for again.
 */
export function cursor(state: State): number | null {
  return state.seq === 0 ? null : state.seq - 1;
}

/** An event was jumped over: nothing after it is taken until the server was asked for it once more. */
export function mustAskAgain(state: State): boolean {
  return state.gap !== null && !state.gap.askedAgain;
}

export function statusOf(state: State): ChatStatus {
  if (state.end) return state.end.status;
  if (!state.ready && state.seq === 0) return "loading";
  if (openQuestion(state) || state.entries.some((entry) => entry.kind === "form" && entry.open)) return "waiting";
  return state.speaker === "user" ? "your_turn" : "running";
}

/** Whether the last turn can be run again: an agent has said or done something, and nothing is running. */
export function canRetry(state: State): boolean {
  const status = statusOf(state);
  if (status === "loading" || status === "running") return false;
  return state.entries.some((entry) => entry.kind === "error" || ("agent" in entry && entry.agent && entry.agent !== "user"));
}

export function openQuestion(state: State): QuestionEntry | null {
  const found = state.entries.findLast((entry) => entry.kind === "question" && entry.open);
  return found?.kind === "question" ? found : null;
}

/** Whom the user waits for while nothing can be seen to happen. */
export function thinker(state: State): string {
  const busy = state.entries.some((entry) => entry.kind === "tool" && entry.status === "running");
  return statusOf(state) === "running" && !state.stream && !busy ? state.speaker : "";
}

/** The entries in the order of the page: what streams comes last, and after it only what waits to be read. */
export function shownEntries({ entries, stream }: Pick<State, "entries" | "stream">): Entry[] {
  const waits = (entry: Entry) => entry.kind === "text" && entry.waits !== undefined;
  const waiting = entries.filter(waits);
  if (waiting.length === 0 && !stream?.text) return entries;
  const placed = waiting.length > 0 ? entries.filter((entry) => !waits(entry)) : entries;
  if (!stream?.text) return [...placed, ...waiting];
  const { agent, text } = stream;
  const growing: TextEntry = { id: textId(stream), kind: "text", agent, text, seq: null, streaming: true, time: "" };
  return [...placed, growing, ...waiting];
}

export function textId({ turn, call }: CallNumber): string {
  return `text:${turn}.${call}`;
}

/** Whether a user may answer a question: its audience is that of the question and of its escalation. */
export function mayAnswer(
  { audience, escalated }: Pick<QuestionEntry, "audience" | "escalated">, { user, roles }: { user: string; roles: string[] | null },
): boolean {
  if (!audience || roles === null) return true; // the chat's user, or no sign-in: every role
  const asked = [audience, escalated].filter((one) => one !== null);
  return asked.some((to) => to.users.includes(user) || to.roles.some((role) => roles.includes(role)));
}

/** Whether a page of earlier events can be put before what is here. */
export function hasEarlier(state: State): boolean {
  return state.first > 1 && state.entriesDropped === 0 && state.frames !== null;
}

/** A page of events before `state.first`: an answer or a result may be of a question or call on the page. */
export function withEarlier(state: State, { frames, first_sequence }: { frames: AnyFrame[]; first_sequence: number }): State {
  const all = [...frames, ...(state.frames ?? [])];
  const { entries, entriesDropped, events, eventCount } =
    all.reduce(again, { ...beginningAt(EMPTY, first_sequence), frames: null });
  const progress = new Map(state.entries.map((entry) => [entry.id, entry.kind === "tool" ? entry.progress : null]));
  const told = entries.map((entry) =>
    entry.kind === "tool" && progress.get(entry.id) ? { ...entry, progress: progress.get(entry.id) ?? null } : entry);
  return {
    ...state, first: first_sequence, frames: kept(all), entriesDropped, events, eventCount,
    entries: reused(state.entries, told, ({ id }) => id),
  };
}

function isSeq(seq: number | undefined): seq is number {
  return Number.isInteger(seq);
}

function nameOf({ type, data = {} }: AnyFrame): string {
  return [type, data.tool_call_id, data.phase].join(" ");
}

function advanced(state: State, seq: number, name: string): State {
  const heard = seq === state.seq ? [...state.heard, name] : [name];
  return { ...state, seq, heard, gap: null };
}

/** Only with the whole event log in view (`chat.event`) does a missing number mean a missing event. */
function jumped(state: State, seq: number): State {
  return { ...state, gap: { expected: state.seq + 1, got: seq, askedAgain: false } };
}

/** The newest part of a chat, and what all before it adds up to. */
function withHistory(state: State, { frames, first_sequence, last_sequence, speaker, total_tokens, cost }: HistoryData): State {
  const next = (frames as AnyFrame[]).reduce(fold, state.seq === 0 ? beginningAt(state, first_sequence) : state);
  const sum = { ...next, speaker: speaker ?? "", tokens: total_tokens, cost: cost ?? next.cost };
  return last_sequence > next.seq ? { ...sum, seq: last_sequence, heard: [] } : sum;
}

function beginningAt(state: State, first: number): State {
  return { ...state, first, seq: first - 1, eventCount: first - 1 };
}

/** A frame that was taken before, or is of a page: in order, and once. */
function again(state: State, frame: AnyFrame): State {
  return applied(isSeq(frame.seq) ? advanced(state, frame.seq, nameOf(frame)) : state, frame);
}

function kept(frames: AnyFrame[]): AnyFrame[] | null {
  return frames.length > FRAMES_KEPT ? null : frames;
}

function recorded(state: State, frame: AnyFrame): State {
  if (state.frames === null || MOMENTARY.has(frame.type) || frame.type === "chat.tool_progress") return state;
  return { ...state, frames: kept([...state.frames, frame]) };
}

function applied(before: State, frame: AnyFrame): State {
  const handle = HANDLERS[frame.type as Frame["type"]] as Handler<any> | undefined;
  const state = before.waiting && !ACKNOWLEDGEMENTS.has(frame.type) ? { ...before, waiting: null } : before;
  const next = handle ? handle(state, frame.data ?? {}, { seq: frame.seq ?? null, time: frame.timestamp ?? "" }) : state;
  return next === state ? state : recorded(next, frame);
}

type DataOf<T extends Frame["type"]> = NonNullable<Extract<Frame, { type: T }>["data"]>;
type Around = { seq: number | null; time: string };
type Handler<D> = (state: State, data: D, around: Around) => State;

const HANDLERS: { [T in Frame["type"]]?: Handler<DataOf<T>> } = {
  "chat_meta": onMeta,
  "chat.resume_boundary": (state) => ({ ...state, ready: true }),
  "chat.event": onEvent,
  "chat.print": onChunk,
  "chat.text": onText,
  "chat.select_speaker": onSpeaker,
  "chat.tool_activity": onTool,
  "chat.tool_progress": onProgress,
  "chat.waiting": (state, wait) => ({ ...state, waiting: wait }),
  "chat.input_request": onQuestion,
  "chat.input_ack": onAnswer,
  "chat.input_timeout": (state, { request_id }) => changed(state, request_id, { open: false, expired: true }),
  "chat.question_escalated": (state, { request_id, to }) => changed(state, request_id, { escalated: to }),
  "chat.answer_stopped": onStopped,
  "chat.messages_consumed": onConsumed,
  "chat.message_refused": onRefused,
  "chat.forked": onForked,
  "chat.renamed": (state, { title }) => ({ ...state, title }),
  "chat.deleted": (state) => ({ ...state, deleted: true }),
  "chat.undeleted": (state) => ({ ...state, deleted: false }),
  "chat.tool_call": onCall,
  "chat.tool_response": (state, { call_id, success, status, content }, { time }) =>
    changed(state, `auto:${call_id}`, { status: success ? "ok" : status, content, progress: null, endedAt: time }),
  "chat.attachment_uploaded": onFile,
  "chat.ui_tool_complete": (state, { eventId, summary, response }) =>
    changed(state, eventId, { open: false, summary: summary ?? "", response: response ?? null }),
  "chat.ui_tool_dismiss": (state, { event_id, response }) => changed(state, event_id, { open: false, response: response ?? null }),
  "chat.structured_output_ready": onStructured,
  "chat.usage_delta": onUsage,
  "chat.turn_limit": onNote,
  "chat.budget": onNote,
  "chat.error": onError,
  "chat.run_complete": onEnd,
  "chat.rewound": onRewound,
};

function onMeta(state: State, { origin_chat_id, origin_sequence }: DataOf<"chat_meta">): State {
  const gap = state.gap ? { ...state.gap, askedAgain: true } : state.gap;
  const origin = origin_chat_id ? { chat: origin_chat_id, seq: origin_sequence ?? 0 } : state.origin;
  return gap === state.gap && origin === state.origin ? state : { ...state, gap, origin };
}

/** What counts whatever was rewound: tokens, files, and the log of events. */
const KEPT_IN_REWINDS = new Set(["chat.usage_delta", "chat.attachment_uploaded", "chat.event", "chat.rewound"]);

/** The chat went back: what the events between have shown is told as if they had never been. */
function onRewound(state: State, { to_seq }: RewoundData, { seq }: Around): State {
  if (state.frames === null) return { ...state, stale: true };
  const left = state.frames.filter((frame) =>
    !((frame.seq ?? 0) > to_seq && (frame.seq ?? 0) < (seq ?? 0)) || KEPT_IN_REWINDS.has(frame.type));
  const { ready, first, heard, seq: newest, cost, tokens, title, origin } = state;
  const told = left.reduce(again, beginningAt(EMPTY, first));
  return { ...told, ready, heard, seq: newest, cost, tokens, title, origin };
}

function onEvent(state: State, data: EventData, { seq }: Around): State {
  const events = [...state.events, data].slice(-EVENTS_KEPT);
  const next = { ...state, events, eventCount: state.eventCount + 1 };
  const missed = (seq ?? 0) - 1 - (state.events.at(-1)?.seq ?? state.first - 1);
  return missed > 0 ? withLoss(silenced(next, data), (seq ?? 0) - missed, (seq ?? 0) - 1) : silenced(next, data);
}

function withLoss(state: State, first: number, last: number): State {
  return added(state, {
    id: `loss@${last}`, kind: "error", code: "EVENTS_MISSING", time: "",
    message: `The server no longer has events ${first} to ${last}.`,
  });
}

/** A call that answers without words, or a turn that breaks off, leaves nothing to stream. */
function silenced(state: State, { type, body = {} }: EventData): State {
  if (type === "turn.model_responded" && !body.text) return closedAt(state, body as Partial<CallNumber>);
  if (type === "turn.failed") return { ...state, stream: null };
  return state;
}

function onChunk(state: State, chunk: PrintData): State {
  if (state.end || !isLater(chunk, state.closed)) return state;
  const stream = grow(state.stream, { ...chunk, content: chunk.content ?? "" });
  return stream === state.stream ? state : { ...state, stream };
}

function onText(state: State, data: TextData, { seq, time }: Around): State {
  const { agent, role, content, interrupted, while_running } = data;
  const [turn, call] = [data.turn ?? null, data.call ?? null];
  const base = { kind: "text", agent, text: content, seq, time } as const;
  if (role === "user" || agent === "user") {
    const said: TextEntry = { ...base, agent: "user", id: `user@${seq}`, waits: while_running ?? undefined };
    const end = state.end?.resumable ? null : state.end;
    return added({ ...state, end, speaker: state.speaker === "user" ? "" : state.speaker }, said);
  }
  if (turn === null) return added(state, { ...base, id: `text@${seq}` });
  const number = { turn, call: call ?? 0 };
  const key = keyOf(turn, number.call);
  const said: TextEntry = { ...base, id: textId(number), call: key, usage: usageOf(state, key) };
  if (interrupted) return withCutText(state, { ...said, interrupted }, { ...number, seq, offset: data.offset ?? 0 });
  return added(closedAt(state, number), said);
}

/** What was shown of a call that ended early; after these reasons its text begins anew, as another message. */
function withCutText(state: State, said: TextEntry, { turn, call, seq, offset }: CallNumber & { seq: number | null; offset: number }): State {
  const anew = said.interrupted === "retried" || said.interrupted === "runner_lost";
  const id = anew || offset ? `cut@${seq}` : said.id;
  return added(anew ? { ...state, stream: null } : closedAt(state, { turn, call }), { ...said, id });
}

/** A message stands where an agent reads it; until then it comes after everything else. */
function onConsumed(state: State, { messages = [] }: DataOf<"chat.messages_consumed">): State {
  const ids = new Set(messages.map((seq) => `user@${seq}`));
  const read = state.entries.filter(({ id }) => ids.has(id)).map((entry) => ({ ...entry, waits: undefined }) as Entry);
  return { ...state, entries: [...state.entries.filter(({ id }) => !ids.has(id)), ...read] };
}

/** Without `message` it never became part of the chat; the error beside it says so. */
function onRefused(state: State, { message }: DataOf<"chat.message_refused">): State {
  return isSeq(message ?? undefined) ? changed(state, `user@${message}`, { waits: undefined, refused: true }) : state;
}

function onStopped(state: State, { by }: DataOf<"chat.answer_stopped">, { seq, time }: Around): State {
  return by === "stop" ? added(state, { id: `stopped@${seq}`, kind: "note", note: "stopped", text: "", time }) : state;
}

function onForked(state: State, { origin_chat_id, origin_sequence }: DataOf<"chat.forked">, { seq, time }: Around): State {
  const origin = { chat: origin_chat_id, seq: origin_sequence };
  return added({ ...state, origin }, { id: `forked@${seq}`, kind: "note", note: "forked", text: "", time });
}

function closedAt(state: State, { turn, call }: Partial<CallNumber>): State {
  if (!Number.isInteger(turn) || !Number.isInteger(call)) return state;
  const number = { turn, call } as CallNumber;
  const closed = isLater(number, state.closed) ? number : state.closed;
  const stream = state.stream && isLater(state.stream, closed) ? state.stream : null;
  return { ...state, closed, stream };
}

function onSpeaker(state: State, { agent, selected_speaker, turn }: SpeakerData, { seq, time }: Around): State {
  const speaker = agent || selected_speaker || "";
  const next = { ...state, speaker, turn: turn ?? state.turn };
  const before = lastVoice(state);
  if (speaker === "user" || !before || speaker === before) return next;
  return added(next, { id: `speaker@${seq}`, kind: "speaker", agent: speaker, time });
}

function lastVoice(state: State): string {
  const told = state.entries.findLast((entry) => "agent" in entry && entry.agent && entry.agent !== "user");
  return told && "agent" in told ? told.agent : "";
}

function onTool(state: State, data: ToolCalledData | ToolReturnedData, { time }: Around): State {
  const id = `tool:${data.turn}.${data.call}.${data.tool_call_id}`;
  if (data.phase === "called") return added(closedAt(state, data), calledTool(state, id, data, time));
  const known = state.entries.find((entry) => entry.id === id);
  const call = known ?? calledTool(state, id, { ...data, arguments: "" }, time);
  const next = known ? state : added(state, call);
  const { status, content } = data as ToolReturnedData;
  const approval = call.kind === "tool" && call.approval ? call.approval : granted(state, data.agent, data.tool_name);
  return changed(next, id, { status, content, approval, progress: null, endedAt: time });
}

/** Of a call that still runs: a bar that comes late, or from another attempt, has nothing to show. */
function onProgress(state: State, { corr, turn, progress_percent, status_message }: ToolProgressData): State {
  const entry = state.entries.find((one) =>
    one.kind === "tool" && one.status === "running" && one.corr === corr && one.turn === turn);
  if (!entry) return state;
  return changed(state, entry.id, { progress: { percent: progress_percent ?? null, message: status_message ?? "" } });
}

type CallTold = { agent: string; turn?: number; call?: number; tool_call_id: string; tool_name: string; arguments?: unknown };

function calledTool(state: State, id: string, { agent, turn, call, tool_call_id, tool_name, arguments: given }: CallTold, time: string): ToolEntry {
  const key = turn === undefined || call === undefined ? undefined : keyOf(turn, call);
  return {
    id, kind: "tool", agent, turn: turn ?? null, call: key, corr: tool_call_id, name: tool_name, arguments: given ?? null,
    status: "running", progress: null, content: null, time, endedAt: "", approval: granted(state, agent, tool_name), usage: key ? usageOf(state, key) : undefined,
  };
}

function onQuestion(state: State, data: QuestionData, { time }: Around): State {
  return added(state, {
    id: data.request_id, kind: "question", agent: data.agent, turn: data.turn ?? null, corr: data.tool_call_id ?? "",
    prompt: data.prompt ?? "", options: data.options ?? [], doubt: data.doubt ?? null, approval: data.approval ?? null,
    audience: data.audience ?? null, escalated: null, expiresAt: data.expires_at ?? null,
    open: true, expired: false, answer: null, approved: null, always: false, answeredBy: "", time,
  });
}

/** Without `seq` it is the receipt of a command; the answer itself is an event. */
function onAnswer(state: State, data: DataOf<"chat.input_ack">, { seq }: Around): State {
  if (!isSeq(seq ?? undefined)) return state;
  const id = data.request_id ?? data.input_request_id ?? "";
  const answered = { approved: data.approved ?? null, always: data.always === true, answeredBy: data.answered_by ?? "" };
  const question = state.entries.find((entry) => entry.id === id);
  const next = changed(state, id, { open: false, answer: data.text ?? "", ...answered });
  if (question?.kind !== "question" || !question.approval) return next;
  const { agent, approval: { tool } } = question;
  const always = answered.always ? { ...next.always, [grantOf(agent, tool)]: answered.answeredBy } : next.always;
  return withApproval({ ...next, always }, question, answered);
}

function grantOf(agent: string, tool: string): string {
  return `${agent}\n${tool}`;
}

/** A call of a tool that was approved for the whole chat asks nobody. */
function granted(state: State, agent: string, tool: string): ToolEntry["approval"] {
  const by = state.always[grantOf(agent, tool)];
  return by === undefined ? null : { approved: true, by, always: true };
}

/** The call that a question asked to approve shows who decided. */
function withApproval(
  state: State, { corr, turn, approval }: QuestionEntry,
  { approved, always, answeredBy }: Pick<QuestionEntry, "approved" | "always" | "answeredBy">,
): State {
  const isCall = (entry: Entry, tool: ApprovalData | null) =>
    entry.kind === "tool" && (entry.corr === corr && entry.turn === turn || (entry.status === "running" && entry.name === tool?.tool));
  const call = state.entries.findLast((entry) => isCall(entry, approval));
  return call ? changed(state, call.id, { approval: { approved, by: answeredBy, always } }) : state;
}

/** One that waits for nobody is the runtime's own call, with what the agent said for it to show. */
function onCall(state: State, data: DataOf<"chat.tool_call">, around: Around): State {
  return data.awaiting_response === false ? onAutoCalled(state, data, around) : onForm(state, data, around);
}

function onAutoCalled(state: State, data: DataOf<"chat.tool_call">, { seq, time }: Around): State {
  const { agent, tool_call_id, tool_name, payload = {} } = data;
  const words = payload.agent_message;
  const call = calledTool(state, `auto:${tool_call_id}`, { agent, tool_call_id, tool_name, arguments: payload.tool_args }, time);
  if (typeof words !== "string" || !words) return added(state, call);
  return added(added(state, { id: `caption:${tool_call_id}`, kind: "text", agent, text: words, seq, time }), call);
}

function onFile(state: State, data: AttachmentUploadedData, { time }: Around): State {
  return added(state, {
    id: `file:${data.attachment_id}`, kind: "file", attachment: data.attachment_id, name: data.filename,
    size: data.size_bytes, type: data.content_type, time,
  });
}

function onForm(state: State, data: DataOf<"chat.tool_call">, { time }: Around): State {
  if (!data.component_type) return state;
  const id = ("event_id" in data ? data.event_id : null) ?? data.corr ?? data.tool_call_id;
  return added(state, {
    id, kind: "form", agent: data.agent, name: data.tool_name ?? "", component: data.component_type,
    payload: data.payload ?? {}, open: true, summary: "", response: null, time,
  });
}

function onStructured(state: State, { agent, model_name, structured_data }: StructuredOutputData, { seq, time }: Around): State {
  return added(state, { id: `data@${seq}`, kind: "data", agent, name: model_name ?? "", data: structured_data ?? null, time });
}

function onUsage(state: State, data: UsageData): State {
  const usage: Usage = {
    model: data.model_name ?? null, prompt: data.prompt_tokens ?? 0, completion: data.completion_tokens ?? 0,
    cost: data.cost ?? null, seconds: data.duration_sec ?? 0, cached: data.cached ?? false,
  };
  const call = data.invocation_id ?? "";
  const entries = state.entries.map((entry) => ("call" in entry && entry.call === call ? { ...entry, usage } : entry));
  const usages = [...state.usages, { call, usage }].slice(-USAGES_KEPT);
  return { ...state, entries, usages, tokens: state.tokens + (data.total_tokens ?? 0), cost: state.cost + (data.cost ?? 0) };
}

function keyOf(turn: number, call: number): string {
  return `${turn}.${call}`;
}

function usageOf(state: State, call: string): Usage | undefined {
  return state.usages.findLast((one) => one.call === call)?.usage;
}

/** With `seq` it is part of the story; without, it answers something that was just asked. */
function onNote(state: State, { message, waits }: TurnLimitData | BudgetData, { seq, time }: Around): State {
  return added(state, { id: `note@${seq}`, kind: "note", note: null, text: message, waits, time });
}

function onError(state: State, { message, error_code }: ErrorData, { seq, time }: Around): State {
  const told = { kind: "error", message, code: error_code ?? "", time } as const;
  if (message === lastFault(state)) return state; // a failed turn and the chat that it fails say the same
  if (isSeq(seq ?? undefined)) return added(state, { ...told, id: `error@${seq}` });
  return added(state, { ...told, id: `notice:${state.entriesDropped + state.entries.length}` });
}

function lastFault(state: State): string | null {
  const last = state.entries.at(-1);
  return last?.kind === "error" ? last.message : null;
}

function onEnd(state: State, data: ChatEndedData, { seq, time }: Around): State {
  const end: EndEntry = {
    id: `end@${seq}`, kind: "end", time, resumable: data.resumable === true,
    status: ENDS[data.status] ?? "completed", reason: data.reason ?? "",
    seconds: data.duration_sec ?? null, tokens: data.total_tokens ?? state.tokens, cost: data.cost ?? null,
  };
  const entries = state.entries.map(ended);
  return added(
    { ...state, entries, end, stream: null, speaker: "" },
    { ...end, reason: end.reason === lastFault(state) ? "" : end.reason },
  );
}

function ended(entry: Entry): Entry {
  if ((entry.kind === "question" || entry.kind === "form") && entry.open) return { ...entry, open: false };
  if (entry.kind === "tool" && entry.status === "running") return { ...entry, status: "stopped", progress: null };
  return entry;
}

function added(state: State, entry: Entry): State {
  if (state.entries.some(({ id }) => id === entry.id)) return changed(state, entry.id, entry);
  const entries = [...state.entries, entry].slice(-ENTRIES_KEPT);
  const dropped = state.entries.length + 1 - entries.length;
  return { ...state, entries, entriesDropped: state.entriesDropped + dropped };
}

function changed(state: State, id: string, change: object): State {
  const entries = state.entries.map((entry) => (entry.id === id ? ({ ...entry, ...change } as Entry) : entry));
  return { ...state, entries };
}
