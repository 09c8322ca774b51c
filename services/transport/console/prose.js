/** Text and data as readable elements. */

import { el } from "./elements.js";
import { blocksOf, spansOf } from "./markdown.js";

const PROSE_LIMIT = 40_000;
const COLOURED_LIMIT = 40_000;
const TOKENS = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Very long text is left plain: reading it as Markdown at every token would hold up the page. */
export function proseOf(text) {
  if (text.length > PROSE_LIMIT) return [el("p.plain", {}, text)];
  return blocksOf(text).map(blockOf);
}

function blockOf(block) {
  switch (block.kind) {
    case "code": return el("pre", { tabindex: "0" }, el("code", {}, block.text));
    case "heading": return el("p.heading", {}, ...inline(block.line));
    case "list": return el(block.ordered ? "ol" : "ul", {}, ...block.items.map((item) => el("li", {}, ...inline(item))));
    default: return el("p", {}, ...block.lines.flatMap((line, at) => at ? [el("br"), ...inline(line)] : inline(line)));
  }
}

function inline(line) {
  const tags = { bold: "strong", code: "code" };
  return spansOf(line).map(({ kind, text }) => (tags[kind] ? el(tags[kind], {}, text) : text));
}

/** JSON with its strings, numbers and words in quiet colours. */
export function jsonOf(value) {
  const text = JSON.stringify(readable(value), null, 2) ?? "null";
  const pre = el("pre.json", { tabindex: "0" });
  pre.append(...(text.length > COLOURED_LIMIT ? [text] : coloured(text)));
  return pre;
}

/** A tool's arguments come as the JSON text that the model wrote. */
export function readable(value) {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function coloured(text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(TOKENS)) {
    const [whole, string, colon] = match;
    pieces.push(text.slice(end, match.index), el(`span.${kindOf(string, colon)}`, {}, string ?? whole), colon ?? "");
    end = match.index + whole.length;
  }
  return [...pieces, text.slice(end)].filter((piece) => piece !== "");
}

function kindOf(string, colon) {
  if (!string) return "value";
  return colon ? "key" : "string";
}
