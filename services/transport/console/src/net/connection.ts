/** One chat's socket: it reads, and when it breaks it opens again where the reader left off. */

import type { AnyFrame } from "../chat/state";
import { protocolsOf } from "./signin";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const LONGEST_OPENING = 10_000;
const REFUSED = 1008;
const RUN_OUT = "TOKEN_EXPIRED"; // another token may be there by now
const DONE = 1000;

export type ConnectionStatus =
  | { state: "connecting" | "connected" | "offline" | "closed" }
  | { state: "waiting"; seconds: number }
  | { state: "refused"; reason: string };

type Socket = Pick<WebSocket, "close"> & Partial<Pick<WebSocket, "onopen" | "onmessage" | "onclose" | "onerror">>;

/** What a connection needs of the browser. */
export type World<T = unknown> = {
  socket(address: string): Socket;
  later(act: () => void, milliseconds: number): T;
  never(timer: T): void;
  random(): number;
  online(): boolean;
};

/** Half of the pause is chance, so that a thousand pages do not come back in the same instant. */
export function pause(attempt: number, random: () => number): number {
  const ceiling = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** attempt);
  return ceiling / 2 + (random() * ceiling) / 2;
}

type Settings = {
  address: () => string;
  isOver: () => boolean;
  onFrame: (frame: AnyFrame) => void;
  onStatus: (status: ConnectionStatus) => void;
  world?: World<any>;
};

/** `address` and `isOver` are asked at each opening or closing, for the reader has moved on since. */
export class Connection {
  readonly #settings: Settings;
  readonly #world: World<any>;
  #socket: Socket | null = null;
  #timer: unknown = null;
  #attempt = 0;
  #stopped = false;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#world = settings.world ?? browser();
  }

  open(): void {
    if (this.#stopped) return;
    this.#release();
    this.#settings.onStatus({ state: "connecting" });
    const socket = this.#world.socket(this.#settings.address());
    this.#socket = socket;
    this.#timer = this.#world.later(() => this.#lost(socket), LONGEST_OPENING);
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = ({ data }: MessageEvent) => this.#heard(socket, data);
    socket.onclose = ({ code, reason }: CloseEvent) => this.#closed(socket, code, reason);
  }

  /** What came does not fit: read again from the cursor. */
  again(): void {
    if (this.#socket) this.#lost(this.#socket);
  }

  /** The network is back, or the user does not want to wait. */
  now(): void {
    if (!this.#socket) this.open();
  }

  stop(): void {
    this.#stopped = true;
    this.#release();
  }

  #opened(socket: Socket): void {
    if (socket !== this.#socket) return;
    this.#world.never(this.#timer);
    this.#settings.onStatus({ state: "connected" });
  }

  #heard(socket: Socket, text: string): void {
    if (socket !== this.#socket) return; // a socket that was let go has nothing to say
    const frame = parsed(text);
    if (!frame) return this.#lost(socket);
    if (frame.type === "chat.resume_boundary") this.#attempt = 0;
    return this.#settings.onFrame(frame);
  }

  #closed(socket: Socket, code: number, reason: string): void {
    if (socket !== this.#socket) return;
    if (code === REFUSED && reason !== RUN_OUT) return this.#rest({ state: "refused", reason });
    if (code === DONE && this.#settings.isOver()) return this.#rest({ state: "closed" });
    return this.#lost(socket);
  }

  #lost(socket: Socket): void {
    if (socket !== this.#socket || this.#stopped) return;
    this.#release();
    this.#wait(pause(this.#attempt, this.#world.random));
    this.#attempt += 1;
  }

  #wait(left: number): void {
    if (left <= 0) return this.open();
    const seconds = Math.max(1, Math.round(left / 1000));
    this.#settings.onStatus(this.#world.online() ? { state: "waiting", seconds } : { state: "offline" });
    const step = Math.min(1000, left);
    this.#timer = this.#world.later(() => this.#wait(left - step), step);
    return undefined;
  }

  #rest(status: ConnectionStatus): void {
    this.#release();
    this.#settings.onStatus(status);
  }

  #release(): void {
    this.#world.never(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }
}

function parsed(text: string): AnyFrame | null {
  try {
    const frame: unknown = JSON.parse(text);
    return frame !== null && typeof frame === "object" ? (frame as AnyFrame) : null;
  } catch {
    return null;
  }
}

function browser(): World<ReturnType<typeof setTimeout>> {
  return {
    socket: (address) => new WebSocket(address, protocolsOf(localStorage)),
    later: (act, milliseconds) => setTimeout(act, milliseconds),
    never: (timer) => clearTimeout(timer),
    random: Math.random,
    online: () => navigator.onLine,
  };
}
