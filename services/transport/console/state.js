/** What a person sees of one chat: a pure fold over the wire's frames. */

import { grow, isLater } from "./streams.js";

export const ENTRIES_KEPT = 2000;
export const EVENTS_KEPT = 2000;
export const FRAMES_KEPT = 10_000; // beyond it no earlier page can be put before them

const ENDS = { 1: "completed", 2: "failed", 3: "cancelled" };

/** These are about the connection or the moment; whatever `seq` they carry is not an event's. */
const MOMENTARY = new Set([
  "chat_meta", "chat.resume_boundary", "chat.print", "chat.waiting", "ack.input", "ack.ui_tool_response",
]);

const ACKNOWLEDGEMENTS = new Set(["ack.input", "ack.ui_tool_response", "chat.input_ack"]);

export const EMPTY = Object.freeze({
  waiting: null, // why nothing comes at the moment, in words
  seq: 0, // the highest event heard of
  heard: [], // which of its frames
  gap: null, // an event that was jumped over, and whether it was asked for again
  ready: false, // the history has been told once
  first: 1, // the earliest event that is here; those before it are on pages
  frames: [], // what entries and events are made of; null once there are too many
  entries: [],
  entriesDropped: 0,
  events: [],
  eventCount: 0,
  speaker: "",
  turn: null, // the newest one
  stream: null,
  closed: { turn: 0, call: -1 },
  tokens: 0,
  end: null,
  stale: false, // the chat went back, and too much is here to tell what is left of it
});

/** One event makes several frames: each is taken once, and none of an earlier event's. */
export function fold(state, frame) {
  if (frame.type === "chat.history") return withHistory(state, frame.data);
  if (!Number.isInteger(frame.seq) || MOMENTARY.has(frame.type)) return applied(state, frame);
  const name = nameOf(frame);
  if (frame.seq < state.seq || mustAskAgain(state)) return state;
  if (frame.seq === state.seq && state.heard.includes(name)) return state;
  if (isJump(state, frame) && !state.gap) return jumped(state, frame);
  return applied(advanced(state, frame.seq, name), frame);
}

/**
 * Where to go on from after a lost connection, null where nothing is here yet. The last event may have
 * been cut off between two of its frames, so it is asked for again.
 */
export function cursor(state) {
  return state.seq === 0 ? null : state.seq - 1;
}

/** An event was jumped over: nothing after it is taken until the server was asked for it once more. */
export function mustAskAgain(state) {
  return state.gap !== null && !state.gap.askedAgain;
}

export function statusOf(state) {
  if (state.end) return state.end.status;
  if (!state.ready && state.seq === 0) return "loading";
  if (openQuestion(state) || state.entries.some((entry) => entry.kind === "form" && entry.open)) {
    return "waiting";
  }
  return state.speaker === "user" ? "your_turn" : "running";
}

/** Whether the last turn can be run again: an agent has said or done something, and nothing is running. */
export function canRetry(state) {
  if (statusOf(state) === "loading" || statusOf(state) === "running") return false;
  return state.entries.some(({ kind, agent }) => kind === "error" || (agent && agent !== "user"));
}

export function openQuestion(state) {
  return state.entries.findLast((entry) => entry.kind === "question" && entry.open) ?? null;
}

/** Whom the person waits for while nothing can be seen to happen. */
export function thinker(state) {
  const busy = state.entries.some((entry) => entry.kind === "tool" && entry.status === "running");
  return statusOf(state) === "running" && !state.stream && !busy ? state.speaker : "";
}

function nameOf({ type, data = {} }) {
  return [type, data.tool_call_id, data.phase].join(" ");
}

function advanced(state, seq, name) {
  const heard = seq === state.seq ? [...state.heard, name] : [name];
  return { ...state, seq, heard, gap: null };
}

/** Only with the whole event log in view (`chat.event`) does a missing number mean a missing event. */
function isJump(state, frame) {
  return frame.type === "chat.event" && frame.seq > state.seq + 1;
}

