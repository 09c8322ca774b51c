/** Whole sentences for screen readers, one after another: nobody should be read token by token. */

import { Store } from "../app/store";

export const announcement = new Store("");

export function announce(text: string): void {
  // The same sentence twice is still said twice.
  announcement.set(announcement.get() === text ? `${text}\u00a0` : text);
}
