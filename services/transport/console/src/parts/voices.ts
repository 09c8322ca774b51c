/** A hue and initials for every agent, derived from the name alone. */

const HUES = [205, 75, 320, 150, 280, 30, 235, 120, 350, 178, 55, 300] as const;

export function hueOf(name: string): number {
  let sum = 2_166_136_261;
  for (const letter of name) sum = Math.imul(sum ^ (letter.codePointAt(0) ?? 0), 16_777_619) >>> 0;
  return HUES[((sum ^ (sum >>> 15)) >>> 0) % HUES.length] ?? 205;
}

/** `UIArchitect` is UA, `plan_reviewer` is PR, `planner` is P. */
export function initialsOf(name: string): string {
  const words = name.replace(/([a-z0-9])([A-Z])|([A-Z])(?=[A-Z][a-z])/g, "$1$3 $2").split(/[^\p{L}\p{N}]+/u);
  const letters = words.filter(Boolean).map((word) => ([...word][0] ?? "").toUpperCase());
  return letters.slice(0, 2).join("") || "?";
}
