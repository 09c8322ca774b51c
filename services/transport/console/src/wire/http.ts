// Generated from the OpenAPI document: do not edit, run `make reference`.

export type ActiveConnections = {
  websocket_connections: number;
  total_connections: number;
};

export type ActiveRuns = {
  active_count: number;
  total_runs: number;
  runs: Array<Record<string, unknown>>;
  note: string;
};

/** Structured progress that is not conversation content, materialised as a message so it keeps its place in the sequence. Stands alone rather than composing BaseMessage, because its content is an object rather than a string. */
export type ActivityMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "activity";
  activityType: string;
  content: Record<string, unknown>;
  metadata?: Record<string, unknown> | null;
};

/** An agent as its manifest has it; None stands for the default of the process. */
export type AgentShown = {
  name: string;
  prompt: string;
  model?: string | null;
  provider?: string | null;
  temperature?: number | null;
  tools?: Array<string>;
  mcp_servers?: Array<string>;
  variables?: Array<string>;
  output?: string | null;
};

export type AnswerAccepted = {
  status: "success";
  message: string;
};

export type AnswerLinkIssued = {
  url: string;
  expires_at: string;
};

/** Whose answer the link will be; by default that of the request's own user. */
export type AnswerLinkRequest = {
  user_id?: string | null;
  role?: string | null;
};

/** The answer to an open question, as text. */
export type AnswerRequest = {
  input_request_id: string;
  user_input: string;
  chat_id?: string | null;
  client_message_id?: string | null;
};

export type AppTheme = {
  app_id: string;
  theme: Theme;
  source: "default";
};

/** A message from the agent. Content is optional because a turn may consist only of tool calls. */
export type AssistantMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "assistant";
  name?: string | null;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
  content?: string | null;
  toolCalls?: Array<ToolCall> | null;
};

export type Attachment = {
  attachment_id: string;
  user_id: string;
  filename: string;
  size_bytes: number;
  content_type: string;
  intent: "context" | "bundle" | "deliverable";
  bundle_path: string | null;
  stored_path: string;
  uploaded_at_utc: string;
};

/** An audio part. */
export type AudioPart = {
  type?: "audio";
  id?: string | null;
  source: DataSource | UrlSource | FileSource;
  metadata?: unknown | null;
};

export type AvailableWorkflows = {
  workflows: Array<WorkflowAvailability>;
};

export type BackgroundColours = {
  base: string;
  surface: string;
  elevated: string;
  overlay: string;
};

export type BorderColours = {
  subtle: string;
  strong: string;
  accent: string;
};

export type Branding = {
  name: string;
};

/** The limits of an app, or those of a user, and what is used of them. */
export type BudgetPage = {
  limits: Array<LimitStatus>;
};

/** One tool call that may have changed something, and what is known of it. */
export type CallEffect = {
  chat_id: string;
  workflow_name?: string | null;
  seq: number;
  turn: number;
  agent: string;
  tool_call_id: string;
  tool: string;
  effect: "read" | "idempotent" | "once";
  occasion?: "auto_invoke" | "before_chat" | "after_chat" | "before_agent" | "after_agent" | null;
  idempotency_key: string;
  arguments: string;
  arguments_digest: string;
  approval?: EffectApproval | null;
  attempts: Array<EffectAttempt>;
  doubts?: Array<EffectDoubt>;
  outcome: "ok" | "error" | "unknown" | "in_doubt" | "open";
  resolved_by?: "check" | "user" | "policy" | null;
  receipt?: unknown;
  error?: string | null;
  rewound?: boolean;
  dispatched_at: string;
  ended_at?: string | null;
};

/** The identity of the request's token; everything is null where sign-in is off. */
export type CallerIdentity = {
  signed_in: boolean;
  user_id: string | null;
  app_ids: Array<string> | null;
  scopes: Array<"user" | "internal" | "operator"> | null;
  roles: Array<string> | null;
  expires_at: string | null;
};

export type CancelAccepted = {
  status: "accepted";
};

export type CancelRequest = {
  user_id: string;
  reason?: string;
};

/** A node of the tree of causes: a command, a turn, a model call, a tool call or a question. */
export type CauseNode = {
  kind: "command" | "turn" | "model_call" | "tool_call" | "question" | "failure" | "takeover";
  name: string;
  seq: number;
  time: string;
  outcome?: string | null;
  children?: Array<CauseNode>;
};

