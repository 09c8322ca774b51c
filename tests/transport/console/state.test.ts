import {
  canRetry, cursor, EMPTY, ENTRIES_KEPT, EVENTS_KEPT, fold, hasEarlier, mayAnswer, mustAskAgain, openQuestion, shownEntries, statusOf, textId,
  thinker, withEarlier,
} from "../../../services/transport/console/src/chat/state";
import {
  answered, asked, boundary, chunk, completed, event, frame, history, meta, progressed, requested, responded, returned, speaker,
  started, STORY, told,
} from "./frames";

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

test("a question about a call in doubt keeps which call it is about", () => {
  const doubt = { tool: "charge", digest: "ab", attempt: 1 };
  const asking = { agent: "Clerk", request_id: "q1", prompt: "What happened?", options: ["It happened"], doubt };
  const open = told([...started(1), frame(2, "chat.input_request", asking)]);
  assert.deepEqual(openQuestion(open).doubt, doubt);
  assert.equal(openQuestion(told([...started(1), ...asked(2, "q2")])).doubt, null);
});

const PAY = { tool: "pay", digest: "ab", allow_always: true };
const FINANCE = { users: ["bob"], roles: ["finance"] };

function approvalAsked(seq, id, more = {}) {
  return frame(seq, "chat.input_request", { agent: "Clerk", request_id: id, prompt: "May pay be called?", options: [], approval: PAY, ...more });
}

function decided(seq, id, text, more) {
  return frame(seq, "chat.input_ack", { request_id: id, input_request_id: id, status: "accepted", text, ...more });
}

test("an approval keeps its call and its decision, and who decided", () => {
  const open = told([...started(1), approvalAsked(2, "q1")]);
  assert.deepEqual(openQuestion(open).approval, PAY);
  const refused = told([decided(3, "q1", "Too much", { approved: false, answered_by: "bob" })], open);
  const { open: stillOpen, approved, answeredBy, answer } = refused.entries.find(({ id }) => id === "q1");
  assert.deepEqual([stillOpen, approved, answeredBy, answer], [false, false, "bob", "Too much"]);
});

test("an answer to an approval that is neither yes nor no decides nothing", () => {
  const asking = told([...started(1), approvalAsked(2, "q1"), decided(3, "q1", "perhaps", {}), approvalAsked(4, "q2")]);
  assert.equal(asking.entries.find(({ id }) => id === "q1").approved, null);
  assert.equal(openQuestion(asking).id, "q2");
});

test("only those who are asked may answer, after an escalation more of them", () => {
  const own = openQuestion(told([...started(1), approvalAsked(2, "q1")]));
  assert.equal(mayAnswer(own, { user: "ana", roles: [] }), true);
  const asking = told([...started(1), approvalAsked(2, "q1", { audience: FINANCE })]);
  const may = (state, user, roles) => mayAnswer(openQuestion(state), { user, roles });
  assert.equal(may(asking, "ana", []), false);
  assert.equal(may(asking, "bob", []), true);
  assert.equal(may(asking, "zoe", ["finance"]), true);
  assert.equal(may(asking, "ana", null), true); // without sign-in
  const later = told([frame(3, "chat.question_escalated", { request_id: "q1", to: { users: [], roles: ["manager"] } })], asking);
  assert.equal(may(later, "max", ["manager"]), true);
});

