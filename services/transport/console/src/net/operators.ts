/** What pages of workflows, traces and operations ask of the server. */

import type {
  BudgetPage, ChatSessions, ComparisonPage, DeadLetterDetails, DeadLetterGone, DeadLettersPage, DraftAnswer, DraftRequest, ForksPage, LimitedApps,
  ModelCallPage, ProcessesPage, TimelinePage, WorkflowPicture, WorkflowSource,
} from "../wire/http";
import type { Place } from "./address";
import { get, request, send } from "./api";

type Chat = Pick<Place, "app" | "chat">;

export const picture = (workflow: string) => get<WorkflowPicture>(["api", "workflows", workflow, "graph"]);
export const source = (workflow: string) => get<WorkflowSource>(["api", "workflows", workflow, "source"]);
export const draft = (workflow: string, edits: DraftRequest) => send<DraftAnswer>("POST", ["api", "workflows", workflow, "draft"], edits);

export const timeline = ({ app, chat }: Chat, before: number | null = null) =>
  get<TimelinePage>(["api", "chats", app, chat, "timeline"], { before });
export const modelCall = ({ app, chat }: Chat, user: string, seq: number) =>
  get<ModelCallPage>(["api", "chats", app, chat, "model-calls", String(seq)], { user_id: user });
export const comparison = ({ app, chat }: Chat, user: string, other: string) =>
  get<ComparisonPage>(["api", "chats", app, chat, "compare", other], { user_id: user });
export const forks = ({ app, chat }: Chat, user: string) => get<ForksPage>(["api", "chats", app, chat, "forks"], { user_id: user });
export const sessions = (app: string, user: string) => get<ChatSessions>(["api", "sessions", "list", app, user]);

export const processes = () => get<ProcessesPage>(["api", "operations", "processes"]);
export const limitedApps = () => get<LimitedApps>(["api", "operations", "apps"]);
export const budget = (app: string) => get<BudgetPage>(["api", "budgets", app]);
export const deadLetters = (before: number | null = null) => get<DeadLettersPage>(["api", "dead-letters"], { before });
export const deadLetter = (seq: number) => get<DeadLetterDetails>(["api", "dead-letters", String(seq)]);
export const redrive = (seq: number) => send<DeadLetterGone>("POST", ["api", "dead-letters", String(seq), "redrive"], {});
export const drop = (seq: number) => request<DeadLetterGone>("DELETE", ["api", "dead-letters", String(seq)]);

/** Pages of the metrics service, which its own document describes. */
export type ChatNumbers = {
  chat_id: string; app_id: string; workflow_name: string; user_id: string | null; status: string; last_event_at: string; started_at: string;
  ended_at: string | null; runtime_sec: number; agent_turns: number; tool_calls: number; errors: number; last_turn_duration_sec: number | null;
  prompt_tokens: number; completion_tokens: number; cost: number;
};
export type SilentChat = { chat_id: string; app_id: string; workflow_name: string; silent_sec: number };
export type TenantUse = {
  app_id: string; chats: Record<string, number>; agent_turns: number; tool_calls: number; errors: number; prompt_tokens: number;
  completion_tokens: number; cost: number;
};
export type StreamNumbers = {
  stream: string; is_available: boolean; messages: number; bytes: number; last_sequence: number; replicas_current: number; replicas_behind: number;
};
export type ConsumerNumbers = { stream: string; consumer: string; pending: number; unacknowledged: number; redelivered: number };
export type Streams = { streams: StreamNumbers[]; consumers: ConsumerNumbers[]; unfolded_messages: number };

export const chatNumbers = (app?: string) => get<ChatNumbers[]>(["metrics", "perf", "chats"], { app_id: app });
export const silentChats = (app?: string) => get<SilentChat[]>(["metrics", "perf", "stalled"], { app_id: app });
export const tenants = (app?: string) => get<TenantUse[]>(["metrics", "perf", "tenants"], { app_id: app });
export const streams = () => get<Streams>(["metrics", "perf", "streams"]);
