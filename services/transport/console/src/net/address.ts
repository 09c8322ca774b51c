/** The addresses of the server that a chat needs. */

/** A chat: where it is kept, and which workflow it is of. */
export type Place = { app: string; workflow: string; chat: string };

/** Events that a chat is opened with; earlier ones are read in pages of as many. */
export const TAIL = 100;

/**
 * The socket of what comes after `cursor`, or of the newest events where there is none; `whole`: each
 * event as it is stored, too.
 */
export function socketOf(
  location: Pick<Location, "protocol" | "host">, place: Place, user: string, cursor: number | null, whole: boolean,
): string {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const path = [place.workflow, place.app, place.chat, user].map(encodeURIComponent).join("/");
  const start = cursor === null ? `tail=${TAIL}` : `after=${cursor}`;
  return `${scheme}://${location.host}/ws/${path}?${start}&events=${whole ? 1 : 0}`;
}

export function pathOf(...segments: string[]): string {
  return `/${segments.map(encodeURIComponent).join("/")}`;
}
