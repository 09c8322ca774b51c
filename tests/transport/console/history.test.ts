/** What the charts of operations show. */

import { KEPT, sampleOf, valuesOf, withSample } from "../../../services/transport/console/src/pages/operations/history";

const app = (running, prompt_tokens, completion_tokens, cost) => ({ chats: { running, waiting: 9 }, prompt_tokens, completion_tokens, cost });
const streams = (unfolded_messages, ...pending) => ({ streams: [], consumers: pending.map((one) => ({ pending: one })), unfolded_messages });
const sample = (time, tokens) => ({ time, chats: 1, tokens, cost: 0.5, lag: 0 });

test("a sample adds up all apps, and everything that is not yet read", () => {
  const found = sampleOf(7, [app(2, 10, 5, 0.25), app(1, 1, 1, 0.5)], streams(3, 4, 5));
  assert.deepEqual(found, { time: 7, chats: 3, tokens: 17, cost: 0.75, lag: 12 });
  assert.deepEqual(sampleOf(7, [{ ...app(0, 0, 0, 0), chats: {} }], streams(0)), { time: 7, chats: 0, tokens: 0, cost: 0, lag: 0 });
});

test("tokens are shown per second, everything else as it was", () => {
  const history = [sample(0, 100), sample(2000, 120), sample(4000, 120)];
  assert.deepEqual(valuesOf(history, "tokens"), [0, 10, 0]);
  assert.deepEqual(valuesOf(history, "cost"), [0.5, 0.5, 0.5]);
  assert.deepEqual(valuesOf([], "tokens"), []);
});

test("a metrics service that begins anew makes no negative rate, and two samples at once no endless one", () => {
  assert.deepEqual(valuesOf([sample(0, 100), sample(1000, 0)], "tokens"), [0, 0]);
  assert.ok(Number.isFinite(valuesOf([sample(0, 0), sample(0, 1)], "tokens")[1]));
});

test("only the newest samples are kept", () => {
  const history = Array.from({ length: KEPT + 5 }, (_, time) => sample(time, 0)).reduce(withSample, []);
  assert.equal(history.length, KEPT);
  assert.deepEqual([history[0].time, history.at(-1).time], [5, KEPT + 4]);
});
