/** A colour and initials for every agent, derived from the name alone. */

import { el } from "./elements.js";

const HUES = [205, 75, 320, 150, 280, 30, 235, 120, 350, 178, 55, 300];

export function hueOf(name) {
  let sum = 2_166_136_261;
  for (const letter of name) sum = Math.imul(sum ^ letter.codePointAt(0), 16_777_619) >>> 0;
  return HUES[((sum ^ (sum >>> 15)) >>> 0) % HUES.length];
}

/** `UIArchitect` is UA, `plan_reviewer` is PR, `planner` is P. */
export function initialsOf(name) {
  const words = name.replace(/([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])/g, "$1$3 $2").split(/[^\p{L}\p{N}]+/u);
  const letters = words.filter(Boolean).map((word) => [...word][0].toUpperCase());
  return letters.slice(0, 2).join("") || "?";
}

export function avatar(name) {
  const mark = el("span.avatar", { "aria-hidden": "true" }, initialsOf(name));
  mark.style.setProperty("--hue", hueOf(name));
  return mark;
}
