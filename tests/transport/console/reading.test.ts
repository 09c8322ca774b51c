import { chatHash, placeOf, routeOf } from "../../../services/transport/console/src/app/router";
import { socketOf, TAIL } from "../../../services/transport/console/src/net/address";
import { blocksOf, safeAddress, withFormulas } from "../../../services/transport/console/src/parts/markdown_text";
import { de } from "../../../services/transport/console/src/texts/de";
import { en } from "../../../services/transport/console/src/texts/en";

test("any id survives the hash", () => {
  for (const id of ["plain", "acme.corp", "a b", "a/b", "a*>", "größe 👋", "%41", "#?&"]) {
    const place = { app: id, workflow: id, chat: id };
    assert.deepEqual(placeOf(routeOf(chatHash(place))), place);
  }
});

test("a hash that names no chat is no place, and a page has its segments", () => {
  for (const hash of ["", "#", "#/a/b", "#/a/b/c/d", "#/%zz/b/c", "#nothing/a/b/c"]) assert.equal(placeOf(routeOf(hash)), null);
  assert.deepEqual(routeOf("#trace/acme/W%2F/c"), { page: "trace", segments: ["acme", "W/", "c"] });
});

test("the socket is asked for everything after the cursor", () => {
  const address = socketOf({ protocol: "https:", host: "h" }, { app: "a/b", workflow: "W", chat: "c" }, "u 1", 9, true);
  assert.equal(address, "wss://h/ws/W/a%2Fb/c/u%201?after=9&events=1");
});

test("a chat of which nothing is here is opened by its newest events", () => {
  const address = socketOf({ protocol: "http:", host: "h" }, { app: "a", workflow: "W", chat: "c" }, "u", null, false);
  assert.equal(address, `ws://h/ws/W/a/c/u?tail=${TAIL}&events=0`);
});

test("a text is cut between blocks, never inside of code, a formula, a list or a table", () => {
  assert.deepEqual(blocksOf("one\n\ntwo\nthree\n\n# four"), ["one\n", "two\nthree\n", "# four"]);
  for (const whole of ["```\na\n\nb\n```", "$$\na\n\nb\n$$", "- a\n\n- b", "1. a\n\n   b", "~~~\n\n```\n\n~~~", "[a][1]\n\nb\n\n[1]: https://a.example"]) {
    assert.equal(blocksOf(whole).length, 1, whole);
  }
});

test("a text that grows keeps the blocks that are finished", () => {
  const text = "# A\n\nSome words.\n\n```js\nlet a\n\nlet b\n```\n\n- x\n- y\n\nThe end.";
  for (let length = 1; length < text.length; length += 1) {
    const [before, after] = [blocksOf(text.slice(0, length)), blocksOf(text)];
    assert.deepEqual(before.slice(0, -1), after.slice(0, before.length - 1), text.slice(0, length));
  }
});

test("a price is no formula, and code is left alone", () => {
  assert.equal(withFormulas("$5 and $10"), "\\$5 and \\$10");
  assert.equal(withFormulas("$x^2$ costs $3"), "$x^2$ costs \\$3");
  assert.equal(withFormulas("\\(a\\) and `$b`"), "$a$ and `$b`");
  assert.equal(withFormulas("```\n$HOME \\(a\\)\n```"), "```\n$HOME \\(a\\)\n```");
  assert.equal(withFormulas("\\[a\\]").trim(), "$$\na\n$$");
});

test("only addresses of the web and of mail are links", () => {
  for (const good of ["https://a.example/b", "http://a.example", "mailto:a@b.example"]) assert.equal(safeAddress(good), good);
  for (const bad of ["javascript:alert(1)", " javascript:alert(1)", "JaVaScRiPt:x", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "/api/me", "x", "", undefined, "blob:https://a/b"]) {
    assert.equal(safeAddress(bad), undefined, bad);
  }
});

test("every language has every text, with the same arguments", () => {
  const shapeOf = (texts) => Object.fromEntries(Object.entries(texts).map(([name, text]) =>
    [name, typeof text === "function" ? `function of ${text.length}` : typeof text === "object" ? shapeOf(text) : typeof text]));
  assert.deepEqual(shapeOf(de), shapeOf(en));
});