/** What a chat's log says about it. `sentence` says in words what the chat waits for. */
export type ChatAccount = {
  app_id: string;
  chat_id: string;
  workflow_name?: string | null;
  user_id?: string | null;
  last_seq?: number;
  waits_for?: "nothing" | "user_message" | "answers" | "retry" | "model" | "tools" | "turn" | "lifecycle_tools" | "stop";
  since?: string | null;
  sentence?: string;
  agent?: string | null;
  turn?: number | null;
  questions?: Array<OpenQuestionExplained>;
  calls?: Array<OpenCallExplained>;
  last_error?: ErrorExplained | null;
  provider_wait?: ProviderWait | null;
  runner?: RunnerExplained | null;
  causes?: Array<CauseNode>;
};

export type ChatExistence = {
  exists: boolean;
};

/** Which chat it is, and how it stands. */
export type ChatHead = {
  app_id: string;
  chat_id: string;
  workflow_name: string;
  user_id: string;
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  created_at: string;
  last_updated_at: string;
  last_sequence: number;
  total_tokens: number;
  cost: number;
  origin: ForkOrigin | null;
};

export type ChatIds = {
  chat_ids: Array<string>;
};

export type ChatMeta = {
  exists: true;
  chat_id: string;
  workflow_name: string;
  app_id: string;
  has_children: false;
  cache_seed: number;
  status: number;
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  last_sequence: number;
  last_digest: string;
  created_at: string;
  last_updated_at: string;
  last_artifact: LastArtifact | null;
  artifact_instance_id: string | null;
  artifact_state: null;
  origin: ForkOrigin | null;
};

export type ChatOwner = {
  user_id: string;
};

/** A row of a user's list of chats. */
export type ChatSession = {
  chat_id: string;
  workflow_name: string;
  status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  title: string;
  created_at: string;
  last_updated_at: string;
  last_sequence: number;
  last_artifact: null;
  origin: ForkOrigin | null;
};

export type ChatSessions = {
  sessions: Array<ChatSession>;
  count: number;
};

/** A chat as of one of its events. */
export type ChatState = {
  chat_id: string;
  workflow_name: string;
  sequence: number;
  last_sequence: number;
  time: string;
  title: string;
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  speaker: string | null;
  variables: Record<string, unknown>;
  stored_values: Array<LargeVariable>;
  open_questions: Array<StateQuestion>;
  origin: ForkOrigin | null;
};

export type Colour = {
  name: string;
  main: string;
  light: string;
  dark: string;
};

export type Colours = {
  primary: Colour;
  secondary: Colour;
  accent: Colour;
  success: Colour;
  warning: Colour;
  error: Colour;
  background: BackgroundColours;
  border: BorderColours;
  text: TextColours;
};

/** What was said and done in a turn. `tools` are calls with their arguments and how they ended. */
export type ComparedTurn = {
  turn: number;
  seq: number;
  agent?: string | null;
  messages?: Array<string>;
  tools?: Array<string>;
  text?: string;
  outcome?: string | null;
  seconds?: number;
  prompt_tokens?: number;
  completion_tokens?: number;
  cost?: number;
};

/** Two chats, turn by turn: `differs_in` says in what the two turns of a pair differ. */
export type ComparisonPage = {
  left: ChatHead;
  right: ChatHead;
  pairs: Array<TurnPair>;
  first_difference: number | null;
  shared_events: number;
};

/** Changes of context variables by a component, without a question that waits for them. */
export type ComponentActionRequest = {
  component_id: string;
  action_type: string;
  action_data: VariableChanges;
  user_id?: string | null;
};

/** The answer of a component to the UI tool that shows it. */
export type ComponentAnswerRequest = {
  event_id: string;
  response_data: Record<string, unknown>;
  chat_id?: string | null;
  client_message_id?: string | null;
};

/** A named piece of ambient information given to the agent for the run, distinct from the conversation. */
export type Context = {
  description: string;
  value: string;
};

/** Bytes carried inline. */
export type DataSource = {
  type?: "data";
  value: string;
  mimeType: string;
};

export type DeadLetterDetails = {
  letter: DeadLetterSummary;
  payload: Record<string, string>;
};

export type DeadLetterGone = {
  seq: number;
};

/** A message that no process could handle, without what is in it. */
export type DeadLetterSummary = {
  seq: number;
  stored_at: string;
  service: string;
  reason: string;
  subject: string;
  stream: string;
  app_id: string | null;
  deliveries: number;
  size: number;
  can_redrive: boolean;
};

export type DeadLettersPage = {
  letters: Array<DeadLetterSummary>;
  earlier: number | null;
};

