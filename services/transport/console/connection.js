/** One chat's socket: it reads, and when it breaks it opens again where the reader left off. */

import { protocolsOf } from "./signin.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const LONGEST_OPENING = 10_000;
const REFUSED = 1008;
const RUN_OUT = "TOKEN_EXPIRED"; // another token may be there by now
const DONE = 1000;

/** Half of the pause is chance, so that a thousand pages do not come back in the same instant. */
export function pause(attempt, random) {
  const ceiling = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempt);
  return ceiling / 2 + (random() * ceiling) / 2;
}

/** `address` and `isOver` are asked at each opening or closing, for the reader has moved on since. */
export class Connection {
  #address;
  #isOver;
  #onFrame;
  #onStatus;
  #world;
  #socket = null;
  #timer = null;
  #attempt = 0;
  #stopped = false;

  constructor({ address, isOver, onFrame, onStatus, world = browser() }) {
    this.#address = address;
    this.#isOver = isOver;
    this.#onFrame = onFrame;
    this.#onStatus = onStatus;
    this.#world = world;
  }

  open() {
    if (this.#stopped) return;
    this.#release();
    this.#onStatus({ state: "connecting" });
    const socket = this.#world.socket(this.#address());
    this.#socket = socket;
    this.#timer = this.#world.later(() => this.#lost(socket), LONGEST_OPENING);
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = ({ data }) => this.#heard(socket, data);
    socket.onclose = ({ code, reason }) => this.#closed(socket, code, reason);
  }

  /** Ask again from the cursor: something that was told does not fit. */
  again() {
    if (this.#socket) this.#lost(this.#socket);
  }

  /** The network is back, or the person does not want to wait. */
  now() {
    if (!this.#socket) this.open();
  }

  stop() {
    this.#stopped = true;
    this.#release();
  }

  #opened(socket) {
    if (socket !== this.#socket) return;
    this.#world.never(this.#timer);
    this.#onStatus({ state: "connected" });
  }

  #heard(socket, text) {
    if (socket !== this.#socket) return; // a socket that was let go has nothing to say
    const frame = parsed(text);
    if (!frame) return this.#lost(socket);
    if (frame.type === "chat.resume_boundary") this.#attempt = 0;
    return this.#onFrame(frame);
  }

  #closed(socket, code, reason) {
    if (socket !== this.#socket) return;
    if (code === REFUSED && reason !== RUN_OUT) return this.#rest({ state: "refused", reason });
    if (code === DONE && this.#isOver()) return this.#rest({ state: "closed" });
    return this.#lost(socket);
  }

  #lost(socket) {
    if (socket !== this.#socket || this.#stopped) return;
    this.#release();
    this.#wait(pause(this.#attempt, this.#world.random));
    this.#attempt += 1;
  }

  #wait(left) {
    if (left <= 0) return this.open();
    const seconds = Math.max(1, Math.round(left / 1000));
    this.#onStatus(this.#world.online() ? { state: "waiting", seconds } : { state: "offline" });
    const step = Math.min(1000, left);
    this.#timer = this.#world.later(() => this.#wait(left - step), step);
    return undefined;
  }

  #rest(status) {
    this.#release();
    this.#onStatus(status);
  }

  #release() {
    this.#world.never(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}

function parsed(text) {
  try {
    const frame = JSON.parse(text);
    return frame !== null && typeof frame === "object" ? frame : null;
  } catch {
    return null;
  }
}

function browser() {
  return {
    socket: (address) => new WebSocket(address, protocolsOf(localStorage)),
    later: (deed, milliseconds) => setTimeout(deed, milliseconds),
    never: (timer) => clearTimeout(timer),
    random: Math.random,
    online: () => navigator.onLine,
  };
}
