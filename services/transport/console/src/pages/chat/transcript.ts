/** A whole chat as a file: Markdown to read, JSON to process. */

import type { Entry } from "../../chat/entries";
import { EMPTY, fold, type AnyFrame, type State } from "../../chat/state";
import * as api from "../../net/api";
import type { Place } from "../../net/address";
import { readable } from "../../parts/Json";
import { isOperator } from "../../net/signin";
import { me, user } from "../../session/session";

/** Every frame of the chat, from its first event on. Raises ApiError. */
export async function framesOf(place: Place): Promise<AnyFrame[]> {
  const frames: AnyFrame[] = [];
  const whole = isOperator(me.get());
  for (let after = 0; ;) {
    const page = await api.later(place, user.get(), after, whole);
    if (page.frames.length === 0) return frames;
    frames.push(...(page.frames as AnyFrame[]));
    after = Math.max(after, page.last_sequence);
  }
}

/** The entries of all frames, also those that are too many for the page. */
export function entriesOf(frames: AnyFrame[]): Entry[] {
  const left: Entry[] = [];
  let state: State = EMPTY;
  for (const frame of frames) {
    const next = fold(state, frame);
    const dropped = next.entriesDropped - state.entriesDropped;
    if (dropped > 0) left.push(...state.entries.slice(0, dropped));
    state = next;
  }
  return [...left, ...state.entries];
}

export function markdownOf(title: string, entries: Entry[]): string {
  return [`# ${title}`, ...entries.map(partOf).filter(Boolean)].join("\n\n") + "\n";
}

function partOf(entry: Entry): string {
  switch (entry.kind) {
    case "text": return `**${entry.agent}** · ${entry.time}\n\n${entry.text}`;
    case "tool": return [`**${entry.agent}** called \`${entry.name}\` (${entry.status})`, fenced(entry.arguments), ...(entry.content === null ? [] : [fenced(entry.content)])].join("\n\n");
    case "question": return [`**${entry.agent}** asked: ${entry.prompt}`, entry.answer === null ? "" : `> ${entry.answer.replaceAll("\n", "\n> ")}`].filter(Boolean).join("\n\n");
    case "form": return [`**${entry.agent}** showed ${entry.component}`, ...(entry.response ? [fenced(entry.response)] : [])].join("\n\n");
    case "file": return `File: ${entry.name} (${entry.type}, ${entry.size} bytes)`;
    case "data": return [`**${entry.agent}** answered \`${entry.name}\``, fenced(entry.data)].join("\n\n");
    case "error": return `Error: ${entry.message} ${entry.code}`.trim();
    case "end": return `---\n\n${entry.status}${entry.reason ? `: ${entry.reason}` : ""}`;
    case "note": return entry.text;
    case "speaker": return "";
  }
}

/** A fence that is longer than any in the text. */
function fenced(value: unknown): string {
  const read = readable(value);
  const text = typeof read === "string" ? read : JSON.stringify(read, null, 2);
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}${typeof read === "string" ? "" : "json"}\n${text}\n${fence}`;
}
