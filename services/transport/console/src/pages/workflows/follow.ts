/** Who speaks in a chat and which tools run, followed over its socket: what the picture of a workflow lights up. */

import { useEffect, useState } from "react";
import { EMPTY, fold, statusOf, type ChatStatus, type State } from "../../chat/state";
import { socketOf, type Place } from "../../net/address";
import { Connection } from "../../net/connection";
import { user } from "../../session/session";

export type Moment = { speaker: string; before: string; tools: string[]; status: ChatStatus };

export const NOTHING: Moment = { speaker: "", before: "", tools: [], status: "loading" };

/** The moment after a state; `before` is who spoke before the present speaker. */
export function momentOf(state: State, known: Moment): Moment {
  const status = statusOf(state);
  const over = status === "completed" || status === "failed" || status === "cancelled";
  const speaker = over ? "terminate" : state.speaker;
  const tools = state.entries.flatMap((entry) => (entry.kind === "tool" && entry.status === "running" ? [entry.name] : []));
  const before = speaker === known.speaker ? known.before : known.speaker;
  const same = speaker === known.speaker && status === known.status && tools.join() === known.tools.join();
  return same ? known : { speaker, before, tools, status };
}

/** Follows a chat while there is one. */
export function useMoment(place: Place | null): Moment {
  const [moment, setMoment] = useState(NOTHING);
  const key = place ? [place.app, place.workflow, place.chat].join("/") : "";
  useEffect(() => {
    setMoment(NOTHING);
    if (!place) return undefined;
    let state = EMPTY;
    const connection = new Connection({
      address: () => socketOf(location, place, user.get(), state.seq === 0 ? null : state.seq - 1, false),
      isOver: () => state.end !== null,
      onFrame: (frame) => {
        state = fold(state, frame);
        setMoment((known) => momentOf(state, known));
      },
      onStatus: () => undefined,
    });
    connection.open();
    return () => connection.stop();
  }, [key]);
  return moment;
}
