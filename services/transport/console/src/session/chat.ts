/** The chat that is open: its socket feeds the fold, and what is known is shown once per painted frame. */

import { Store } from "../app/store";
import { cursor, EMPTY, fold, hasEarlier, mustAskAgain, withEarlier, type AnyFrame, type State } from "../chat/state";
import { socketOf, TAIL, type Place } from "../net/address";
import * as api from "../net/api";
import { Connection, type ConnectionStatus } from "../net/connection";
import { isOperator } from "../net/signin";
import { flushOutbox } from "./outbox";
import { markSeen } from "./seen";
import { me, sentenceOf, user } from "./session";

const HIDDEN_EVERY = 500; // a page that nobody sees is not painted, and still says whose turn it is

export type ChatView = {
  place: Place;
  state: State;
  connection: ConnectionStatus;
  earlier: { loading: boolean; fault: string };
};

export class ChatSession {
  readonly view: Store<ChatView>;
  readonly place: Place;
  #state: State = EMPTY;
  #status: ConnectionStatus = { state: "connecting" };
  #earlier = { loading: false, fault: "" };
  #connection: Connection | null = null;
  #drawing = false;
  #closed = false;

  constructor(place: Place) {
    this.place = place;
    this.view = new Store<ChatView>(this.#now());
  }

  open(): void {
    window.addEventListener("online", this.reconnect);
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    window.removeEventListener("online", this.reconnect);
    this.#connection?.stop();
  }

  readonly reconnect = (): void => this.#connection?.now();

  /** Something that the server did not say: a refused request. */
  readonly complain = (error: unknown): void => {
    this.#hear({ type: "chat.error", data: { message: sentenceOf(error), error_code: error instanceof api.ApiError ? (error.code ?? "") : "" } });
  };

  readonly showEarlier = async (): Promise<void> => {
    if (this.#earlier.loading || !hasEarlier(this.#state)) return;
    this.#earlier = { loading: true, fault: "" };
    this.#draw();
    try {
      const page = await api.earlier(this.place, user.get(), this.#state.first, TAIL, isOperator(me.get()));
      this.#state = withEarlier(this.#state, page as { frames: AnyFrame[]; first_sequence: number });
      this.#earlier = { loading: false, fault: "" };
    } catch (error) {
      this.#earlier = { loading: false, fault: sentenceOf(error) };
    }
    this.#draw();
  };

  #connect(): void {
    this.#connection = new Connection({
      address: () => socketOf(window.location, this.place, user.get(), cursor(this.#state), isOperator(me.get())),
      isOver: () => this.#state.end !== null,
      onFrame: (frame) => this.#hear(frame),
      onStatus: (status) => this.#connected(status),
    });
    this.#connection.open();
  }

  #connected(status: ConnectionStatus): void {
    this.#status = status;
    if (status.state === "connected") void flushOutbox();
    this.#draw();
  }

  #hear(frame: AnyFrame): void {
    const before = this.#state;
    this.#state = fold(before, frame);
    if (this.#state.stale) return this.#readAnew();
    if (mustAskAgain(this.#state) && this.#state.gap !== before.gap) this.#connection?.again();
    return this.#draw();
  }

  /** The chat went back too far for what is here: it is read from the server once more. */
  #readAnew(): void {
    this.#connection?.stop();
    this.#state = EMPTY;
    this.#connect();
  }

  /** Once per painted frame, however many tokens arrived meanwhile. */
  #draw(): void {
    if (this.#drawing || this.#closed) return;
    this.#drawing = true;
    const draw = () => {
      this.#drawing = false;
      if (!document.hidden) markSeen(this.place, this.#state.seq);
      this.view.set(this.#now());
    };
    if (document.hidden) setTimeout(draw, HIDDEN_EVERY);
    else requestAnimationFrame(draw);
  }

  #now(): ChatView {
    return { place: this.place, state: this.#state, connection: this.#status, earlier: this.#earlier };
  }
}
