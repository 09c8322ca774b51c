import assert from "node:assert/strict";
import { test } from "node:test";

import { hashOf, placeOf, socketOf, TAIL } from "../../../services/transport/console/address.js";
import { blocksOf, spansOf } from "../../../services/transport/console/markdown.js";

test("any id survives the hash", () => {
  for (const id of ["plain", "acme.corp", "a b", "a/b", "a*>", "größe 👋", "%41", "#?&"]) {
    const place = { app: id, workflow: id, chat: id };
    assert.deepEqual(placeOf(hashOf(place)), place);
  }
});

test("a hash that names no chat is no place", () => {
  for (const hash of ["", "#", "#/a/b", "#/a/b/c/d", "#/a//c", "#/%zz/b/c"]) assert.equal(placeOf(hash), null);
});

test("the socket is asked for everything after the cursor", () => {
  const address = socketOf({ protocol: "https:", host: "h" }, { app: "a/b", workflow: "W", chat: "c" }, "u 1", 9, true);
  assert.equal(address, "wss://h/ws/W/a%2Fb/c/u%201?after=9&events=1");
});

test("a chat of which nothing is here is opened by its newest events", () => {
  const address = socketOf({ protocol: "http:", host: "h" }, { app: "a", workflow: "W", chat: "c" }, "u", null, false);
  assert.equal(address, `ws://h/ws/W/a/c/u?tail=${TAIL}&events=0`);
});

test("paragraphs, lists, headings and fences are told apart", () => {
  const blocks = blocksOf("# Title\none\ntwo\n\n- a\n- b\n1. c\n```js\n**x**\n```\nend");
  assert.deepEqual(blocks.map(({ kind }) => kind), ["heading", "paragraph", "list", "list", "code", "paragraph"]);
  assert.equal(blocks[4].text, "**x**");
});

test("a fence that is still growing is code already", () => {
  assert.deepEqual(blocksOf("```\nlet x"), [{ kind: "code", text: "let x" }]);
});

test("bold and code are found, and markup stays text", () => {
  assert.deepEqual(spansOf("a **b** `c` <i>"), [
    { kind: "plain", text: "a " }, { kind: "bold", text: "b" }, { kind: "plain", text: " " },
    { kind: "code", text: "c" }, { kind: "plain", text: " <i>" },
  ]);
});

test("every text ends, whatever it is made of", () => {
  for (const text of ["", "\n", "\n\n\n", "```", "- ", "-", "#", "  ", "1.", "**", "a\r\nb"]) assert.ok(blocksOf(text));
});