/** Instructions from the application developer. */
export type DeveloperMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "developer";
  name?: string | null;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
  content: string;
};

/** A document part. */
export type DocumentPart = {
  type?: "document";
  id?: string | null;
  source: DataSource | UrlSource | FileSource;
  metadata?: unknown | null;
};

/** The workflow to start, or why there is none. */
export type DraftAnswer = {
  workflow_name: string | null;
  problems: Array<string>;
};

/** An edited copy of a workflow. What is left out stays as it is. */
export type DraftRequest = {
  files?: Record<string, string>;
  variables?: Record<string, unknown>;
  model?: string | null;
};

/** `target` may follow `source`; `is_choice`: by a condition, or chosen by a model or a pattern. */
export type Edge = {
  source: string;
  target: string;
  label?: string;
  is_choice?: boolean;
};

/** Replace a message of the user: what came after it does not count any more. */
export type EditRequest = {
  user_id: string;
  confirm?: boolean;
  seen_seq?: number | null;
  message_seq: number;
  message: string;
};

/** The question whose answer allowed the newest attempt. */
export type EffectApproval = {
  question_id: string;
  answered_by?: string | null;
  answered_at?: string | null;
};

export type EffectAttempt = {
  number: number;
  reason: "first" | "retry" | "repeat" | "check" | "answer" | "continue";
  time: string;
};

/** A question about an attempt whose outcome was unknown, and its answer. */
export type EffectDoubt = {
  attempt: number;
  question_id: string;
  asked_at: string;
  answer?: string | null;
  answered_by?: string | null;
  answered_at?: string | null;
};

/** What tools have done to the world, oldest first: calls of tools that only read are left out. */
export type EffectsPage = {
  effects: Array<CallEffect>;
  next: string | null;
};

/** How much was removed; the numbers of chats and of their events, and the parts of the storage. What was removed before, in an attempt that was interrupted, is not counted again. */
export type ErasedCounts = {
  chats?: number;
  messages?: number;
  objects?: number;
  documents?: number;
};

/** What is to be erased, and how far it is. */
export type ErasureStatus = {
  app_id: string;
  user_id: string | null;
  chat_id: string | null;
  with_forks: boolean;
  state: "requested" | "done" | "failed";
  requested_at: string;
  ended_at: string | null;
  erased: ErasedCounts;
  problem: string | null;
};

/** Why a request was rejected; nothing was changed because of it. */
export type ErrorAnswer = {
  detail: string;
};

/** The last failure. `detail` is what the provider itself said. */
export type ErrorExplained = {
  seq: number;
  time: string;
  code: string;
  message: string;
  detail?: string | null;
};

export type EventCategories = {
  runtime: number;
  ui_tool: number;
  business: number;
};

export type EventMetrics = {
  events_processed: number;
  events_failed: number;
  events_by_category: EventCategories;
  custom_events_emitted: number;
  custom_events_by_type: Record<string, number>;
  created: string;
  handler_count: number;
  timestamp: string;
};

export type EventMetricsAnswer = {
  status: "success";
  data: EventMetrics;
  timestamp: string;
};

/** The frames after or before an event; an event is never divided between two pages. */
export type EventsPage = {
  frames: Array<{
  type: "ack.artifact_action" | "ack.input" | "ack.ui_tool_response" | "artifact.state.updated" | "chat.answer_stopped" | "chat.archived" | "chat.attachment_uploaded" | "chat.budget" | "chat.context_switched" | "chat.deleted" | "chat.error" | "chat.event" | "chat.fork_started" | "chat.forked" | "chat.general_session_created" | "chat.history" | "chat.input_ack" | "chat.input_request" | "chat.input_timeout" | "chat.message_refused" | "chat.messages_consumed" | "chat.mode_changed" | "chat.navigate" | "chat.prereq_blocked" | "chat.print" | "chat.question_escalated" | "chat.renamed" | "chat.resume_boundary" | "chat.rewind_refused" | "chat.rewind_unconfirmed" | "chat.rewound" | "chat.run_complete" | "chat.run_start" | "chat.select_speaker" | "chat.structured_output_ready" | "chat.text" | "chat.tool_activity" | "chat.tool_call" | "chat.tool_progress" | "chat.tool_response" | "chat.turn_limit" | "chat.ui_tool_complete" | "chat.ui_tool_dismiss" | "chat.undeleted" | "chat.usage_delta" | "chat.waiting" | "chat.workflow_batch_started" | "chat.workflow_started" | "chat_meta";
  data: Record<string, unknown>;
  timestamp?: string;
  seq: number;
}>;
  last_sequence: number;
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  first_sequence?: number | null;
};

