/** The picture of a workflow: boxes that do not overlap, arrows between them, labels that fit. */

import { drawn, linesOf, pathOf, sizeOf } from "../../../services/transport/console/src/pages/workflows/layout";

const node = (id, name = id) => ({ id, name, kind: "agent" });
const edge = (source, target, label = "") => ({ source, target, label });
const SHOP = {
  nodes: [node("a", "Receptionist"), node("b", "Billing"), node("c", "Technician"), node("user")],
  edges: [edge("a", "b", "the bill is wrong"), edge("a", "c"), edge("b", "user"), edge("c", "user"), edge("user", "a"), edge("b", "b", "again")],
};
const tools = (id) => (id === "b" ? ["find_invoice", "close_ticket"] : []);
const overlap = (one, other) =>
  one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;

for (const direction of ["LR", "TB"]) {
  test(`${direction}: every node has a box of its own, and every arrow a path`, () => {
    const { boxes, routes } = drawn(SHOP, tools, direction);
    assert.deepEqual(boxes.map(({ id }) => id), ["a", "b", "c", "user"]);
    boxes.forEach((one, number) => boxes.slice(number + 1).forEach((other) => assert.ok(!overlap(one, other), `${one.id} ${other.id}`)));
    assert.equal(routes.length, SHOP.edges.length);
    for (const { path, label } of routes) {
      assert.match(path, /^M[-\d.]+ [-\d.]+[QL]/);
      assert.ok(Number.isFinite(label.x) && Number.isFinite(label.y));
    }
    assert.deepEqual(routes[0].lines, ["the bill is wrong"]);
  });

  test(`${direction}: the layers follow the arrows`, () => {
    const { boxes } = drawn({ nodes: [node("a"), node("b"), node("c")], edges: [edge("a", "b"), edge("b", "c")] }, () => [], direction);
    const along = boxes.map(({ x, y }) => (direction === "LR" ? x : y));
    assert.deepEqual(along, along.toSorted((one, other) => one - other));
    assert.equal(new Set(along).size, 3);
  });
}

test("two arrows between the same nodes are two paths", () => {
  const { routes } = drawn({ nodes: [node("a"), node("b")], edges: [edge("a", "b", "one"), edge("a", "b", "two")] }, () => [], "LR");
  assert.notEqual(routes[0].path, routes[1].path);
});

test("a workflow without anything is an empty picture", () => {
  assert.deepEqual(drawn({}, () => [], "LR"), { boxes: [], routes: [] });
  assert.equal(pathOf([]), "");
});

test("a box grows with its name and its tools", () => {
  const small = sizeOf("A", []);
  assert.ok(sizeOf("A very long name of an agent", []).width > small.width);
  assert.ok(sizeOf("A", ["a_tool_with_a_long_name"]).width > small.width);
  assert.equal(sizeOf("A", ["a", "b"]).height - sizeOf("A", ["a"]).height, sizeOf("A", ["a"]).height - small.height);
});

test("a label has at most three lines, and says where words are left out", () => {
  assert.deepEqual(linesOf(""), []);
  assert.deepEqual(linesOf("  short   words "), ["short words"]);
  const lines = linesOf("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen");
  assert.equal(lines.length, 3);
  assert.match(lines[2], / …$/);
  assert.ok(lines.every((line) => line.length <= 28));
});
