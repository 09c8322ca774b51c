/** The line at the bottom, in which a person speaks. */

import { say } from "./elements.js";

export const LONGEST_MESSAGE = 262_144;
const WORTH_SAYING = 0.8;
const HINT = "Enter sends · Shift+Enter starts a new line · 256 KB at most";

/** As the server will count them: the bytes of the request, not the letters of the text. */
export function bytesOf(message) {
  return new TextEncoder().encode(JSON.stringify({ message })).length;
}

const GROWS_BY_ITSELF = globalThis.CSS?.supports("field-sizing", "content") ?? false;

function grow(input) {
  input.style.height = "auto";
  input.style.height = `${input.scrollHeight}px`;
}

export class Composer {
  #form;
  #input;
  #send;
  #hint;
  #deed;
  #busy = false;
  #closed = false;

  constructor({ form, input, send, hint, deed }) {
    this.#form = form;
    this.#input = input;
    this.#send = send;
    this.#hint = hint;
    this.#deed = deed;
    input.addEventListener("input", () => this.#measure());
    input.addEventListener("keydown", (event) => this.#key(event));
    form.addEventListener("submit", (event) => this.#submit(event));
    this.#measure();
  }

  show({ closed, placeholder }) {
    this.#closed = closed;
    this.#input.disabled = closed;
    this.#input.placeholder = placeholder;
    this.#ready();
  }

  /** Another chat: an empty line, open again if the last chat had ended. */
  reset() {
    this.show({ closed: false, placeholder: "" });
    this.clear();
  }

  clear() {
    this.#input.value = "";
    this.#measure();
  }

  focus() {
    this.#input.focus({ preventScroll: true });
  }

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#form.requestSubmit();
  }

  async #submit(event) {
    event.preventDefault();
    const text = this.#input.value.trim();
    if (!text || this.#busy || this.#closed || bytesOf(text) > LONGEST_MESSAGE) return;
    this.#busy = true;
    this.#ready();
    await this.#told(text);
    this.#busy = false;
    this.#ready();
  }

  /** What could not be said stays in the line. */
  async #told(text) {
    const before = this.#input.value;
    try {
      await this.#deed(text);
      if (this.#input.value === before) this.clear();
    } catch (error) {
      this.#note(error.message, true);
    }
  }

  #measure() {
    if (!GROWS_BY_ITSELF) grow(this.#input);
    const bytes = bytesOf(this.#input.value);
    const kilobytes = Math.ceil(bytes / 1024);
    if (bytes > LONGEST_MESSAGE) this.#note(`${kilobytes} KB: longer than the 256 KB that a message may have`, true);
    else if (bytes > LONGEST_MESSAGE * WORTH_SAYING) this.#note(`${kilobytes} KB of 256 KB`, false);
    else this.#note(HINT, false);
    this.#ready();
  }

  #note(text, wrong) {
    say(this.#hint, text);
    this.#hint.classList.toggle("wrong", wrong);
  }

  #ready() {
    const text = this.#input.value.trim();
    this.#send.disabled = !text || this.#busy || this.#closed || bytesOf(text) > LONGEST_MESSAGE;
  }
}