function jumped(state, frame) {
  const expected = state.seq + 1;
  return { ...state, gap: { expected, got: frame.seq, askedAgain: false } };
}

/** The newest part of a chat, and what all before it adds up to. */
function withHistory(state, { frames, first_sequence, last_sequence, speaker, total_tokens }) {
  const next = frames.reduce(fold, state.seq === 0 ? beginningAt(state, first_sequence) : state);
  const sum = { ...next, speaker: speaker ?? "", tokens: total_tokens };
  return last_sequence > next.seq ? { ...sum, seq: last_sequence, heard: [] } : sum;
}

function beginningAt(state, first) {
  return { ...state, first, seq: first - 1, eventCount: first - 1 };
}

/** Whether a page of earlier events can be put before what is here. */
export function hasEarlier(state) {
  return state.first > 1 && state.entriesDropped === 0 && state.frames !== null;
}

/** A page of events before `state.first`: an answer or a result may be of a question or call on the page. */
export function withEarlier(state, { frames, first_sequence }) {
  const all = [...frames, ...state.frames];
  const { entries, entriesDropped, events, eventCount } =
    all.reduce(again, { ...beginningAt(EMPTY, first_sequence), frames: null });
  const progress = new Map(state.entries.map((entry) => [entry.id, entry.progress]));
  return {
    ...state, first: first_sequence, frames: kept(all), entriesDropped, events, eventCount,
    entries: entries.map((entry) => (progress.get(entry.id) ? { ...entry, progress: progress.get(entry.id) } : entry)),
  };
}

/** A frame that was taken before, or is of a page: in order, and once. */
function again(state, frame) {
  return applied(Number.isInteger(frame.seq) ? advanced(state, frame.seq, nameOf(frame)) : state, frame);
}

function kept(frames) {
  return frames.length > FRAMES_KEPT ? null : frames;
}

function recorded(state, frame) {
  if (state.frames === null || MOMENTARY.has(frame.type) || frame.type === "chat.tool_progress") return state;
  return { ...state, frames: kept([...state.frames, frame]) };
}

function applied(state, frame) {
  const tell = TELLERS[frame.type];
  if (state.waiting && !ACKNOWLEDGEMENTS.has(frame.type)) state = { ...state, waiting: null };
  const next = tell ? tell(state, { ...frame, ...frame.data }, frame) : state;
  return next === state ? state : recorded(next, frame);
}

const TELLERS = {
  "chat_meta": (state) =>
    state.gap ? { ...state, gap: { ...state.gap, askedAgain: true } } : state,
  "chat.resume_boundary": (state) => ({ ...state, ready: true }),
  "chat.event": onEvent,
  "chat.print": onChunk,
  "chat.text": onText,
  "chat.select_speaker": onSpeaker,
  "chat.tool_activity": onTool,
  "chat.tool_progress": onProgress,
  "chat.waiting": (state, { message }) => ({ ...state, waiting: message }),
  "chat.input_request": onQuestion,
  "chat.input_ack": onAnswer,
  "chat.input_timeout": onExpired,
  "chat.question_escalated": onEscalated,
  "chat.answer_stopped": onStopped,
  "chat.messages_consumed": onConsumed,
  "chat.message_refused": onRefused,
  "chat.tool_call": onCall,
  "chat.tool_response": onAutoReturned,
  "chat.attachment_uploaded": onFile,
  "chat.ui_tool_complete": onFormDone,
  "chat.ui_tool_dismiss": onFormDone,
  "chat.structured_output_ready": onStructured,
  "chat.usage_delta": (state, { total_tokens }) =>
    ({ ...state, tokens: state.tokens + (total_tokens ?? 0) }),
  "chat.turn_limit": onNote,
  "chat.budget": onNote,
  "chat.error": onError,
  "chat.run_complete": onEnd,
  "chat.rewound": onRewound,
};

