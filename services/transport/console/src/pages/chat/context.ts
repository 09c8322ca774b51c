/** What can be done from inside an entry of the chat. */

import { createContext, useContext } from "react";
import { mayAnswer, type State } from "../../chat/state";
import type { QuestionEntry } from "../../chat/entries";
import { chatHash, navigate } from "../../app/router";
import { askToConfirm } from "../../parts/Confirm";
import * as api from "../../net/api";
import type { Place } from "../../net/address";
import type { ChatSession } from "../../session/chat";
import { refreshChats } from "../../session/chats";
import { newName, user, whoAmI } from "../../session/session";
import { texts } from "../../texts";

export type Actions = {
  place: Place;
  answer: (question: string, text: string) => Promise<unknown>;
  decide: (question: string, decision: api.Decision) => Promise<unknown>;
  respond: (form: string, response: object) => Promise<unknown>;
  mayAnswer: (question: QuestionEntry) => boolean;
  retry: () => Promise<void>;
  edit: (seq: number, text: string) => Promise<void>;
  fork: (seq?: number) => Promise<void>;
  stop: (turn: number | null) => Promise<void>;
  cancel: () => Promise<void>;
};

export function actionsOf(session: ChatSession): Actions {
  const { place } = session;
  const said = async (act: () => Promise<unknown>) => {
    try {
      await act();
    } catch (error) {
      session.complain(error);
    }
  };
  return {
    place,
    answer: api.answer,
    decide: (question, decision) => api.decide(place, question, decision),
    respond: api.respond,
    mayAnswer: (question) => mayAnswer(question, whoAmI()),
    retry: () => said(() => confirmed((confirm) => api.retry(place, user.get(), undefined, confirm))),
    edit: (seq, text) => confirmed((confirm) => api.edit(place, user.get(), undefined, confirm, seq, text)).then(() => undefined),
    fork: (seq) => said(async () => {
      const made = await api.fork(place, user.get(), seq, newName());
      navigate(chatHash({ app: place.app, workflow: made.workflow_name, chat: made.chat_id }));
      void refreshChats();
    }),
    stop: (turn) => said(() => api.stop(place, user.get(), turn)),
    cancel: () => said(() => api.cancel(place, user.get())),
  };
}

/** What cannot be undone is named by the server; the user decides. */
async function confirmed(act: (confirm: boolean) => Promise<unknown>): Promise<unknown> {
  try {
    return await act(false);
  } catch (error) {
    if (!(error instanceof api.ApiError) || error.code !== "CONFIRMATION_REQUIRED") throw error;
    const what = error.message.replace(/^confirm: /, "").replace(/; send it again.*$/, "");
    const t = texts();
    if (!(await askToConfirm({ title: t.chat.confirmTitle, text: what, action: t.chat.confirmAction }))) return undefined;
    return act(true);
  }
}

export const ActionsContext = createContext<Actions | null>(null);

export function useActions(): Actions {
  const actions = useContext(ActionsContext);
  if (!actions) throw new Error("an entry is outside of a chat");
  return actions;
}

/** Where a fork of the whole chat begins: after its end there is nothing to go on from, so before it. */
export function forkPoint({ entries, end }: Pick<State, "entries" | "end">): number | undefined {
  if (!end) return undefined;
  const last = entries.findLast((entry) => entry.kind === "text" && entry.seq !== null);
  return last?.kind === "text" ? (last.seq ?? undefined) : undefined;
}

/** The newest whole text of an agent, or failure: where a retry is offered. */
export function lastAnswerOf({ entries }: Pick<State, "entries">): string | null {
  return entries.findLast((entry) => (entry.kind === "text" && entry.agent !== "user" && !entry.streaming) || entry.kind === "error")?.id ?? null;
}