/** What a chat waits for, since when, and why. */
export type Explanation = {
  account: ChatAccount;
  problem: string | null;
  total_tokens: number;
  cost: number;
  limits: Array<LimitStatus>;
  read_model: ReadModelLag;
};

/** Bytes already at the provider, named by a handle the provider issued: an OpenAI or Anthropic file id, a Gemini file URI, a storage URL only that provider can read. No bytes travel and nothing is fetched. Only the provider that minted the handle can resolve it; a peer that cannot drops the part as it drops any part it cannot use. */
export type FileSource = {
  type?: "file";
  value: string;
  provider?: string | null;
  mimeType?: string | null;
};

export type Font = {
  family: string;
  fallbacks: string;
  tailwindClass: string;
};

export type Fonts = {
  body: Font;
  heading: Font;
  logo: Font;
};

/** A chat that reads events of another one. */
export type Fork = {
  chat_id: string;
  origin: ForkOrigin | null;
  status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  title: string;
  created_at: string;
};

export type ForkChatAnswer = {
  chat_id: string;
  workflow_name: string;
  app_id: string;
  user_id: string;
  websocket_url: string;
  origin: ForkOrigin;
  reused: boolean;
};

export type ForkChatRequest = {
  user_id: string;
  seq?: number | null;
  message?: string | null;
  client_request_id?: string | null;
};

/** Where a fork comes from. */
export type ForkOrigin = {
  chat_id: string;
  sequence: number;
};

export type ForksPage = {
  forks: Array<Fork>;
  next: string | null;
};

/** The name and arguments of a tool call. */
export type FunctionCall = {
  name: string;
  arguments: string;
};

/** A row of a user's list of general chats. */
export type GeneralChatSession = {
  chat_id: string;
  label: string;
  sequence: number;
  status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  created_at: string;
  last_updated_at: string;
  last_sequence: number;
};

export type GeneralChatSessions = {
  sessions: Array<GeneralChatSession>;
  count: number;
};

export type GeneralMessage = {
  sequence: number;
  event_id: string;
  timestamp: string;
  role: "user" | "assistant";
  agent: string;
  agent_name: string;
  content: string;
  metadata: MessageSource;
};

/** Messages of a general chat. */
export type GeneralTranscript = {
  chat_id: string;
  label: string;
  sequence: number;
  status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  app_id: string;
  user_id: string;
  created_at: string;
  last_updated_at: string;
  last_sequence: number;
  messages: Array<GeneralMessage>;
};

/** Nodes in reading order: the user first, where the user begins. */
export type Graph = {
  nodes?: Array<Node>;
  edges?: Array<Edge>;
};

export type Health = {
  status: "healthy";
  mongodb: string;
  mongodb_ping_ms: null;
  nats: "connected";
  nats_ping_ms: number;
  simple_transport: true;
  active_connections: ActiveConnections;
  workflows: Array<string>;
  transport_groups: TransportGroups;
  tools_available: boolean;
  total_tools: number;
  health_check_time_ms: number;
};

/** An image part. */
export type ImagePart = {
  type?: "image";
  id?: string | null;
  source: DataSource | UrlSource | FileSource;
  metadata?: unknown | null;
};

/** Those that have waited longest come first. It trails the chats by a moment. */
export type InboxPage = {
  questions: Array<InboxQuestion>;
  next: string | null;
};

/** An open question, as its snapshot has it: the whole of it is at `questions/{question_id}`. */
export type InboxQuestion = {
  chat_id: string;
  workflow_name: string;
  user_id: string;
  question_id: string;
  kind: "text" | "component";
  agent: string;
  subject: string;
  options: Array<string>;
  tool: string | null;
  digest: string | null;
  allow_always: boolean;
  asks_user: boolean;
  users: Array<string>;
  roles: Array<string>;
  escalated: boolean;
  asked_at: string | null;
  expires_at: string | null;
};

/** Where the whole value is of which a variable has only the beginning. */
export type LargeVariable = {
  path: string;
  digest: string;
  size: number;
  media_type: string;
  url: string;
};

/** The artifact that was opened last and not closed since. */
export type LastArtifact = {
  ui_tool_id: string;
  event_id: string;
  component_type: string;
  display?: "artifact";
  workflow_name: string;
  payload: Record<string, unknown>;
  updated_at: string;
};

