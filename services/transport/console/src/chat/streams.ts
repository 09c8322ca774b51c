/** The text that a model is saying right now, put together from its chunks. */

export type CallNumber = { turn: number; call: number };

export type Chunk = CallNumber & { agent: string; content: string; offset: number; runner: string };

/** `length` counts code points. */
export type Stream = CallNumber & { agent: string; runner: string; text: string; length: number };

/**
 * Offsets count characters as the server does, by code point: a JavaScript string counts an emoji twice.
 * What is kept is always a true beginning of the text, so a chunk from further on is left out until
 * the text so far, or the whole of it, is told.
 */
export function grow(stream: Stream | null, chunk: Chunk): Stream | null {
  if (!stream || isLater(chunk, stream)) return chunk.offset === 0 ? begun(chunk) : stream;
  if (isLater(stream, chunk)) return stream;
  if (chunk.offset === 0 && saysOtherwise(stream, chunk)) return begun(chunk);
  return chunk.runner === stream.runner ? continued(stream, chunk) : stream;
}

/** Model calls follow one another: by turn, and within a turn by call. */
export function isLater(one: CallNumber, other: CallNumber): boolean {
  return one.turn > other.turn || (one.turn === other.turn && one.call > other.call);
}

function saysOtherwise(stream: Stream, chunk: Chunk): boolean {
  return chunk.runner !== stream.runner || !stream.text.startsWith(chunk.content);
}

function begun({ agent, turn, call, runner, content }: Chunk): Stream {
  return { agent, turn, call, runner, text: content, length: [...content].length };
}

function continued(stream: Stream, chunk: Chunk): Stream {
  const letters = [...chunk.content];
  const known = stream.length - chunk.offset;
  if (known < 0 || known >= letters.length) return stream;
  const fresh = letters.slice(known);
  return { ...stream, text: stream.text + fresh.join(""), length: stream.length + fresh.length };
}
