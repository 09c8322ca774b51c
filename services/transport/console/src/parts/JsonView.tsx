/** A JSON value as text, with keys, strings and other values in colours of their own. */

export function JsonView({ value, label }: { value: unknown; label: string }) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  return <pre className="json block" role="region" tabIndex={0} aria-label={label}>{tokens(text)}</pre>;
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/g;
const MOST_COLOURED = 60_000; // longer texts are shown plain: each token is an element

function tokens(text: string) {
  if (text.length > MOST_COLOURED) return text;
  const parts = [];
  let end = 0;
  for (const found of text.matchAll(TOKEN)) {
    parts.push(text.slice(end, found.index));
    const [whole, string, colon] = found;
    const kind = colon ? "key" : string ? "string" : "value";
    parts.push(<span key={found.index} className={kind}>{whole}</span>);
    end = found.index + whole.length;
  }
  parts.push(text.slice(end));
  return parts;
}