/** A limit to be set; it replaces the one of its scope, name, unit and period. */
export type LimitForm = {
  scope?: "app" | "user" | "workflow" | "chat";
  name?: string | null;
  unit: "tokens" | "cost" | "upload_bytes" | "value_bytes";
  period?: "hour" | "day" | "month" | "total";
  soft?: number | null;
  hard?: number | null;
};

/** A limit, and what is used of it now. Tokens, bytes, or US dollars for `cost`. */
export type LimitStatus = {
  scope: "app" | "user" | "workflow" | "chat";
  name: string | null;
  unit: "tokens" | "cost" | "upload_bytes" | "value_bytes";
  period: "hour" | "day" | "month" | "total";
  soft: number | null;
  hard: number | null;
  used: number | null;
  held: number | null;
  repeated: number | null;
  left: number | null;
  calls: number | null;
  resets_at: string | null;
};

/** The apps that have limits of their own. */
export type LimitedApps = {
  apps: Array<string>;
};

/** An open question, whole, for those who may answer it. */
export type LinkedQuestion = {
  app_id: string;
  chat_id: string;
  workflow_name: string;
  user_id: string;
  question_id: string;
  kind: "text" | "component";
  agent: string;
  prompt: string | null;
  options: Array<string>;
  component: string | null;
  payload: Record<string, unknown> | null;
  tool: string | null;
  digest: string | null;
  allow_always: boolean;
  asked_at: string | null;
  expires_at: string | null;
};

/** The change is in the chat's events and in the lists a moment later. */
export type ListChangeAccepted = {
  status: "accepted";
};

export type MessageAccepted = {
  status: "accepted";
  transport: null;
};

export type MessageRequest = {
  message: string;
  client_message_id?: string | null;
};

export type MessageSource = {
  source: "general_agent";
};

/** A model call that is over; `seq` is the event of the chat that says so. Times are to the millisecond, durations in seconds. `time_to_first_chunk` is that of the last attempt, none where the answer came as a whole. `cost` is in US dollars, none for a model without a price; a `cached` answer was recorded earlier. `request_digest` is the SHA-256 of the prompt and the conversation; none in chats of an earlier release, as is `time_to_first_chunk`. */
export type ModelCall = {
  app_id: string;
  chat_id: string;
  workflow_name: string;
  seq: number;
  turn: number;
  call: number;
  agent: string;
  provider?: string | null;
  model?: string | null;
  started_at: string;
  ended_at: string;
  duration: number;
  time_to_first_chunk?: number | null;
  tokens?: Tokens;
  cost?: number | null;
  cached?: boolean;
  request_digest?: string | null;
};

/** A model request exactly as it was sent, and the answer. */
export type ModelCallPage = {
  model_call: ModelCallShown;
};

/** A model request as it was sent, and the answer. `is_exact`: the digest in the log is that of this prompt and these messages. `tools` and `response_schema` are of the newest code. `response` is None while there is none, or where the call failed: then `failure` says how. */
export type ModelCallShown = {
  seq: number;
  turn: number;
  call: number;
  agent: string;
  is_exact: boolean;
  prompt: Array<string>;
  messages: Array<Record<string, unknown>>;
  tools?: Array<Record<string, unknown>>;
  mcp_servers?: Array<string>;
  response_schema?: Record<string, unknown> | null;
  settings?: Record<string, unknown>;
  response?: Record<string, unknown> | null;
  failure?: Record<string, unknown> | null;
  usage?: Record<string, unknown> | null;
};

/** There is no such chat, or it is not the caller's. */
export type NoChat = {
  exists: false;
};

/** Every chat of the user has ended, or there is none. */
export type NoRecentChat = {
  found: false;
};

/** A speaker, the choice of a pattern, or the end; `name` is what is shown. */
export type Node = {
  id: string;
  name: string;
  kind: "agent" | "user" | "pattern" | "end";
};

/** A tool call without a result. `attempt` counts its dispatches; 0: not dispatched yet. */
export type OpenCallExplained = {
  tool_call_id: string;
  tool_name: string;
  attempt?: number;
  dispatched_at?: string | null;
};

/** An open question, without its text, which is the user's. */
export type OpenQuestionExplained = {
  question_id: string;
  agent: string;
  tool_call_id: string;
  asked_at: string;
  expires_at?: string | null;
  escalates_at?: string | null;
  users?: Array<string>;
  roles?: Array<string>;
};

/** Every process that answered in time; a service without one does not run, or has no connection. */
export type ProcessesPage = {
  processes: Array<ReadinessShown>;
  missing: Array<string>;
};

