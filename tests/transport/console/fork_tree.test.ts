/** The list of chats: forks below what they come from. */

import { forkTree } from "../../../services/transport/console/src/session/fork_tree";

const chat = (chat_id, origin = null) => ({ chat_id, workflow_name: "Shop", origin: origin && { chat_id: origin, sequence: 3 } });
const shown = (...list) => forkTree(list).map((row) => (row.kind === "chat" ? `${"-".repeat(row.depth)}${row.chat.chat_id}` : `(${row.chat_id})`));

test("a fork is below the chat that it comes from, a fork of the fork below that", () => {
  assert.deepEqual(shown(chat("c", "b"), chat("x"), chat("b", "a"), chat("a"), chat("d", "a")), ["x", "a", "-b", "--c", "-d"]);
});

test("forks of a chat that is not in the list are together, below a row that leads to it", () => {
  assert.deepEqual(shown(chat("x"), chat("b", "a"), chat("y"), chat("c", "a"), chat("d", "b")), ["x", "(a)", "-b", "--d", "-c", "y"]);
  assert.deepEqual(forkTree([chat("b", "a")])[0], { kind: "origin", chat_id: "a", workflow_name: "Shop" });
});

test("every chat of a list is shown once", () => {
  const list = Array.from({ length: 40 }, (_, number) => chat(String(number), number % 3 ? String(number * 2) : null));
  const ids = forkTree(list).flatMap((row) => (row.kind === "chat" ? [row.chat.chat_id] : []));
  assert.deepEqual(ids.toSorted(), list.map(({ chat_id }) => chat_id).toSorted());
  assert.deepEqual(shown(), []);
  assert.deepEqual(shown(chat("a", "a")), ["a"]);
});