/** What counts whatever was rewound: tokens, files, and the log of events. */
const KEPT_IN_REWINDS = new Set(["chat.usage_delta", "chat.attachment_uploaded", "chat.event", "chat.rewound"]);

/** The chat went back: what the events between have shown is told as if they had never been. */
function onRewound(state, { to_seq }, { seq }) {
  if (state.frames === null) return { ...state, stale: true };
  const left = state.frames.filter((frame) =>
    !(frame.seq > to_seq && frame.seq < seq) || KEPT_IN_REWINDS.has(frame.type));
  const { ready, first, heard, seq: newest } = state;
  return { ...left.reduce(again, beginningAt(EMPTY, first)), ready, heard, seq: newest };
}

function onEvent(state, _, { seq, data }) {
  const events = [...state.events, data].slice(-EVENTS_KEPT);
  const next = { ...state, events, eventCount: state.eventCount + 1 };
  const missed = seq - 1 - (state.events.at(-1)?.seq ?? state.first - 1);
  return missed > 0 ? withLoss(silenced(next, data), seq - missed, seq - 1) : silenced(next, data);
}

function withLoss(state, first, last) {
  return added(state, {
    id: `loss@${last}`, kind: "error", code: "EVENTS_MISSING",
    message: `The server no longer has events ${first} to ${last}.`,
  });
}

/** A call that answers without words, or a turn that breaks off, leaves nothing to stream. */
function silenced(state, { type, body = {} }) {
  if (type === "turn.model_responded" && !body.text) return closedAt(state, body);
  if (type === "turn.failed") return { ...state, stream: null };
  return state;
}

function onChunk(state, chunk) {
  if (state.end || !isLater(chunk, state.closed)) return state;
  const stream = grow(state.stream, { ...chunk, content: chunk.content ?? "" });
  return stream === state.stream ? state : { ...state, stream };
}

function onText(state, { agent, role, content, turn, call, seq, timestamp, interrupted, offset, while_running }) {
  if (role === "user" || agent === "user") {
    const waits = while_running ? { waits: true, mark: WAITS[while_running] } : {};
    const said = { id: `user@${seq}`, kind: "text", agent: "user", text: content, time: timestamp, ...waits };
    const end = state.end?.resumable ? null : state.end;
    return added({ ...state, end, speaker: state.speaker === "user" ? "" : state.speaker }, said);
  }
  const id = Number.isInteger(turn) ? textId({ turn, call }) : `text@${seq}`;
  const said = { id, kind: "text", agent, text: content, time: timestamp };
  if (interrupted) return withCutText(state, { ...said, mark: CUT[interrupted] ?? "interrupted", interrupted }, { turn, call, seq, offset });
  return added(closedAt(state, { turn, call }), said);
}

/** What was shown of a call that ended early; after these reasons its text begins anew, as another message. */
function withCutText(state, said, { turn, call, seq, offset }) {
  const again = ["retried", "runner_lost"].includes(said.interrupted);
  const id = again || offset ? `cut@${seq}` : said.id;
  return added(again ? { ...state, stream: null } : closedAt(state, { turn, call }), { ...said, id });
}

const CUT = {
  stopped: "stopped", cancelled: "cancelled", failed: "interrupted: the turn failed", budget: "stopped: the budget is used up",
  retried: "interrupted: asked again", runner_lost: "interrupted: continued by another process",
};
const WAITS = {
  queue: "waits for the end of this turn", steer: "waits for the next step of this turn", interrupt: "stops the answer",
};

/** A message stands where an agent reads it; until then it comes after everything else. */
function onConsumed(state, { messages = [] }) {
  const ids = messages.map((seq) => `user@${seq}`);
  const read = state.entries.filter(({ id }) => ids.includes(id)).map((entry) => ({ ...entry, waits: false, mark: "" }));
  return { ...state, entries: [...state.entries.filter(({ id }) => !ids.includes(id)), ...read] };
}