/** A model call that waits before it is tried again, as it was last reported. */
export type ProviderWait = {
  code: string;
  seconds: number;
  attempt: number;
  attempts: number;
  next_attempt_at: string;
};

/** An answer in text, a decision about an approval, or the response of a component. */
export type QuestionAnswerRequest = {
  text?: string | null;
  approved?: boolean | null;
  always?: boolean;
  response?: Record<string, unknown> | null;
  arguments_digest?: string | null;
  user_id?: string | null;
  role?: string | null;
  client_request_id?: string | null;
};

/** How far persistence is with the chat; null where it does not answer in time. */
export type ReadModelLag = {
  last_seq: number | null;
  behind: number | null;
};

/** What a process waits for, by the name of the check; it is ready where it waits for nothing. */
export type ReadinessShown = {
  service: string;
  process: string;
  is_ready: boolean;
  waiting_for?: Record<string, string>;
};

/** A span of the agent's reasoning, materialised as a message. Stands alone rather than composing BaseMessage, because it carries no name. */
export type ReasoningMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "reasoning";
  content: string;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
};

/** The chat that changed last and has not ended. */
export type RecentChat = {
  found: true;
  chat_id: string;
  workflow_name: string;
  status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  title: string;
  created_at: string;
  last_updated_at: string;
  last_sequence: number;
  last_artifact: null;
  origin: ForkOrigin | null;
};

export type RenameRequest = {
  user_id: string;
  title: string;
};

/** An answer to one interrupt, sent on the run that continues from it. */
export type ResumeEntry = {
  interruptId: string;
  status: "resolved" | "cancelled";
  payload?: unknown | null;
  metadata?: Record<string, unknown> | null;
};

/** Run the last turn of an agent again, also after a failure or the end of the chat. */
export type RetryRequest = {
  user_id: string;
  confirm?: boolean;
  seen_seq?: number | null;
};

/** What has become of the request: the events of the chat show what follows. */
export type RewindAccepted = {
  status: "rewound" | "accepted";
  seq: number | null;
};

/** Why the request had no effect. */
export type RewindRefusedAnswer = {
  detail: string;
  code: string;
  effects: Array<CallEffect>;
};

/** Take the chat back to where it waited for the user, or had ended. */
export type RewindRequest = {
  user_id: string;
  confirm?: boolean;
  seen_seq?: number | null;
  to_seq: number;
};

/** A request to run an agent. Also echoed back as RUN_STARTED.input. Only threadId, runId and messages are required: those are the three the SDKs already agree on, and for tools and context an absent key and an empty array mean the same thing, so requiring them would catch nothing a producer could get wrong. */
export type RunAgentInput = {
  threadId: string;
  runId: string;
  protocolVersion?: string | null;
  parentRunId?: string | null;
  state?: unknown | null;
  messages: Array<DeveloperMessage | SystemMessage | AssistantMessage | UserMessage | ToolMessage | ActivityMessage | ReasoningMessage>;
  tools?: Array<Tool> | null;
  context?: Array<Context> | null;
  forwardedProps?: unknown | null;
  resume?: Array<ResumeEntry> | null;
};

/** Who runs a chat that the runtime is in charge of. `command` is the one that made it run, `message` the number of its message in the queue, which is delivered until the chat is quiet. `process` handled the last delivery, the `attempt`th; whether it `holds_message` now: None where the processes could not be asked. */
export type RunnerExplained = {
  command: string;
  message: number;
  message_is_stored?: boolean | null;
  process?: string | null;
  attempt?: number | null;
  processes?: Array<string>;
  holds_message?: boolean | null;
};

/** Model calls in the order in which they ended, without anything of what was asked or answered. */
export type RuntimeLogPage = {
  calls: Array<ModelCall>;
  next: string | null;
};

export type Shadows = {
  elevated: string;
};

export type StartChatAnswer = {
  success: true;
  chat_id: string;
  workflow_name: string;
  app_id: string;
  user_id: string;
  websocket_url: string;
  message: string;
  reused: boolean;
  cache_seed: number;
};

export type StartChatRequest = {
  user_id: string;
  client_request_id?: string | null;
  force_new?: boolean | null;
  message?: string | null;
  variables?: Record<string, unknown> | null;
  frontend_context?: Record<string, unknown> | null;
};

/** A question that was open. */
export type StateQuestion = {
  question_id: string;
  kind: "text" | "component";
  agent: string;
  subject: string;
  options: Array<string>;
  asked_at: string | null;
};

/** Of all chats of the workflow. */
export type StatsAverages = {
  duration_sec: number;
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  cost: number;
};

