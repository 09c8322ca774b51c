import assert from "node:assert/strict";
import { test } from "node:test";

import { cursor, EMPTY, ENTRIES_KEPT, EVENTS_KEPT, fold, mustAskAgain, openQuestion, statusOf, thinker } from "../../../services/transport/console/state.js";
import {
  answered, asked, boundary, chunk, completed, event, frame, meta, progressed, requested, responded, returned, speaker,
  started, STORY, told,
} from "./frames.mjs";

const sequenced = STORY.filter(({ seq }) => seq !== undefined);
const textsOf = (state) => state.entries.filter(({ kind }) => kind === "text").map(({ text }) => text);
const kindsOf = (state) => state.entries.map(({ kind }) => kind);

test("a story is told in the order of its events", () => {
  const state = told(STORY);
  assert.deepEqual(kindsOf(state), ["text", "tool", "tool", "question", "text", "end"]);
  assert.deepEqual(state.events.map(({ seq }) => seq), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.equal(statusOf(state), "completed");
});

test("a repeated frame changes nothing", () => {
  STORY.reduce((state, one) => {
    const next = fold(state, one);
    assert.deepEqual(fold(next, one), next, `${one.type} ${one.seq ?? ""}`);
    return next;
  }, EMPTY);
  const state = told(STORY);
  for (const one of STORY) assert.deepEqual(fold(state, one), state);
});

test("the fold leaves the state that it was given as it was", () => {
  const state = told(STORY.slice(0, 8));
  const before = structuredClone(state);
  told(STORY.slice(8), state);
  assert.deepEqual(state, before);
});

test("a connection lost after any frame and taken up at the cursor ends as if it had held", () => {
  const whole = told(sequenced);
  for (let cut = 0; cut <= sequenced.length; cut += 1) {
    const state = told(sequenced.slice(0, cut));
    const rest = sequenced.filter(({ seq }) => seq > cursor(state));
    assert.deepEqual(told([meta, ...rest], state), whole, `cut after ${cut} frames`);
  }
});

test("a reload in mid-stream shows the text so far and then the rest", () => {
  const replay = [meta, ...started(1), ...speaker(2, "Planner"), ...requested(3), boundary(3)];
  const state = told([...replay, chunk(0, "Once upon "), chunk(5, "upon "), chunk(10, "a time")]);
  assert.equal(state.stream.text, "Once upon a time");
  const settled = told(responded(4, { text: "Once upon a time." }), state);
  assert.deepEqual([settled.stream, textsOf(settled)], [null, ["Once upon a time."]]);
});

test("a chunk that comes after the whole text is too late", () => {
  const state = told([...started(1), ...responded(2, { text: "Whole." })]);
  assert.deepEqual(fold(state, chunk(0, "Who")), state);
});

test("a restarted attempt replaces what the first one had said", () => {
  const first = told([chunk(0, "The first "), chunk(10, "attempt")]);
  const second = told([chunk(0, "A second", { runner: "second" }), chunk(10, " dies late")], first);
  assert.equal(second.stream.text, "A second");
  assert.equal(told([chunk(8, " one", { runner: "second" })], second).stream.text, "A second one");
});

test("offsets count characters, not the halves of an emoji", () => {
  assert.equal(told([chunk(0, "Hi 👋"), chunk(4, " there"), chunk(3, "👋 there, you")]).stream.text, "Hi 👋 there, you");
});

test("a missing chunk leaves a true beginning until the text so far is told", () => {
  const state = told([chunk(0, "One "), chunk(8, "three")]);
  assert.equal(state.stream.text, "One ");
  assert.equal(told([chunk(0, "One two three")], state).stream.text, "One two three");
});

test("a text that streams comes after what was said meanwhile", () => {
  const said = frame(2, "chat.text", { agent: "user", role: "user", content: "Wait" });
  const state = told([...started(1), chunk(0, "Well"), event(2, "chat.user_message_received"), said]);
  assert.deepEqual([textsOf(state), state.stream.text], [["Wait"], "Well"]);
  assert.deepEqual(textsOf(told(responded(3, { text: "Well then" }), state)), ["Wait", "Well then"]);
});

test("a tool shows how far it is until it returns", () => {
  const called = told([...started(1), ...responded(2, { tools: ["a", "b"] })]);
  const state = told([progressed("a", 10, "reading"), progressed("a", null, "thinking"), progressed("b", 0)], called);
  const bars = ({ entries }) => entries.map(({ progress }) => progress);
  assert.deepEqual(bars(state), [{ percent: null, message: "thinking" }, { percent: 0, message: "" }]);
  assert.deepEqual(bars(told(returned(3, "a", "one"), state)), [null, { percent: 0, message: "" }]);
  assert.deepEqual(bars(told(completed(3), state)).slice(0, 2), [null, null]);
});

test("progress of a call that has returned, was never made or is another turn's shows nothing", () => {
  const state = told([...started(1), ...responded(2, { tools: ["a", "b"] }), ...returned(3, "a", "one")]);
  for (const late of [progressed("a", 99), progressed("c", 1), progressed("b", 1, "", 2)]) {
    assert.equal(fold(state, late), state);
  }
});

test("a question that was answered elsewhere is closed here with its answer", () => {
  const open = told([...started(1), ...asked(2, "q1")]);
  assert.equal(statusOf(open), "waiting");
  const closed = told(answered(3, "q1", "No"), open);
  assert.equal(openQuestion(closed), null);
  assert.equal(closed.entries.find(({ id }) => id === "q1").answer, "No");
  assert.equal(statusOf(closed), "running");
});

test("the receipt of an answer is not yet the answer", () => {
  const open = told([...started(1), ...asked(2, "q1")]);
  assert.deepEqual(fold(open, { type: "chat.input_ack", data: { request_id: "q1", status: "accepted" } }), open);
});

test("a question still open at the end can no longer be answered", () => {
  const state = told([...started(1), ...asked(2, "q1"), ...completed(3)]);
  assert.equal(openQuestion(state), null);
});

test("it is the person's turn when the next speaker is the user", () => {
  const state = told([...started(1), ...speaker(2, "user")]);
  assert.equal(statusOf(state), "your_turn");
  const said = frame(3, "chat.text", { agent: "user", role: "user", content: "Hello" });
  assert.equal(statusOf(told([said], state)), "running");
});

test("a speaker is thinking until the first word", () => {
  const state = told([...started(1), ...speaker(2, "Planner")]);
  assert.equal(thinker(state), "Planner");
  assert.equal(thinker(fold(state, chunk(0, "So"))), "");
});

test("a jump over an event is not taken but asked for again", () => {
  const state = told([...started(1), event(4, "turn.completed"), frame(4, "chat.text", { agent: "Planner", content: "?" })]);
  assert.deepEqual([state.seq, mustAskAgain(state), cursor(state)], [1, true, 0]);
  const healed = told([meta, ...started(1), ...speaker(2, "Planner"), ...requested(3), event(4, "turn.completed")], state);
  assert.deepEqual([healed.seq, healed.gap], [4, null]);
});

test("an event that the server no longer has is said to be missing", () => {
  const state = told([...started(1), event(4, "turn.completed"), meta, ...started(1), event(4, "turn.completed")]);
  assert.equal(state.seq, 4);
  assert.match(state.entries.at(-1).message, /events 2 to 3/);
});

test("without the event log in view a jump in the frames is no gap", () => {
  const state = told([frame(1, "chat.run_start", {}), frame(5, "chat.text", { agent: "Planner", content: "Hi", turn: 1, call: 0 })]);
  assert.deepEqual([state.seq, state.gap, textsOf(state)], [5, null, ["Hi"]]);
});

test("a refusal is shown once and moves no cursor", () => {
  const refusal = { type: "chat.error", data: { message: "text: too long", error_code: "MESSAGE_TOO_LARGE" } };
  const state = told([...started(1), refusal, refusal]);
  assert.deepEqual([kindsOf(state), state.seq], [["error"], 1]);
});

test("a failed chat gives its reason once", () => {
  const message = "The model did not answer.";
  const fault = (seq) => frame(seq, "chat.error", { message, error_code: "MODEL_UNAVAILABLE" });
  const state = told([...started(1), fault(2), fault(3), frame(3, "chat.run_complete", { status: 2, reason: message })]);
  assert.deepEqual(state.entries.map(({ kind, reason }) => [kind, reason]), [["error", undefined], ["end", ""]]);
  assert.equal(state.end.reason, message);
});

test("a UI tool is a form until it is answered", () => {
  const shown = frame(2, "chat.tool_call", { tool_name: "pick", component_type: "Picker", event_id: "u1", tool_call_id: "u1", payload: {}, agent: "Planner" });
  const open = told([...started(1), shown]);
  assert.equal(statusOf(open), "waiting");
  const done = told([frame(3, "chat.ui_tool_complete", { eventId: "u1", summary: "picked" })], open);
  assert.deepEqual([done.entries[0].open, done.entries[0].summary], [false, "picked"]);
});

test("a cancelled chat says so, and why", () => {
  const state = told([...started(1), chunk(0, "I was"), frame(2, "chat.run_complete", { status: 3, reason: "enough" })]);
  assert.deepEqual([statusOf(state), state.end.reason, state.stream], ["cancelled", "enough", null]);
});

test("frames of an unknown type are no trouble", () => {
  const state = told(started(1));
  assert.equal(told([{ type: "chat.something_new", data: {} }], state), state);
});

test("a very long chat keeps its newest part", () => {
  const many = Array.from({ length: EVENTS_KEPT + 5 }, (_, at) =>
    [event(at + 1, "chat.user_message_received"), frame(at + 1, "chat.text", { agent: "user", role: "user", content: "x" })]).flat();
  const state = told(many);
  assert.deepEqual([state.events.length, state.eventCount], [EVENTS_KEPT, EVENTS_KEPT + 5]);
  assert.deepEqual([state.entries.length, state.entriesDropped], [ENTRIES_KEPT, EVENTS_KEPT + 5 - ENTRIES_KEPT]);
});

test("a tool that the runtime calls shows the agent's words, then what came of it, and asks nothing", () => {
  const payload = { tool_args: { colour: "sea" }, agent_message: "A first draft." };
  const called = { agent: "Designer", tool_name: "show", tool_call_id: "turn-1", corr: "turn-1", component_type: "Card", awaiting_response: false, payload };
  const state = told([...started(1), frame(2, "chat.tool_call", called)]);
  assert.deepEqual(kindsOf(state), ["text", "tool"]);
  assert.deepEqual([state.entries[0].text, state.entries[1].arguments], ["A first draft.", { colour: "sea" }]);
  assert.equal(statusOf(state), "running");
  const done = told([frame(3, "chat.tool_response", { call_id: "turn-1", success: true, status: "ok", content: "approved" })], state);
  assert.deepEqual([done.entries[1].status, done.entries[1].content], ["ok", "approved"]);
});

test("a file that the person gave is an entry of its own", () => {
  const file = { attachment_id: "att_1", filename: "a.csv", size_bytes: 3, content_type: "text/csv" };
  const state = told([...started(1), frame(2, "chat.attachment_uploaded", file)]);
  assert.deepEqual(state.entries.map(({ kind, name }) => [kind, name]), [["file", "a.csv"]]);
});
