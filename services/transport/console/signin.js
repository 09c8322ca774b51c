/** The token that the page shows, where one has to sign in. */

const KEPT_AS = "chatui_token"; // where ChatUI keeps it, too

/** `#access_token=...` is kept and taken out of the address, where others might read it. */
export function takeToken(location, history, kept) {
  const given = new URLSearchParams(location.hash.slice(1)).get("access_token");
  if (!given) return;
  kept.setItem(KEPT_AS, given);
  history.replaceState(null, "", location.pathname + location.search);
}

export function headersOf(kept) {
  const token = kept.getItem(KEPT_AS);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** A browser can set no header of a socket but this one. */
export function protocolsOf(kept) {
  const token = kept.getItem(KEPT_AS);
  return token ? ["bearer", token] : [];
}

/** Without sign-in everyone may see everything. */
export function isOperator(me) {
  return !me.signed_in || me.scopes.includes("operator");
}

/** The app to look at: the one that was chosen, if the token is good for it. */
export function appOf(me, chosen) {
  return me.app_ids.includes(chosen) ? chosen : me.app_ids[0] ?? chosen;
}