export type StopAccepted = {
  status: "accepted" | "not_running";
};

export type StopRequest = {
  user_id: string;
  turn?: number | null;
};

export type StructuredOutputs = {
  registry: Record<string, string>;
};

/** Instructions from the system. */
export type SystemMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "system";
  name?: string | null;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
  content: string;
};

export type TextColours = {
  primary: string;
  secondary: string;
  muted: string;
  onAccent: string;
};

/** A text part. */
export type TextPart = {
  type?: "text";
  id?: string | null;
  text: string;
  metadata?: unknown | null;
};

export type Theme = {
  branding: Branding;
  fonts: Fonts;
  colors: Colours;
  shadows: Shadows;
};

/** Something of a chat that took time, or happened at once: then `ended_at` is `started_at`. `seq` is the event that begins it, of a `provider_wait` that of its model call; `ended_at` is None while it is not over. `name` is the agent, the model, the tool, the user, the code of the failure that is waited after, or what happened. `trace_id` is that of the OpenTelemetry trace, in hex. */
export type TimelineEntry = {
  kind: "start" | "message" | "turn" | "wait" | "model_call" | "provider_wait" | "tool_call" | "question" | "takeover" | "compaction" | "budget" | "stop" | "rewind" | "end";
  name: string;
  seq: number;
  started_at: string;
  ended_at?: string | null;
  turn?: number | null;
  call?: number | null;
  agent?: string | null;
  attempt?: number | null;
  outcome?: string | null;
  is_failure?: boolean;
  prompt_tokens?: number | null;
  completion_tokens?: number | null;
  cost?: number | null;
  cached?: boolean;
  time_to_first_chunk?: number | null;
  tool_call_id?: string | null;
  trace_id?: string | null;
};

/** What happened in a chat, with times, tokens and cost, and without anything of what was said. */
export type TimelinePage = {
  chat: ChatHead;
  entries: Array<TimelineEntry>;
  earlier: number | null;
  trace_url: string | null;
};

/** Token counts of a model call; none where the provider reports none. */
export type Tokens = {
  prompt?: number | null;
  completion?: number | null;
  total?: number | null;
  cache_read?: number | null;
  cache_creation?: number | null;
  thinking?: number | null;
};

/** A tool the agent may call. */
export type Tool = {
  name: string;
  description: string;
  parameters?: unknown | null;
  metadata?: Record<string, unknown> | null;
};

/** A call an assistant message made. Carries no subagent attribution of its own and inherits its containing message's, since several calls can share one parent. */
export type ToolCall = {
  id: string;
  type?: "function";
  function: FunctionCall;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
};

export type ToolConfig = {
  name: string;
  description: string;
  agents: Array<string>;
  component: string | null;
  mode: "inline" | "artifact" | null;
  auto_invoke: boolean;
};

/** What a tool returned, as a message in the conversation. Stands alone rather than composing BaseMessage, because it carries no name. */
export type ToolMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "tool";
  content: string | Array<TextPart | ImagePart | AudioPart | VideoPart | DocumentPart>;
  toolCallId: string;
  error?: string | null;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
};

export type TranscriptCall = {
  id: string;
  type: "function";
  function: TranscriptFunction;
};

export type TranscriptFunction = {
  name: string;
  arguments: string;
};

/** A message in AG2's strict format: members that do not apply are left out. */
export type TranscriptMessage = {
  role: "user" | "assistant" | "tool";
  name: string;
  content: string | null;
  tool_calls?: Array<TranscriptCall> | null;
  tool_call_id?: string | null;
  interrupted?: "stopped" | "cancelled" | "failed" | "retried" | "runner_lost" | "budget" | null;
};

/** Messages of a chat, oldest first; the results of tool calls are on the page of the calls. */
export type TranscriptPage = {
  chat_id: string;
  messages: Array<TranscriptMessage>;
  next: string | null;
  last_sequence: number;
};

export type TransportEndpoints = {
  websocket: string;
  input: string;
};

export type TransportGroups = {
  websocket: Array<string>;
};

/** The turns of one number in both chats, None where a chat has no such turn. */
export type TurnPair = {
  left: ComparedTurn | null;
  right: ComparedTurn | null;
  differs_in?: Array<"agent" | "messages" | "tools" | "text" | "outcome">;
};

export type UiToolConfig = {
  ui_tool_id: string;
  component: string | null;
  mode: "inline" | "artifact";
};

export type UploadAnswer = {
  success: true;
  chat_id: string;
  app_id: string;
  user_id: string;
  attachment: Attachment;
};

