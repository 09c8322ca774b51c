/** The texts of the page in the reader's language. Another language is one more file beside `en.ts`. */

import { keptStore, useStore } from "../app/store";
import { de } from "./de";
import { en, type Texts } from "./en";

/** Every language, under its code; `label` in its texts is what the menu shows. */
export const LANGUAGES: Record<string, Texts> = { en, de };

const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ur"]);

/** `auto` follows the browser. */
export const languageChoice = keptStore<string>("language", "auto", (text) => text === "auto" || text in LANGUAGES);

/** The code of the language of a choice, for the languages that the browser asks for. */
export function languageOf(choice: string, asked: readonly string[]): string {
  if (choice in LANGUAGES) return choice;
  const bases = asked.map((tag) => tag.toLowerCase().split("-")[0] ?? "");
  return bases.find((base) => base in LANGUAGES) ?? "en";
}

export function language(): string {
  return languageOf(languageChoice.get(), navigator.languages);
}

/** The texts outside of components. */
export function texts(): Texts {
  return LANGUAGES[language()] ?? en;
}

/** The texts; the component is rendered again in another language when that is chosen. */
export function useTexts(): Texts {
  useStore(languageChoice);
  return texts();
}

/** Tells the browser, and so screen readers, which language and direction the page has. */
export function applyLanguage(root: HTMLElement): void {
  const code = language();
  root.lang = code;
  root.dir = RIGHT_TO_LEFT.has(code) ? "rtl" : "ltr";
}
