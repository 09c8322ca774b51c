/** Light, dark, or as the system says; and more contrast where it is wanted. */

import { keptStore, Store } from "./store";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

export const CONTRASTS = ["auto", "more"] as const;
export type Contrast = (typeof CONTRASTS)[number];

export const themeChoice = keptStore<Theme>("theme", "auto", (text) => THEMES.includes(text as Theme));
export const contrastChoice = keptStore<Contrast>("contrast", "auto", (text) => CONTRASTS.includes(text as Contrast));

/** Whether the system wants dark: what is drawn with fixed colours has to be drawn again. */
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
export const systemIsDark = new Store(systemDark.matches);
systemDark.addEventListener("change", () => systemIsDark.set(systemDark.matches));

/** `base.css` reads these. */
export function applyTheme(root: HTMLElement): void {
  root.dataset.theme = themeChoice.get();
  root.dataset.contrast = contrastChoice.get();
}
