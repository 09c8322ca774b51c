/** A light reading of Markdown: paragraphs, headings, lists, code fences, bold and code. */

const FENCE = /^\s*```(.*)$/;
const HEADING = /^(#{1,4})\s+(.+)$/;
const BULLET = /^\s*[-*•]\s+(.*)$/;
const NUMBER = /^\s*\d{1,3}[.)]\s+(.*)$/;
const SPANS = /\*\*([^*\n]+)\*\*|`([^`\n]+)`/g;

/** Text as blocks; a fence that has not been closed yet runs to the end, for the text may still grow. */
export function blocksOf(text) {
  const lines = text.split("\n");
  const blocks = [];
  while (lines.length > 0) {
    const block = fence(lines) ?? heading(lines) ?? list(lines, BULLET, false)
      ?? list(lines, NUMBER, true) ?? paragraph(lines);
    if (block) blocks.push(block);
  }
  return blocks;
}

export function spansOf(line) {
  const spans = [];
  let end = 0;
  for (const match of line.matchAll(SPANS)) {
    if (match.index > end) spans.push({ kind: "plain", text: line.slice(end, match.index) });
    spans.push(match[1] ? { kind: "bold", text: match[1] } : { kind: "code", text: match[2] });
    end = match.index + match[0].length;
  }
  if (end < line.length) spans.push({ kind: "plain", text: line.slice(end) });
  return spans;
}

function fence(lines) {
  if (!FENCE.test(lines[0])) return null;
  lines.shift();
  const end = lines.findIndex((line) => FENCE.test(line));
  const code = lines.splice(0, end < 0 ? lines.length : end);
  lines.shift();
  return { kind: "code", text: code.join("\n") };
}

function heading(lines) {
  const match = HEADING.exec(lines[0]);
  if (!match) return null;
  lines.shift();
  return { kind: "heading", line: match[2] };
}

function list(lines, mark, ordered) {
  const items = [];
  for (let match; lines.length > 0 && (match = mark.exec(lines[0])); lines.shift()) items.push(match[1]);
  return items.length > 0 ? { kind: "list", ordered, items } : null;
}

function paragraph(lines) {
  const own = [];
  while (lines.length > 0 && lines[0].trim() && !(own.length > 0 && opensBlock(lines[0]))) {
    own.push(lines.shift());
  }
  if (own.length > 0) return { kind: "paragraph", lines: own };
  lines.shift(); // the empty line that parts two blocks
  return null;
}

function opensBlock(line) {
  return [FENCE, HEADING, BULLET, NUMBER].some((mark) => mark.test(line));
}