/** A form (`multipart/form-data`). */
export type UploadForm = {
  file: string;
  chatId: string;
  intent?: "context" | "bundle" | "deliverable";
  bundle_path?: string | null;
  appId: string;
  userId: string;
};

/** A form (`multipart/form-data`) whose app and user are in the path. */
export type UploadFormOfUser = {
  file: string;
  chatId: string;
  intent?: "context" | "bundle" | "deliverable";
  bundle_path?: string | null;
};

/** Bytes referenced by URL, fetched by whoever needs them. */
export type UrlSource = {
  type?: "url";
  value: string;
  mimeType?: string | null;
};

/** A row of a user's list of chats. */
export type UserChat = {
  chat_id: string;
  workflow_name: string;
  status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  title: string;
  created_at: string;
  last_updated_at: string;
  last_sequence: number;
  last_artifact: null;
  origin: ForkOrigin | null;
  archived: boolean;
  deleted: boolean;
  excerpt: string | null;
};

/** The chat that changed last comes first. The list trails the chats by a moment. */
export type UserChats = {
  chats: Array<UserChat>;
  next: string | null;
};

/** A message from the person using the application. */
export type UserMessage = {
  subagentRunId?: string | null;
  id: string;
  role?: "user";
  name?: string | null;
  encryptedValue?: string | null;
  metadata?: Record<string, unknown> | null;
  content: string | Array<TextPart | ImagePart | AudioPart | VideoPart | DocumentPart>;
};

export type VariableChanges = {
  set: Record<string, unknown>;
};

export type VariablesSet = {
  status: "success";
  message: string;
  applied: Record<string, unknown>;
  timestamp: string;
};

/** A video part. */
export type VideoPart = {
  type?: "video";
  id?: string | null;
  source: DataSource | UrlSource | FileSource;
  metadata?: unknown | null;
};

export type WebSocketTicket = {
  ticket: string;
  expires_in: number;
};

export type WorkflowAvailability = {
  workflow_name: string;
  available: boolean;
  reason: string | null;
  type: string;
  description: string;
  required_gates: Array<string>;
};

/** What a page needs to know of a workflow: no prompts, no paths. */
export type WorkflowConfig = {
  name: string;
  description: string;
  pattern: string;
  startup_mode: "AgentDriven" | "UserDriven" | "BackendOnly";
  human_in_the_loop: boolean;
  max_turns: number;
  initial_message_to_user: string | null;
  agents: Array<string>;
  visual_agents: Array<string>;
  model: string;
  demo: boolean;
  version: string;
  general: boolean;
  workflow_name: string;
  orchestration_pattern: string;
  initial_message: null;
  chat_pane_agents: Array<string>;
  artifact_agents: Array<string>;
  inline_component_agents: Array<string>;
  artifact_component_agents: Array<string>;
  structured_outputs: StructuredOutputs;
  tools: Record<string, ToolConfig>;
  ui_tools: Record<string, UiToolConfig>;
};

/** The agents of a workflow and who follows whom. */
export type WorkflowPicture = {
  workflow_name: string;
  graph: Graph;
  settable: Array<string>;
};

/** A workflow with its prompts, as an orchestrator has loaded it. */
export type WorkflowSource = {
  name: string;
  version: string;
  model: string;
  agents: Array<AgentShown>;
  variables: Array<string>;
  drafts: boolean;
  files: Record<string, string>;
};

/** The statistics of one app's workflow, over all its chats. */
export type WorkflowStats = {
  app_id: string;
  workflow_name: string;
  chats: number;
  chats_by_status: Record<string, number>;
  agent_turns: number;
  tool_calls: number;
  errors: number;
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  cost: number;
  duration_sec: number;
  averages: StatsAverages;
};

export type WorkflowTool = {
  name: string;
  description: string;
  agents: Array<string>;
  component: string | null;
  mode: "inline" | "artifact" | null;
  auto_invoke: boolean;
  workflow: string;
};

export type WorkflowTools = {
  workflow_name: string;
  tools: Array<WorkflowTool>;
};

export type WorkflowTransport = {
  workflow_name: string;
  transport: "websocket";
  endpoints: TransportEndpoints;
};

export type WorkflowUiTool = {
  ui_tool_id: string;
  component: string | null;
  mode: "inline" | "artifact";
  agent: string;
  workflow: string;
};

export type WorkflowUiTools = {
  workflow_name: string;
  ui_tools_count: number;
  ui_tools: Array<WorkflowUiTool>;
};