/** Without `message` it never became part of the chat; the error beside it says so. */
function onRefused(state, { message }) {
  return Number.isInteger(message) ? changed(state, `user@${message}`, { waits: false, mark: "not read: the chat ended" }) : state;
}

function onStopped(state, { by, seq, timestamp }) {
  if (by !== "stop") return state;
  return added(state, { id: `stopped@${seq}`, kind: "note", text: "You stopped the answer.", time: timestamp });
}

function onExpired(state, { request_id }) {
  return changed(state, request_id, { open: false, summary: "Not answered" });
}

export function textId({ turn, call }) {
  return `text:${turn}.${call}`;
}

function closedAt(state, { turn, call }) {
  if (!Number.isInteger(turn) || !Number.isInteger(call)) return state;
  const closed = isLater({ turn, call }, state.closed) ? { turn, call } : state.closed;
  const stream = state.stream && isLater(state.stream, closed) ? state.stream : null;
  return { ...state, closed, stream };
}

function onSpeaker(state, { agent, selected_speaker, turn, seq, timestamp }) {
  const speaker = agent || selected_speaker || "";
  const next = { ...state, speaker, turn: turn ?? state.turn };
  const before = lastVoice(state);
  if (speaker === "user" || !before || speaker === before) return next;
  return added(next, { id: `speaker@${seq}`, kind: "speaker", agent: speaker, time: timestamp });
}

function lastVoice(state) {
  const told = state.entries.findLast((entry) => entry.agent && entry.agent !== "user");
  return told?.agent ?? "";
}

function onTool(state, data) {
  const id = `tool:${data.turn}.${data.call}.${data.tool_call_id}`;
  if (data.phase === "called") return added(closedAt(state, data), calledTool(id, data));
  const known = state.entries.some((entry) => entry.id === id);
  const next = known ? state : added(state, calledTool(id, data));
  return changed(next, id, { status: data.status, content: data.content, progress: null });
}

/** Of a call that still runs: a bar that comes late, or from another attempt, has nothing to show. */
function onProgress(state, { corr, turn, progress_percent, status_message }) {
  const entry = state.entries.find((one) =>
    one.kind === "tool" && one.status === "running" && one.corr === corr && one.turn === turn);
  if (!entry) return state;
  return changed(state, entry.id, { progress: { percent: progress_percent ?? null, message: status_message ?? "" } });
}

function calledTool(id, { agent, turn, tool_call_id, tool_name, arguments: args, timestamp }) {
  return {
    id, kind: "tool", agent, turn, corr: tool_call_id, name: tool_name, arguments: args ?? null,
    status: "running", progress: null, content: null, time: timestamp,
  };
}

function onQuestion(state, { request_id, agent, prompt, options, doubt, approval, audience, timestamp }) {
  return added(state, {
    id: request_id, kind: "question", agent, prompt, options: options ?? [], doubt: doubt ?? null,
    approval: approval ?? null, audience: audience ?? null, escalated: null,
    open: true, answer: null, approved: null, answeredBy: "", time: timestamp,
  });
}

function onEscalated(state, { request_id, to }) {
  return changed(state, request_id, { escalated: to });
}

/** Whether a user may answer a question: its audience is that of the question and of its escalation. */
export function mayAnswer({ audience, escalated }, { user, roles }) {
  const asked = [audience, escalated].filter(Boolean);
  if (!audience || roles === null) return true; // the chat's user, or no sign-in: every role
  return asked.some((to) => to.users.includes(user) || to.roles.some((role) => roles.includes(role)));
}

/** Without `seq` it is the receipt of a command; the answer itself is an event. */
function onAnswer(state, { seq, request_id, input_request_id, text, approved, answered_by }) {
  if (!Number.isInteger(seq)) return state;
  return changed(state, request_id ?? input_request_id, {
    open: false, answer: text ?? "", approved: approved ?? null, answeredBy: answered_by ?? "",
  });
}

