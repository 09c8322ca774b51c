/** Where things are: the page's hash, and the chat's socket. */

/** `#/app/workflow/chat` as a place, or null where the hash names no chat. */
export function placeOf(hash) {
  const match = /^#\/([^/]+)\/([^/]+)\/([^/]+)$/.exec(hash);
  if (!match) return null;
  try {
    const [app, workflow, chat] = match.slice(1).map(decodeURIComponent);
    return { app, workflow, chat };
  } catch {
    return null; // a broken percent code names no chat
  }
}

export function hashOf({ app, workflow, chat }) {
  return `#/${[app, workflow, chat].map(encodeURIComponent).join("/")}`;
}

export function samePlace(one, other) {
  return (one && hashOf(one)) === (other && hashOf(other));
}

/** Events that a chat is opened with; earlier ones are read in pages of as many. */
export const TAIL = 100;

/**
 * The socket of what comes after `cursor`, or of the newest events where there is none; `whole`: each
 * event as it is stored, too.
 */
export function socketOf(location, { app, workflow, chat }, user, cursor, whole) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const path = [workflow, app, chat, user].map(encodeURIComponent).join("/");
  const start = cursor === null ? `tail=${TAIL}` : `after=${cursor}`;
  return `${scheme}://${location.host}/ws/${path}?${start}&events=${whole ? 1 : 0}`;
}
