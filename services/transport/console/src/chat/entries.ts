/** What a chat is made of on the page: the kinds of entries. */

import type { ApprovalData, AudienceData, DoubtData } from "../wire/frames";

/** Tokens and cost of one model call; `cost` is null where the price is unknown. */
export type Usage = { model: string | null; prompt: number; completion: number; cost: number | null; seconds: number; cached: boolean };

export type Interruption = "stopped" | "cancelled" | "failed" | "retried" | "runner_lost" | "budget";

type Base = { id: string; time: string };

export type TextEntry = Base & {
  kind: "text";
  agent: string;
  text: string;
  seq: number | null; // of its event: what an edit or a fork names; null while it streams
  call?: string | undefined; // `turn.call` of its model call
  streaming?: boolean;
  waits?: "queue" | "steer" | "interrupt" | undefined; // until an agent reads it
  refused?: boolean; // no agent will read it
  interrupted?: Interruption | undefined;
  usage?: Usage | undefined;
};

export type SpeakerEntry = Base & { kind: "speaker"; agent: string };

export type ToolEntry = Base & {
  kind: "tool";
  agent: string;
  turn: number | null;
  call?: string | undefined;
  corr: string;
  name: string;
  arguments: unknown;
  status: string; // running, stopped, or as `chat.tool_activity` has it
  progress: { percent: number | null; message: string } | null;
  content: string | null;
  endedAt: string;
  approval: { approved: boolean | null; by: string; always: boolean } | null;
  usage?: Usage | undefined; // of the model call that made this one
};

export type QuestionEntry = Base & {
  kind: "question";
  agent: string;
  turn: number | null;
  corr: string;
  prompt: string;
  options: string[];
  doubt: DoubtData | null;
  approval: ApprovalData | null;
  audience: AudienceData | null;
  escalated: AudienceData | null;
  expiresAt: string | null;
  open: boolean;
  expired: boolean;
  answer: string | null;
  approved: boolean | null;
  always: boolean; // later calls of the tool by this agent, too
  answeredBy: string;
};

export type FormEntry = Base & {
  kind: "form";
  agent: string;
  name: string;
  component: string;
  payload: Record<string, unknown>;
  open: boolean;
  summary: string;
  response: Record<string, unknown> | null; // what was answered
};

export type FileEntry = Base & { kind: "file"; attachment: string; name: string; size: number; type: string };

export type DataEntry = Base & { kind: "data"; agent: string; name: string; data: unknown };

/** `note` names a text of the catalogue; without one `text` is what the server says. */
export type NoteEntry = Base & { kind: "note"; note: "stopped" | "forked" | null; text: string; waits?: boolean | undefined };

export type ErrorEntry = Base & { kind: "error"; message: string; code: string };

export type EndEntry = Base & {
  kind: "end";
  status: "completed" | "failed" | "cancelled";
  reason: string;
  resumable: boolean;
  seconds: number | null;
  tokens: number;
  cost: number | null;
};

export type Entry =
  | TextEntry | SpeakerEntry | ToolEntry | QuestionEntry | FormEntry | FileEntry | DataEntry | NoteEntry | ErrorEntry | EndEntry;
