/** JSON with its strings, numbers and words in quiet colours. */

import { memo, type ReactNode } from "react";

const COLOURED = 40_000; // characters
const TOKENS = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

export const Json = memo(function Json({ value }: { value: unknown }) {
  const text = JSON.stringify(readable(value), null, 2) ?? "null";
  return <pre className="json" dir="ltr" tabIndex={0}>{text.length > COLOURED ? text : coloured(text)}</pre>;
});

/** A tool's arguments come as the JSON text that the model wrote. */
export function readable(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function coloured(text: string): ReactNode[] {
  const pieces: ReactNode[] = [];
  let end = 0;
  for (const match of text.matchAll(TOKENS)) {
    const [whole, string, colon] = match;
    pieces.push(text.slice(end, match.index));
    pieces.push(<span key={match.index} className={string ? (colon ? "key" : "string") : "value"}>{string ?? whole}</span>, colon ?? "");
    end = match.index + whole.length;
  }
  return [...pieces, text.slice(end)];
}
