/** The timeline of a chat: places on the bar, waits of the user, filters. */

import { filtered, keyOf, openCall, secondsOf, spansOf, traceAddress, withWait } from "../../../services/transport/console/src/pages/trace/spans";

const NOON = Date.parse("2026-01-01T12:00:00Z");
const at = (second) => new Date(NOON + second * 1000).toISOString();
const entry = (kind, from, to, more = {}) =>
  ({ kind, name: kind, seq: from, started_at: at(from), ended_at: to === null ? null : at(to), ...more });
const near = (one, other) => assert.ok(Math.abs(one - other) < 1e-9, `${one} is not ${other}`);

test("entries lie on the bar where they lay in time, and what is not over lasts until now", () => {
  const spans = spansOf([entry("turn", 0, 4), entry("model_call", 1, 3), entry("turn", 4, null)], NOON + 8000);
  assert.deepEqual(spans.map(({ seconds, depth }) => [seconds, depth]), [[4, 0], [2, 1], [4, 0]]);
  const places = [[0, 0.5], [0.125, 0.25], [0.5, 0.5]];
  spans.forEach(({ left, width }, number) => {
    near(left, places[number][0]);
    near(width, places[number][1]);
  });
});

test("a long wait of the user leaves room for what agents did", () => {
  const day = 86_400;
  const [before, wait, after] = spansOf([entry("turn", 0, 5), entry("wait", 5, day), entry("turn", day, day + 5)], NOON);
  assert.ok(before.width > 0.4 && after.width > 0.4, `${before.width} ${after.width}`);
  assert.ok(wait.width < 0.2);
  assert.equal(wait.seconds, day - 5);
  near(after.left + after.width, 1);
});

test("every entry is within the bar, also of a chat that has only waited or had no time", () => {
  const stories = [
    [entry("start", 0, 0)],
    [entry("wait", 0, 100)],
    [entry("wait", 0, null)],
    [entry("start", 0, 0), entry("wait", 0, 50), entry("turn", 50, 51), entry("wait", 51, null)],
  ];
  for (const story of stories) {
    for (const { left, width } of spansOf(story, NOON + 60_000)) {
      assert.ok(left >= 0 && width >= 0 && left + width <= 1 + 1e-9, JSON.stringify([story, left, width]));
    }
  }
});

test("no entries are no spans", () => {
  assert.deepEqual(spansOf([], NOON), []);
});

test("clocks that differ make no time less than nothing", () => {
  assert.equal(secondsOf(entry("turn", 5, 4), NOON), 0);
  assert.equal(secondsOf(entry("turn", 5, null), NOON), 0);
});

test("filters show calls, failures, and the slowest first but for the user's own time", () => {
  const spans = spansOf([
    entry("wait", 0, 60), entry("turn", 60, 64), entry("model_call", 60, 61), entry("tool_call", 61, 63, { is_failure: true }),
  ], NOON);
  const kinds = (filter) => filtered(spans, filter).map(({ entry: { kind } }) => kind);
  assert.deepEqual(kinds("all"), ["wait", "turn", "model_call", "tool_call"]);
  assert.deepEqual(kinds("calls"), ["model_call", "tool_call"]);
  assert.deepEqual(kinds("failures"), ["tool_call"]);
  assert.deepEqual(kinds("slow"), ["turn", "tool_call", "model_call"]);
  assert.deepEqual(spans.map(({ entry: { kind } }) => kind), ["wait", "turn", "model_call", "tool_call"]);
});

test("a trace has an address where the server says how it is made", () => {
  assert.equal(traceAddress("https://jaeger.example.com/trace/{trace_id}", "4bf9"), "https://jaeger.example.com/trace/4bf9");
  assert.equal(traceAddress(null, "4bf9"), null);
  assert.equal(traceAddress("https://jaeger.example.com/trace/{trace_id}", null), null);
});

test("the wait of a call that goes on is below it, and no call that is over waits", () => {
  const wait = { code: "MODEL_RATE_LIMITED", seconds: 20, attempt: 2, attempts: 4, next_attempt_at: at(30) };
  const over = [entry("turn", 0, null), entry("model_call", 1, 3)];
  assert.deepEqual([withWait(over, wait), openCall(over)], [over, null]);
  const going = [...over, entry("model_call", 5, null, { turn: 1, agent: "Clerk" }), entry("message", 6, 6)];
  assert.equal(withWait(going, null), going);
  const shown = withWait(going, wait);
  assert.deepEqual(shown.map(({ kind }) => kind), ["turn", "model_call", "model_call", "provider_wait", "message"]);
  assert.deepEqual([shown[3].name, shown[3].seq, shown[3].started_at, shown[3].agent], ["MODEL_RATE_LIMITED", 5, at(10), "Clerk"]);
});

test("several waits of one call have keys of their own", () => {
  const waits = [2, 3].map((attempt) => entry("provider_wait", 5, 6, { attempt }));
  assert.equal(new Set([entry("model_call", 5, 9), ...waits].map(keyOf)).size, 3);
});
