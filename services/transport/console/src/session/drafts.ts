/** What was typed and not sent, for each chat. */

import type { Place } from "../net/address";

const PREFIX = "mozaiks.draft.";

const keyOf = ({ app, chat }: Pick<Place, "app" | "chat">) => `${PREFIX}${app}/${chat}`;

export function draftOf(place: Place): string {
  return localStorage.getItem(keyOf(place)) ?? "";
}

export function keepDraft(place: Place, text: string): void {
  if (text) localStorage.setItem(keyOf(place), text);
  else localStorage.removeItem(keyOf(place));
}
