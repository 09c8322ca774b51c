/** A chat as the wire tells it: every event first as itself, then as the frames that it makes. */

import { EMPTY, fold } from "../../../services/transport/console/src/chat/state";

export const told = (frames, state = EMPTY) => frames.reduce(fold, state);

export function event(seq, type, body = {}, category = "runtime") {
  const data = { seq, type, version: 1, category, time: "2026-01-01T00:00:00Z", actor: "runtime", cause: "c", body };
  return { type: "chat.event", seq, data };
}

export const frame = (seq, type, data) => ({ type, seq, data, timestamp: "2026-01-01T00:00:00Z" });

export const meta = { type: "chat_meta", data: {} };

export const boundary = (seq) => frame(seq, "chat.resume_boundary", { last_message_index: seq });

/** The newest events, from the first of these frames on, as a client gets them that asks for a tail. */
export function history(frames, { speaker = null, total_tokens = 0 } = {}) {
  const seqs = frames.map(({ seq }) => seq);
  const data = { frames, speaker, total_tokens, first_sequence: Math.min(...seqs), last_sequence: Math.max(...seqs) };
  return { type: "chat.history", data };
}

export const started = (seq) => [event(seq, "chat.started"), frame(seq, "chat.run_start", { agent: "" })];

export const speaker = (seq, agent) =>
  [event(seq, "turn.speaker_selected", { agent }), frame(seq, "chat.select_speaker", { agent })];

export const requested = (seq) => [event(seq, "turn.model_requested")];

export function responded(seq, { agent = "Planner", turn = 1, call = 0, text = null, tools = [] }) {
  const calls = tools.map((id) =>
    frame(seq, "chat.tool_activity", { agent, tool_call_id: id, tool_name: `tool_${id}`, arguments: "{}", turn, call, phase: "called" }));
  const words = text ? [frame(seq, "chat.text", { agent, role: "assistant", content: text, turn, call })] : [];
  return [event(seq, "turn.model_responded", { agent, turn, call, text }), ...words, ...calls];
}

export const returned = (seq, id, content) => [
  event(seq, "turn.tool_returned"),
  frame(seq, "chat.tool_activity", { agent: "Planner", tool_call_id: id, tool_name: `tool_${id}`, turn: 1, call: 0, phase: "returned", status: "ok", content }),
];

export const progressed = (corr, progress_percent, status_message = "", turn = 1) =>
  ({ type: "chat.tool_progress", data: { agent: "Planner", tool_name: `tool_${corr}`, progress_percent, status_message, corr, turn } });

export const asked = (seq, id) => [
  event(seq, "human.asked", {}, "ui"),
  frame(seq, "chat.input_request", { agent: "Planner", request_id: id, prompt: "Shall I?", options: ["Yes", "No"] }),
];

export const answered = (seq, id, text) => [
  event(seq, "human.answered", {}, "ui"),
  frame(seq, "chat.input_ack", { request_id: id, input_request_id: id, status: "accepted", text }),
];

export const completed = (seq) => [
  event(seq, "chat.completed"),
  frame(seq, "chat.run_complete", { status: 1, reason: "terminate", agent: "" }),
];

export function chunk(offset, content, { turn = 1, call = 0, runner = "first", agent = "Planner" } = {}) {
  return { type: "chat.print", data: { agent, content, turn, call, offset, runner }, agent, content };
}

export const STORY = [
  ...started(1), ...speaker(2, "Planner"), ...requested(3), chunk(0, "Let me "), chunk(7, "look."),
  ...responded(4, { text: "Let me look.", tools: ["a", "b"] }), ...returned(5, "a", "one"), ...returned(6, "b", "two"),
  ...asked(7, "q1"), ...answered(8, "q1", "Yes"), ...responded(9, { call: 1, text: "Done." }), ...completed(10),
];