/** One that waits for nobody is the runtime's own call, with what the agent said for it to show. */
function onCall(state, data) {
  return data.awaiting_response === false ? onAutoCalled(state, data) : onForm(state, data);
}

function onAutoCalled(state, { agent, tool_call_id, tool_name, payload = {}, timestamp }) {
  const words = payload.agent_message;
  const caption = { id: `caption:${tool_call_id}`, kind: "text", agent, text: words, time: timestamp };
  const called = calledTool(`auto:${tool_call_id}`, {
    agent, tool_call_id, tool_name, arguments: payload.tool_args, timestamp,
  });
  return added(words ? added(state, caption) : state, called);
}

function onAutoReturned(state, { call_id, success, status, content }) {
  return changed(state, `auto:${call_id}`, { status: success ? "ok" : status, content, progress: null });
}

function onFile(state, { attachment_id, filename, size_bytes, content_type, timestamp }) {
  return added(state, {
    id: `file:${attachment_id}`, kind: "file", attachment: attachment_id, name: filename,
    size: size_bytes, type: content_type, time: timestamp,
  });
}

function onForm(state, { event_id, corr, tool_call_id, tool_name, component_type, payload, ...rest }) {
  if (!component_type) return state;
  return added(state, {
    id: event_id ?? corr ?? tool_call_id, kind: "form", agent: rest.agent, name: tool_name,
    component: component_type, payload: payload ?? {}, open: true, summary: "", time: rest.timestamp,
  });
}

function onFormDone(state, { eventId, event_id, summary }) {
  return changed(state, eventId ?? event_id, { open: false, summary: summary ?? "" });
}

function onStructured(state, { agent, model_name, structured_data, data, seq, timestamp }) {
  return added(state, {
    id: `data@${seq}`, kind: "data", agent, name: model_name ?? "",
    data: structured_data ?? data ?? null, time: timestamp,
  });
}

/** With `seq` it is part of the story; without, it answers something that was just asked. */
function onNote(state, { seq, message, waits, timestamp }) {
  return added(state, { id: `note@${seq}`, kind: "note", text: message, waits, time: timestamp });
}

function onError(state, { seq, message, error_code, code, timestamp }) {
  const told = { kind: "error", message, code: error_code ?? code ?? "", time: timestamp };
  if (message === lastFault(state)) return state; // a failed turn and the chat that it fails say the same
  if (Number.isInteger(seq)) return added(state, { ...told, id: `error@${seq}` });
  return added(state, { ...told, id: `notice:${state.entriesDropped + state.entries.length}` });
}

function lastFault(state) {
  const last = state.entries.at(-1);
  return last?.kind === "error" ? last.message : null;
}

function onEnd(state, { status, reason, resumable, duration_sec, total_tokens, seq, timestamp }) {
  const end = {
    resumable: resumable === true,
    status: ENDS[status] ?? "completed", reason: reason ?? "",
    seconds: duration_sec ?? null, tokens: total_tokens ?? state.tokens,
  };
  const closed = state.entries.map((entry) => (entry.open ? { ...entry, open: false } : entry));
  const stopped = closed.map((entry) =>
    entry.status === "running" ? { ...entry, status: "stopped", progress: null } : entry);
  return added(
    { ...state, entries: stopped, end, stream: null, speaker: "" },
    {
      id: `end@${seq}`, kind: "end", ...end, time: timestamp,
      reason: end.reason === lastFault(state) ? "" : end.reason,
    },
  );
}

function added(state, entry) {
  if (state.entries.some(({ id }) => id === entry.id)) return changed(state, entry.id, entry);
  const entries = [...state.entries, entry].slice(-ENTRIES_KEPT);
  const dropped = state.entries.length + 1 - entries.length;
  return { ...state, entries, entriesDropped: state.entriesDropped + dropped };
}

function changed(state, id, change) {
  const entries = state.entries.map((entry) => (entry.id === id ? { ...entry, ...change } : entry));
  return { ...state, entries };
}
