/** Markdown text before it is parsed: cut into blocks, and with the dollar signs of prices told from those of formulas. */

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:/m; // of a link or footnote: it belongs to other blocks
const CONTINUES = /^(?:\s|[-*+>|]|\d{1,9}[.)]\s)/; // a list, a quote or a table may go on after an empty line
const PAIR = /(?<![\\$])\$(?=\S)([^$\n]*?[^\s\\])\$(?![\d$])/g; // as pandoc reads formulas

/**
 * Blocks that can be parsed on their own, so that of a text that grows only the last one is parsed again.
 * A text with definitions is one block: they belong to all of it.
 */
export function blocksOf(text: string): string[] {
  if (DEFINITION.test(text)) return [text];
  const blocks: string[] = [];
  let block: string[] = [];
  let fence = "";
  let formula = false;
  const lines = text.split("\n");
  lines.forEach((line, at) => {
    const mark = FENCE.exec(line)?.[1];
    if (mark && !fence) fence = mark;
    else if (mark && mark.startsWith(fence) && line.trim() === mark) fence = "";
    if (!fence && (line.match(/\$\$/g)?.length ?? 0) % 2 === 1) formula = !formula;
    block.push(line);
    const next = lines[at + 1];
    if (fence || formula || line.trim() || next === undefined || CONTINUES.test(next) || !next.trim()) return;
    blocks.push(block.join("\n"));
    block = [];
  });
  return [...blocks, block.join("\n")].filter((one) => one.trim());
}

/** `\(x\)` and `\[x\]` as `$x$` and `$$x$$`; a dollar sign that begins no formula is escaped. Code is left alone. */
export function withFormulas(text: string): string {
  return text
    .split(/(^ {0,3}(?:`{3,}|~{3,})[^]*?(?:^ {0,3}(?:`{3,}|~{3,})\s*$|$(?![^]))|`[^`\n]*`)/m)
    .map((part, at) => (at % 2 === 1 ? part : formulasIn(part)))
    .join("");
}

function formulasIn(text: string): string {
  const told = text
    .replace(/\\\[([^]+?)\\\]/g, (_, formula: string) => `\n$$\n${formula.trim()}\n$$\n`)
    .replace(/\\\(([^\n]+?)\\\)/g, (_, formula: string) => `$${formula.trim()}$`);
  if (!told.includes("$")) return told;
  return told.split(/(\$\$[^]*?\$\$)/).map((part, at) => (at % 2 === 1 ? part : escapedPrices(part))).join("");
}

function escapedPrices(text: string): string {
  const pieces: string[] = [];
  let end = 0;
  for (const match of text.matchAll(PAIR)) {
    pieces.push(escaped(text.slice(end, match.index)), match[0]);
    end = match.index + match[0].length;
  }
  return [...pieces, escaped(text.slice(end))].join("");
}

function escaped(text: string): string {
  return text.replace(/(?<!\\)\$/g, "\\$");
}

/** Whether a formula may be in it: then KaTeX is loaded. */
export function mayHaveFormula(text: string): boolean {
  return text.includes("$") || text.includes("\\(") || text.includes("\\[");
}

export function mayHaveCode(text: string): boolean {
  return FENCE.test(text) || /\n {0,3}(`{3}|~{3})/.test(text);
}

/** An address that a link may have: of the web or of mail; nothing else, and no script. */
export function safeAddress(address: string | undefined): string | undefined {
  if (!address) return undefined;
  try {
    const { protocol } = new URL(address);
    return ["http:", "https:", "mailto:"].includes(protocol) ? address : undefined;
  } catch {
    return undefined; // an address without a protocol would be one of ours
  }
}