test("a refused call is shown as refused", () => {
  const state = told([...started(1), ...responded(2, { tools: ["a"] }),
    frame(3, "chat.tool_activity", { agent: "Writer", tool_call_id: "a", tool_name: "a", turn: 1, call: 0, phase: "returned", status: "refused", content: "no" })]);
  assert.equal(state.entries.find(({ kind }) => kind === "tool").status, "refused");
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

test("why nothing comes is shown until something comes", () => {
  const wait = { type: "chat.waiting", data: { reason: "queue", message: "It waits." } };
  const state = told([...started(1), ...speaker(2, "Planner"), wait]);
  assert.equal(state.waiting.message, "It waits.");
  assert.equal(fold(state, { type: "ack.input", data: {} }).waiting.message, "It waits.");
  assert.equal(fold(state, chunk(0, "So")).waiting, null);
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

test("the turn limit of a chat is shown as a note", () => {
  const limit = { turns: 40, max_turns: 50, waits: false, message: "Turn 40: ..." };
  const state = told([...started(1), event(2, "chat.turn_limit_reported", limit), frame(2, "chat.turn_limit", limit)]);
  assert.deepEqual(state.entries.map(({ kind, text, waits }) => ({ kind, text, waits })), [{ kind: "note", text: "Turn 40: ...", waits: false }]);
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

const split = (seq) => [sequenced.filter((one) => one.seq < seq), sequenced.filter((one) => one.seq >= seq)];
const page = (frames) => ({ frames, first_sequence: frames[0].seq });
const shownOf = ({ entries, events, eventCount, seq, end }) => ({ entries, events, eventCount, seq, end });

test("a tail and the page before it are the whole chat, wherever the tail begins", () => {
  const whole = told([meta, ...sequenced]);
  for (let seq = 2; seq <= 10; seq += 1) {
    const [before, tail] = split(seq);
    const opened = told([meta, history(tail, { total_tokens: whole.tokens }), boundary(10)]);
    assert.equal(opened.first, seq);
    assert.ok(hasEarlier(opened));
    const all = withEarlier(opened, page(before));
    assert.deepEqual(shownOf(all), shownOf(whole), `from ${seq}`);
    assert.deepEqual([all.tokens, hasEarlier(all)], [whole.tokens, false]);
  }
});

test("a page leaves the entries that are here as they are, so that only its own are rendered", () => {
  const [before, tail] = split(5);
  const opened = told([meta, history(tail), boundary(10)]);
  const all = withEarlier(opened, page(before));
  const whole = new Set(told([meta, ...sequenced]).entries.map((entry) => JSON.stringify(entry)));
  const same = opened.entries.filter((entry) => whole.has(JSON.stringify(entry)));
  assert.ok(same.length > 0 && same.every((entry) => all.entries.includes(entry)));
  assert.ok(all.entries.length > opened.entries.length);
});

test("several pages are put before one another", () => {
  const whole = told([meta, ...sequenced]);
  let state = told([meta, history(sequenced.filter(({ seq }) => seq >= 9))]);
  for (const [first, end] of [[6, 9], [3, 6], [1, 3]]) {
    state = withEarlier(state, page(sequenced.filter(({ seq }) => seq >= first && seq < end)));
  }
  assert.deepEqual(shownOf(state), shownOf(whole));
});

test("a tail is no gap and no loss", () => {
  const [, tail] = split(6);
  const state = told([meta, history(tail)]);
  assert.equal(mustAskAgain(state), false);
  assert.equal(state.entries.some(({ code }) => code === "EVENTS_MISSING"), false);
  assert.equal(state.eventCount, 10);
});

test("a tail says whose turn it is and how many tokens all before it used", () => {
  const state = told([meta, history(requested(500), { speaker: "user", total_tokens: 70 }), boundary(500)]);
  assert.deepEqual([statusOf(state), state.tokens, cursor(state)], ["your_turn", 70, 499]);
});

test("live frames go on after a tail, and a page does not touch them", () => {
  const [before, tail] = split(4);
  const live = [...responded(11, { turn: 3, text: "And more." })];
  const state = withEarlier(told([meta, history(tail), boundary(10), ...live]), page(before));
  assert.equal(state.seq, 11);
  assert.deepEqual(textsOf(state), textsOf(told([...sequenced, ...live])));
});

test("the progress of a running tool survives a page", () => {
  const tail = responded(2, { tools: ["a"] });
  const state = told([meta, history(tail), progressed("a", 40, "looking")]);
  const all = withEarlier(state, page(started(1)));
  assert.deepEqual(all.entries.find(({ kind }) => kind === "tool").progress, { percent: 40, message: "looking" });
});

test("once entries were dropped there are no earlier ones to show", () => {
  const texts = Array.from({ length: ENTRIES_KEPT + 1 }, (_, at) =>
    frame(at + 50, "chat.text", { agent: "user", role: "user", content: `${at}` }));
  assert.equal(hasEarlier(told([meta, history(texts)])), false);
});

const cut = (seq, content, interrupted, more = {}) => [
  event(seq, "turn.text_interrupted"),
  frame(seq, "chat.text", { agent: "Planner", role: "assistant", content, turn: 1, call: 0, interrupted, ...more }),
];
const userSays = (seq, content, while_running) => [
  event(seq, "chat.user_message_received"),
  frame(seq, "chat.text", { agent: "user", role: "user", content, while_running }),
];
const markedOf = (state) => state.entries.filter(({ kind }) => kind === "text")
  .map(({ text, waits, refused, interrupted }) => [text, waits ?? (refused ? "refused" : interrupted ?? "")]);

test("what was shown before a stop is what stays, for who saw it and for who comes later", () => {
  const stopped = [
    ...cut(4, "Once upon", "stopped"), event(5, "turn.stopped"),
    frame(5, "chat.answer_stopped", { agent: "Planner", turn: 1, by: "stop" }), ...speaker(6, "user"),
  ];
  const opening = [...started(1), ...speaker(2, "Planner"), ...requested(3)];
  const live = told([...opening, chunk(0, "Once upon"), ...stopped]);
  const late = told([...opening, ...stopped, boundary(6)]);
  for (const state of [live, late]) {
    assert.deepEqual(markedOf(state), [["Once upon", "stopped"]]);
    assert.equal(state.stream, null);
    assert.equal(statusOf(state), "your_turn");
  }
  assert.deepEqual(fold(live, chunk(9, " a time")), live);
});

test("a text that begins anew is another message", () => {
  const state = told([
    ...started(1), ...requested(2), chunk(0, "Never m"), ...cut(3, "Never m", "retried"),
    { ...chunk(0, "At l"), data: { ...chunk(0, "At l").data, runner: "other" } },
  ]);
  assert.deepEqual(markedOf(state), [["Never m", "retried"]]);
  assert.equal(state.stream.text, "At l");
  assert.deepEqual(markedOf(told(responded(4, { text: "At last." }), state)).map(([text]) => text), ["Never m", "At last."]);
});

test("a message that waits says so until an agent reads it, or nobody will", () => {
  const waiting = told([...started(1), ...speaker(2, "Planner"), ...userSays(3, "Hurry", "queue"), ...userSays(4, "Now", "queue")]);
  assert.deepEqual(markedOf(waiting).map(([, mark]) => mark !== ""), [true, true]);
  const consumed = told([event(5, "chat.user_messages_consumed"), frame(5, "chat.messages_consumed", { messages: [3] })], waiting);
  assert.deepEqual(markedOf(consumed), [["Now", "queue"], ["Hurry", ""]]);
  const refused = told([event(6, "chat.user_message_refused"), frame(6, "chat.message_refused", { reason: "chat_ended", message: 4 })], consumed);
  assert.deepEqual(markedOf(refused)[0], ["Now", "refused"]);
});

test("a question that expires is closed", () => {
  const state = told([...started(1), ...asked(2, "q"), event(3, "human.question_expired"),
    frame(3, "chat.input_timeout", { request_id: "q", input_request_id: "q" })]);
  assert.equal(openQuestion(state), null);
});

const TALK = [
  ...started(1), ...userSays(2, "Hi"), ...speaker(3, "Planner"), ...responded(4, { text: "Hello." }),
  ...speaker(5, "user"),
];
const rewound = (seq, to_seq) => [event(seq, "chat.rewound"), frame(seq, "chat.rewound", { to_seq, kind: "retry" })];

test("what was rewound is not shown any more, and the tokens stay", () => {
  const used = told([event(6, "turn.usage_recorded"), frame(6, "chat.usage_delta", { total_tokens: 7 })], told(TALK));
  const state = told([...rewound(7, 2), ...speaker(8, "Planner")], used);
  assert.deepEqual(textsOf(state), ["Hi"]);
  assert.equal(state.tokens, 7);
  assert.equal(state.seq, 8);
  assert.equal(state.eventCount, 8);
  assert.deepEqual(textsOf(told(responded(9, { turn: 3, text: "Hello again." }), state)), ["Hi", "Hello again."]);
});

test("a page with too much to tell what is left is to be read anew", () => {
  assert.equal(told(rewound(6, 2), { ...told(TALK), frames: null }).stale, true);
});

test("a failed chat goes on with a message, and can be retried", () => {
  const failure = frame(6, "chat.run_complete", { status: 2, reason: "No quota.", resumable: true });
  const failed = told([event(6, "chat.failed"), failure], told(TALK));
  assert.deepEqual([statusOf(failed), canRetry(failed)], ["failed", true]);
  assert.equal(told(userSays(7, "And now?"), failed).end, null);
  const over = told([event(6, "chat.failed"), frame(6, "chat.run_complete", { status: 2 })], told(TALK));
  assert.equal(told(userSays(7, "And now?"), over).end.status, "failed");
});

test("there is nothing to retry before an agent has spoken, or while one does", () => {
  assert.equal(canRetry(told([...started(1), ...speaker(2, "user")])), false);
  assert.equal(canRetry(told(TALK.slice(0, 6))), false);
  assert.equal(canRetry(told(TALK)), true);
});

test("a tool call shows who approved it, what it took and what its model call used", () => {
  const used = (seq, call) => [event(seq, "turn.usage_recorded"),
    frame(seq, "chat.usage_delta", { invocation_id: call, prompt_tokens: 30, completion_tokens: 10, total_tokens: 40, cost: 0.25, model_name: "m" })];
  const asking = approvalAsked(4, "q1", { turn: 1, tool_call_id: "a" });
  const state = told([...started(1), ...responded(2, { text: "I pay.", tools: ["a"] }), ...used(3, "1.0"), event(4, "human.asked"), asking,
    event(5, "human.answered"), decided(5, "q1", "", { approved: true, answered_by: "bob" }), ...returned(6, "a", "paid")]);
  const [text, tool] = state.entries;
  assert.deepEqual([tool.approval, tool.usage.cost, text.usage.prompt], [{ approved: true, by: "bob", always: false }, 0.25, 30]);
  assert.deepEqual([state.tokens, state.cost], [40, 0.25]);
});

test("calls of a tool that was approved for the whole chat name its approver, those of other agents do not", () => {
  const asking = approvalAsked(3, "q1", { agent: "Writer", turn: 1, tool_call_id: "a" });
  const granted = told([...started(1), ...responded(2, { tools: ["pay", "pay2"] }), event(3, "human.asked"), asking,
    event(4, "human.answered"), decided(4, "q1", "", { approved: true, always: true, answered_by: "bob" })]);
  assert.equal(granted.entries.find(({ kind }) => kind === "question").always, true);
  const call = (seq, agent, phase) => frame(seq, "chat.tool_activity",
    { agent, tool_call_id: `${agent}${phase}`, tool_name: "pay", turn: 2, call: 0, phase, arguments: "{}", status: "ok", content: "" });
  const state = told([call(6, "Writer", "called"), call(7, "Clerk", "called"), call(8, "Writer", "returned")], granted);
  const approvals = state.entries.filter(({ kind, turn }) => kind === "tool" && turn === 2).map(({ agent, approval }) => [agent, approval]);
  const bob = { approved: true, by: "bob", always: true };
  assert.deepEqual(approvals, [["Writer", bob], ["Clerk", null], ["Writer", bob]]);
});

test("a form keeps what was answered", () => {
  const shown = { agent: "Designer", component_type: "Card", tool_name: "card", event_id: "f1", payload: {}, awaiting_response: true };
  const state = told([...started(1), frame(2, "chat.tool_call", shown),
    frame(3, "chat.ui_tool_complete", { eventId: "f1", summary: "card was answered", response: { copies: 3 } })]);
  const form = state.entries.find(({ kind }) => kind === "form");
  assert.deepEqual([form.open, form.response], [false, { copies: 3 }]);
});

test("what streams comes after what was said, and what waits to be read after that", () => {
  const state = told([...started(1), ...speaker(2, "Planner"), ...userSays(3, "Hurry", "queue"), chunk(0, "Well")]);
  assert.deepEqual(shownEntries(state).map(({ text }) => text), ["Well", "Hurry"]);
  assert.equal(shownEntries(state)[0].id, textId({ turn: 1, call: 0 }));
});

test("chunks alone leave the entries as they are, so that nothing else is shown anew", () => {
  const state = told([...started(1), ...responded(2, { text: "First." }), chunk(0, "Se", { call: 1 })]);
  assert.equal(told([chunk(2, "cond", { call: 1 })], state).entries, state.entries);
});
