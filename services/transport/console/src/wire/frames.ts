// Generated from the AsyncAPI document: do not edit, run `make reference`.

/** The answer of a component. */
export type AnswerComponent = {
  traceparent?: string | null;
  type: "ui_tool_response";
  eventId: string;
  response: unknown;
};

/** The answer was stopped: by `chat.stop`, by a message that interrupts, or by a `budget`. */
export type AnswerStopped = {
  type: "chat.answer_stopped";
  data: AnswerStoppedData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** The answer was stopped: by `chat.stop`, by a message that interrupts, or by a `budget`. */
export type AnswerStoppedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  turn: number;
  by: "stop" | "message" | "budget";
};

/** The tool call that a question asks to approve. */
export type ApprovalData = {
  tool: string;
  digest: string;
  allow_always: boolean;
};

/** Take the chat of this socket out of the user's lists, or put it there again. */
export type ArchiveChat = {
  traceparent?: string | null;
  type: "chat.archive";
  chat_id?: string | null;
  archived?: boolean;
};

/** An action of an artifact. */
export type ArtifactAction = {
  traceparent?: string | null;
  type: "chat.artifact_action";
  data: LaunchAction | UpdateAction;
  correlation_id?: string | null;
};

/** Answer to `chat.artifact_action`. */
export type ArtifactActionAccepted = {
  type: "ack.artifact_action";
  data: ArtifactActionAcceptedData;
  timestamp?: string;
  seq?: number;
  correlation_id?: string | null;
  replay?: true | null;
  index?: number | null;
};

/** Answer to `chat.artifact_action`. */
export type ArtifactActionAcceptedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  action: string;
  artifact_id: string | null;
  status: "accepted" | "rejected";
  correlation_id?: string | null;
};

/** Members of an artifact's state were stored as variables. */
export type ArtifactStateUpdated = {
  type: "artifact.state.updated";
  data: ArtifactStateUpdatedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** Members of an artifact's state were stored as variables. */
export type ArtifactStateUpdatedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  artifact_id: string;
  state_delta: Record<string, unknown>;
};

/** The user gave the chat a file. */
export type AttachmentUploaded = {
  type: "chat.attachment_uploaded";
  data: AttachmentUploadedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The user gave the chat a file. */
export type AttachmentUploadedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  attachment_id: string;
  filename: string;
  stored_path: string;
  size_bytes: number;
  content_type: string;
  intent: string;
  bundle_path: string | null;
  uploaded_at_utc: string;
  user_id: string;
  chat_id: string;
  app_id: string;
};

/** Who may answer a question: these users, and whose token has one of these roles. */
export type AudienceData = {
  users: Array<string>;
  roles: Array<string>;
};

/** The runtime calls a tool with an agent's structured output; nothing is asked. */
export type AutoToolCalled = {
  type: "chat.tool_call";
  data: AutoToolCalledData;
  timestamp?: string;
  seq?: number;
  awaiting_response?: false;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** The runtime calls a tool with an agent's structured output; nothing is asked. */
export type AutoToolCalledData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  tool_name: string;
  tool_call_id: string;
  corr: string;
  awaiting_response?: false;
  component_type: string;
  interaction_type?: "auto_tool";
  payload: Record<string, unknown>;
  display?: "inline" | "artifact" | null;
  mode?: "inline" | "artifact" | null;
};

/** Names the agent whose output the tool was called with. */
export type AutoToolPayload = {
  agent_name: string;
  interaction_type?: "auto_tool";
};

/** A tool that the runtime called returned or failed. */
export type AutoToolReturned = {
  type: "chat.tool_response";
  data: AutoToolReturnedData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A tool that the runtime called returned or failed. */
export type AutoToolReturnedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  tool_name: string;
  call_id: string;
  corr: string;
  status: string;
  success: boolean;
  content: string;
  payload: AutoToolPayload;
  interaction_type?: "auto_tool";
};

/** A workflow that was not started, and why. */
export type BlockedWorkflow = {
  workflow_name: string;
  message: string;
  error_code: string;
};

/** A budget is nearly used up, or it ends the answer, and the chat waits for the user. */
export type Budget = {
  type: "chat.budget";
  data: BudgetData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** A budget is nearly used up, or it ends the answer, and the chat waits for the user. Numbers are there for the user's own budget and the chat's; those of the app and of a workflow are for its operators. */
export type BudgetData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  state: "warned" | "exceeded";
  scope: "app" | "user" | "workflow" | "chat";
  unit: string;
  period: string;
  used?: number | null;
  soft?: number | null;
  hard?: number | null;
  resets_at?: string | null;
  reason?: "used_up" | "unpriced" | null;
  waits: boolean;
  message: string;
};

/** End the chat of this socket. */
export type Cancel = {
  traceparent?: string | null;
  type: "chat.cancel";
  chat_id?: string | null;
  reason?: string;
};

/** The chat has left the user's lists, or is in them again. */
export type ChatArchived = {
  type: "chat.archived";
  data: ChatArchivedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The chat has left the user's lists, or is in them again. */
export type ChatArchivedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  archived: boolean;
};

/** The user has deleted the chat: it takes no messages, and the next connection does not find it. */
export type ChatDeleted = {
  type: "chat.deleted";
  data: ChatDeletedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The user has deleted the chat: it takes no messages, and the next connection does not find it. */
export type ChatDeletedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  erasable_at: string;
};

/** The chat has ended, or failed. */
export type ChatEnded = {
  type: "chat.run_complete";
  data: ChatEndedData;
  timestamp?: string;
  seq?: number;
  reason?: string;
  duration_sec?: number;
  total_tokens?: number;
  cost?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** The chat has ended, or failed. */
export type ChatEndedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent?: string;
  status: 1 | 2 | 3;
  reason: string;
  resumable?: true | null;
  duration_sec: number;
  total_tokens: number;
  cost: number;
};

/** The first frame of every connection: which chat this is and where it stands. */
export type ChatMeta = {
  type: "chat_meta";
  data: ChatMetaData;
  timestamp?: string;
  seq?: number;
  kind?: "chat_meta";
  chat_id?: string;
  workflow_name?: string;
  app_id?: string;
  user_id?: string;
  has_children?: false;
  cache_seed?: number;
  chat_exists?: true;
  last_artifact?: LastArtifact | null;
  status?: 0 | 1 | 2 | 3;
  chat_status?: "running" | "waiting" | "completed" | "failed" | "cancelled";
  last_sequence?: number;
  created_at?: string;
  origin_chat_id?: string | null;
  origin_sequence?: number | null;
  replay?: true | null;
  index?: number | null;
};

/** The first frame of every connection: which chat this is and where it stands. */
export type ChatMetaData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  kind?: "chat_meta";
  chat_id: string;
  workflow_name: string;
  app_id: string;
  user_id: string;
  has_children?: false;
  cache_seed: number;
  chat_exists?: true;
  last_artifact: LastArtifact | null;
  status: 0 | 1 | 2 | 3;
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  last_sequence: number;
  created_at: string;
  origin_chat_id?: string | null;
  origin_sequence?: number | null;
};

/** The user gave the chat a title. */
export type ChatRenamed = {
  type: "chat.renamed";
  data: ChatRenamedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The user gave the chat a title. */
export type ChatRenamedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  title: string;
};

/** The chat is there again. */
export type ChatUndeleted = {
  type: "chat.undeleted";
  data: ChatUndeletedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The chat is there again. */
export type ChatUndeletedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
};

/** The client's answer of a component is stored in the command queue. */
export type ComponentAnswerAccepted = {
  type: "ack.ui_tool_response";
  data: ComponentAnswerAcceptedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The client's answer of a component is stored in the command queue. */
export type ComponentAnswerAcceptedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  eventId: string;
  status?: "accepted";
};

/** An inline component has been answered. */
export type ComponentCompleted = {
  type: "chat.ui_tool_complete";
  data: ComponentCompletedData;
  timestamp?: string;
  seq?: number;
  eventId?: string;
  replay?: true | null;
  index?: number | null;
};

/** An inline component has been answered. */
export type ComponentCompletedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  eventId: string;
  ui_tool_id: string;
  display?: "inline";
  status: string;
  summary: string;
  response?: Record<string, unknown> | null;
};

/** An artifact's component has been answered and closes. */
export type ComponentDismissed = {
  type: "chat.ui_tool_dismiss";
  data: ComponentDismissedData;
  timestamp?: string;
  seq?: number;
  event_id?: string;
  replay?: true | null;
  index?: number | null;
};

/** An artifact's component has been answered and closes. */
export type ComponentDismissedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  event_id: string;
  ui_tool_id: string;
  response?: Record<string, unknown> | null;
};

/** A UI tool asks the user by a component; the answer names `event_id`. */
export type ComponentRequested = {
  type: "chat.tool_call";
  data: ComponentRequestedData;
  timestamp?: string;
  seq?: number;
  event_id?: string;
  awaiting_response?: true;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A UI tool asks the user by a component; the answer names `event_id`. */
export type ComponentRequestedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  tool_name: string;
  ui_tool_id: string;
  component_type: string;
  awaiting_response?: true;
  corr: string;
  event_id: string;
  tool_call_id: string;
  display: "inline" | "artifact";
  display_type: "inline" | "artifact";
  payload: Record<string, unknown>;
};

/** Where on its page the client is. */
export type Context = {
  conversation_mode?: string | null;
  general_chat_id?: string | null;
};

/** The socket shows another chat of the same user and app from here on. */
export type ContextSwitched = {
  type: "chat.context_switched";
  data: ContextSwitchedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The socket shows another chat of the same user and app from here on. */
export type ContextSwitchedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  from_chat_id: string;
  to_chat_id: string;
  chat_id: string;
  workflow_name: string;
  artifact_id: string | null;
  app_id: string;
};

/** Delete the chat of this socket: it stops, is hidden, and is erased after a time of grace. */
export type DeleteChat = {
  traceparent?: string | null;
  type: "chat.delete";
  chat_id?: string | null;
};

/** The tool call that a question is about: its process ended, or its time was over, without a result. */
export type DoubtData = {
  tool: string;
  digest: string;
  attempt: number;
};

/** Replace a message of the user: what came after it does not count any more. */
export type Edit = {
  traceparent?: string | null;
  chat_id?: string | null;
  confirm?: boolean;
  seen_seq?: number | null;
  type: "chat.edit";
  message_seq: number;
  text: string;
};

/** Show the user's newest general chat on this socket. */
export type EnterGeneralMode = {
  traceparent?: string | null;
  type: "chat.enter_general_mode";
};

/** A request was refused, or a turn or chat failed. */
export type Error = {
  type: "chat.error";
  data: ErrorData;
  timestamp?: string;
  seq?: number;
  message?: string;
  error_code?: string;
  agent?: string | null;
  replay?: true | null;
  index?: number | null;
};

/** A request was refused, or a turn or chat failed. */
export type ErrorData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  general_chat_id?: string | null;
  general_chat_label?: string | null;
  message: string;
  error_code: string;
  agent?: string | null;
  field?: string | null;
};

/** An event as it is stored: only for clients that ask for `events=1`. */
export type Event = {
  type: "chat.event";
  data: EventData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** An event as it is stored: only for clients that ask for `events=1`. */
export type EventData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  seq: number;
  type: string;
  version: number;
  category: string;
  time: string;
  actor: string;
  cause: string;
  body: Record<string, unknown>;
};

/** Begin a chat that goes on from an event of the chat of this socket, which stays as it is. */
export type Fork = {
  traceparent?: string | null;
  type: "chat.fork";
  chat_id?: string | null;
  seq?: number | null;
  message?: string | null;
  client_request_id?: string | null;
};

/** Answer to `chat.fork`: the new chat. */
export type ForkStarted = {
  type: "chat.fork_started";
  data: ForkStartedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** Answer to `chat.fork`: the new chat. */
export type ForkStartedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  workflow_name: string;
  app_id: string;
  user_id: string;
  origin_chat_id: string;
  origin_sequence: number;
};

/** The chat is a fork: the events up to here are those of its origin. */
export type Forked = {
  type: "chat.forked";
  data: ForkedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The chat is a fork: the events up to here are those of its origin. */
export type ForkedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  origin_chat_id: string;
  origin_sequence: number;
};

/** A general chat has been created, and the socket shows it from here on. */
export type GeneralChatCreated = {
  type: "chat.general_session_created";
  data: GeneralChatCreatedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** A general chat has been created, and the socket shows it from here on. */
export type GeneralChatCreatedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  general_chat_id: string;
  general_chat_label: string;
  general_chat_sequence: number;
  app_id: string;
};

/** The socket shows a general chat from here on. */
export type GeneralMode = {
  type: "chat.mode_changed";
  data: GeneralModeData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The socket shows a general chat from here on. */
export type GeneralModeData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  mode?: "general";
  general_chat_id: string;
  general_chat_label: string;
  general_chat_sequence: number;
  app_id: string;
};

/** The newest part of the history at once, for clients that ask for `tail`; the boundary follows. */
export type History = {
  type: "chat.history";
  data: HistoryData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The newest part of the history at once, for clients that ask for `tail`; the boundary follows. A history of many bytes comes in several such frames, each with the events that follow. */
export type HistoryData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  title: string;
  speaker: string | null;
  total_tokens: number;
  cost: number;
  first_sequence: number;
  last_sequence: number;
  frames?: Array<Record<string, unknown>>;
};

/** The client's message or answer is stored in the command queue. */
export type InputAccepted = {
  type: "ack.input";
  data: InputAcceptedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The client's message or answer is stored in the command queue. */
export type InputAcceptedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  status?: "accepted";
  input_request_id: string | null;
  client_message_id?: string | null;
};

/** What a tool has done to the world, which a rewind does not undo. */
export type KeptEffect = {
  seq: number;
  agent: string;
  tool: string;
  effect: string;
  outcome: string;
  arguments: string;
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

/** An artifact starts a workflow. */
export type LaunchAction = {
  action: "launch_workflow";
  payload: Run;
  artifact_id?: string | null;
};

/** A chat that was started from within another one. */
export type LaunchedWorkflow = {
  chat_id: string;
  workflow_name: string;
  app_id: string;
  user_id: string;
  label: string | null;
};

/** No agent reads a message of the user. */
export type MessageRefused = {
  type: "chat.message_refused";
  data: MessageRefusedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** No agent reads a message of the user. */
export type MessageRefusedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  reason: "answer_running" | "chat_ended";
  message?: number | null;
};

/** An agent reads messages that the user sent while an answer was running. */
export type MessagesConsumed = {
  type: "chat.messages_consumed";
  data: MessagesConsumedData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** An agent reads messages that the user sent while an answer was running. */
export type MessagesConsumedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  turn: number;
  call?: number | null;
  messages: Array<number>;
};

/** An artifact has started another workflow: ChatUI goes there. */
export type Navigate = {
  type: "chat.navigate";
  data: NavigateData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** An artifact has started another workflow: ChatUI goes there. */
export type NavigateData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  workflow_name: string;
  artifact_instance_id?: null;
  app_id: string;
};

/** Where a structured output came from. */
export type OutputContext = {
  chat_id: string;
  app_id: string;
  workflow_name: string;
  agent_name: string;
};

/** A chunk of an agent's message while the model streams it. */
export type Print = {
  type: "chat.print";
  data: PrintData;
  timestamp?: string;
  seq?: number;
  content?: string;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A chunk of an agent's message while the model streams it. */
export type PrintData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  general_chat_id?: string | null;
  general_chat_label?: string | null;
  kind?: "print";
  agent: string;
  content: string;
  turn: number;
  call: number;
  offset: number;
  runner: string;
};

/** An agent's tool asks the user, or somebody else, and waits for the answer. */
export type Question = {
  type: "chat.input_request";
  data: QuestionData;
  timestamp?: string;
  seq?: number;
  request_id?: string;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A question has been answered, or the client's own message was accepted. */
export type QuestionAnswered = {
  type: "chat.input_ack";
  data: QuestionAnsweredData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** A question has been answered, or the client's own message was accepted. */
export type QuestionAnsweredData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id?: string | null;
  request_id: string | null;
  input_request_id: string | null;
  status?: "accepted";
  text?: string | null;
  approved?: boolean | null;
  always?: true | null;
  answered_by?: string | null;
};

/** An agent's tool asks the user, or somebody else, and waits for the answer. */
export type QuestionData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  request_id: string;
  prompt: string;
  options: Array<string>;
  password?: false;
  expires_at: string | null;
  turn: number;
  tool_call_id: string;
  approval?: ApprovalData | null;
  audience?: AudienceData | null;
  doubt?: DoubtData | null;
};

/** Nobody has answered a question for a while: from now on others may answer, too. */
export type QuestionEscalated = {
  type: "chat.question_escalated";
  data: QuestionEscalatedData;
  timestamp?: string;
  seq?: number;
  request_id?: string;
  replay?: true | null;
  index?: number | null;
};

/** Nobody has answered a question for a while: from now on others may answer, too. */
export type QuestionEscalatedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  request_id: string;
  to: AudienceData;
};

/** A question has expired unanswered. */
export type QuestionExpired = {
  type: "chat.input_timeout";
  data: QuestionExpiredData;
  timestamp?: string;
  seq?: number;
  request_id?: string;
  replay?: true | null;
  index?: number | null;
};

/** A question has expired unanswered. */
export type QuestionExpiredData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  request_id: string;
  input_request_id: string;
};

/** Give the chat of this socket a title. */
export type RenameChat = {
  traceparent?: string | null;
  type: "chat.rename";
  chat_id?: string | null;
  title: string;
};

/** Send every frame past a cursor again. */
export type Resume = {
  traceparent?: string | null;
  type: "client.resume";
  chat_id: string;
  lastClientIndex: number;
};

/** End of the history: what follows happens now. */
export type ResumeBoundary = {
  type: "chat.resume_boundary";
  data: ResumeBoundaryData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** End of the history: what follows happens now. */
export type ResumeBoundaryData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  status: 0 | 1 | 2 | 3;
  message_count: number;
  replayed_messages: number;
  replayed_events: number;
  last_message_index: number;
  resume_mode: "auto" | "client";
};

/** Run the last turn of an agent again, also after a failure or the end of the chat. */
export type Retry = {
  traceparent?: string | null;
  chat_id?: string | null;
  confirm?: boolean;
  seen_seq?: number | null;
  type: "chat.retry";
};

/** Take the chat back to where it waited for the user, or had ended. */
export type Rewind = {
  traceparent?: string | null;
  chat_id?: string | null;
  confirm?: boolean;
  seen_seq?: number | null;
  type: "chat.rewind";
  to_seq: number;
};

/** A retry, an edit or a rewind that was sent had no effect. */
export type RewindRefused = {
  type: "chat.rewind_refused";
  data: RewindRefusedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** A retry, an edit or a rewind that was sent had no effect. */
export type RewindRefusedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  kind: "retry" | "edit" | "rewind";
  reason: string;
  message: string;
};

/** A retry, an edit or a rewind was not sent: it needs `confirm`, because of these effects. */
export type RewindUnconfirmed = {
  type: "chat.rewind_unconfirmed";
  data: RewindUnconfirmedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** A retry, an edit or a rewind was not sent: it needs `confirm`, because of these effects. */
export type RewindUnconfirmedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  kind: "retry" | "edit" | "rewind";
  message: string;
  effects: Array<KeptEffect>;
};

/** The chat went back: what its events after `to_seq` and before this one have shown is to be removed. */
export type Rewound = {
  type: "chat.rewound";
  data: RewoundData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The chat went back: what its events after `to_seq` and before this one have shown is to be removed. A question whose answer is among them is open again. */
export type RewoundData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  to_seq: number;
  kind: "retry" | "edit" | "rewind";
  chat_status: "running" | "waiting" | "completed" | "failed" | "cancelled";
  open_questions: Array<string>;
};

/** A workflow to start; it begins at once, with the agent that its manifest names. */
export type Run = {
  workflow_name: string;
  initial_message?: string | null;
  message?: string | null;
  prompt?: string | null;
  label?: string | null;
  frontend_context?: Record<string, unknown> | null;
  client_request_id?: string | null;
  auto_run?: true;
  initial_agent?: null;
  initial_agent_name?: null;
};

/** The chat has started. */
export type RunStarted = {
  type: "chat.run_start";
  data: RunStartedData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** The chat has started. */
export type RunStartedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent?: string;
  message: string;
};

/** Whose turn it is now. */
export type Speaker = {
  type: "chat.select_speaker";
  data: SpeakerData;
  timestamp?: string;
  seq?: number;
  selected_speaker?: string;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** Whose turn it is now. */
export type SpeakerData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  selected_speaker: string;
  turn: number;
  by: string;
};

/** Start a general chat and show it on this socket. */
export type StartGeneralChat = {
  traceparent?: string | null;
  type: "chat.start_general_chat";
};

/** Start another chat of the same user and app. */
export type StartWorkflow = {
  workflow_name: string;
  initial_message?: string | null;
  message?: string | null;
  prompt?: string | null;
  label?: string | null;
  frontend_context?: Record<string, unknown> | null;
  client_request_id?: string | null;
  auto_run?: true;
  initial_agent?: null;
  initial_agent_name?: null;
  traceparent?: string | null;
  type: "chat.start_workflow";
};

/** Start several chats at once. */
export type StartWorkflows = {
  traceparent?: string | null;
  type: "chat.start_workflow_batch";
  runs: Array<Run>;
  activate_first?: boolean;
};

/** Stop the answer that is running; then it is the user's turn. Ignored where none is running. */
export type Stop = {
  traceparent?: string | null;
  type: "chat.stop";
  chat_id?: string | null;
  turn?: number | null;
};

/** Where the whole value is of which the frame has only the beginning. */
export type StoredValueLink = {
  path: string;
  digest: string;
  size: number;
  media_type: string;
  url: string;
};

/** An agent answered in its structured output model. */
export type StructuredOutput = {
  type: "chat.structured_output_ready";
  data: StructuredOutputData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** An agent answered in its structured output model. */
export type StructuredOutputData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  agent_name: string;
  model_name: string;
  structured_data: Record<string, unknown>;
  auto_tool_mode: boolean;
  turn: number;
  context: OutputContext;
};

/** A message of the user, or an answer where it names a question. In the mode `ask` it is for a general chat, whatever `chat_id` says. */
export type SubmitInput = {
  traceparent?: string | null;
  type: "user.input.submit";
  chat_id: string;
  text: string;
  input_request_id?: string | null;
  request_id?: string | null;
  approved?: boolean | null;
  always?: boolean;
  client_message_id?: string | null;
  context?: Context | null;
};

/** Show another chat of the same user and app on this socket. */
export type SwitchChat = {
  traceparent?: string | null;
  type: "chat.switch_workflow";
  chat_id: string;
  frontend_context?: Record<string, unknown> | null;
};

/** A whole message of the user or of an agent. It replaces what `chat.print` showed of it. */
export type Text = {
  type: "chat.text";
  data: TextData;
  timestamp?: string;
  seq?: number;
  role?: "user" | "assistant";
  content?: string;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A whole message of the user or of an agent. It replaces what `chat.print` showed of it. */
export type TextData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  general_chat_id?: string | null;
  general_chat_label?: string | null;
  kind?: "text";
  agent: string;
  role: "user" | "assistant";
  content: string;
  turn?: number | null;
  call?: number | null;
  metadata?: Record<string, string>;
  interrupted?: "stopped" | "cancelled" | "failed" | "retried" | "runner_lost" | "budget" | null;
  offset?: number | null;
  client_message_id?: string | null;
  while_running?: "queue" | "steer" | "interrupt" | null;
};

/** A model called a tool. */
export type ToolCalled = {
  type: "chat.tool_activity";
  data: ToolCalledData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A model called a tool. */
export type ToolCalledData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  tool_call_id: string;
  tool_name: string;
  arguments: string;
  turn: number;
  call: number;
  phase?: "called";
};

/** How far a running tool is. */
export type ToolProgress = {
  type: "chat.tool_progress";
  data: ToolProgressData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** How far a running tool is. */
export type ToolProgressData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  tool_name: string;
  progress_percent: number | null;
  status_message: string;
  corr: string;
  turn: number;
};

/** A tool that a model called returned or failed. */
export type ToolReturned = {
  type: "chat.tool_activity";
  data: ToolReturnedData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** A tool that a model called returned or failed. */
export type ToolReturnedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  agent: string;
  tool_call_id: string;
  tool_name: string;
  turn: number;
  call: number;
  phase?: "returned";
  status: string;
  content: string;
};

/** The chat nears its workflow's `max_turns`, or waits there for a message of the user. */
export type TurnLimit = {
  type: "chat.turn_limit";
  data: TurnLimitData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The chat nears its workflow's `max_turns`, or waits there for a message of the user. */
export type TurnLimitData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  turns: number;
  max_turns: number;
  waits: boolean;
  message: string;
};

/** Members of an artifact's state; agents see them as the variables `ui_<name>`. */
export type UpdateAction = {
  action: "update_state";
  payload: Record<string, unknown>;
  artifact_id: string;
};

/** Tokens and cost of one model call. */
export type Usage = {
  type: "chat.usage_delta";
  data: UsageData;
  timestamp?: string;
  seq?: number;
  agent?: string;
  replay?: true | null;
  index?: number | null;
};

/** Tokens and cost of one model call. */
export type UsageData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  general_chat_id?: string | null;
  general_chat_label?: string | null;
  agent: string;
  agent_name: string;
  model_name: string | null;
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  cached: boolean;
  cost: number | null;
  duration_sec: number;
  event_id: string;
  event_ts: string;
  chat_id: string;
  app_id: string;
  user_id: string;
  workflow_name: string;
  invocation_id: string;
};

/** Why nothing comes at the moment. What comes next, whatever it is, ends the wait. */
export type Wait = {
  type: "chat.waiting";
  data: WaitData;
  timestamp?: string;
  seq?: number;
  agent?: string | null;
  replay?: true | null;
  index?: number | null;
};

/** Why nothing comes at the moment. What comes next, whatever it is, ends the wait. `provider`: the agent's model is asked again after `seconds`. `takeover`: the process that ran the chat is gone, and another one goes on. `queue`: nothing has taken up the last message yet. */
export type WaitData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  reason: "provider" | "takeover" | "queue";
  message: string;
  agent?: string | null;
  turn?: number | null;
  code?: string | null;
  seconds?: number | null;
  attempt?: number | null;
  attempts?: number | null;
};

/** Answer to `chat.start_workflow_batch`. */
export type WorkflowBatchStarted = {
  type: "chat.workflow_batch_started";
  data: WorkflowBatchStartedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** Answer to `chat.start_workflow_batch`. */
export type WorkflowBatchStartedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  count: number;
  workflows: Array<LaunchedWorkflow>;
  blocked: Array<BlockedWorkflow>;
};

/** Answer to `chat.start_workflow` where the workflow was not started. */
export type WorkflowBlocked = {
  type: "chat.prereq_blocked";
  data: WorkflowBlockedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** Answer to `chat.start_workflow` where the workflow was not started. */
export type WorkflowBlockedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  workflow_name: string;
  message: string;
  error_code: string;
};

/** The socket shows a workflow's chat from here on. */
export type WorkflowMode = {
  type: "chat.mode_changed";
  data: WorkflowModeData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** The socket shows a workflow's chat from here on. */
export type WorkflowModeData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  mode?: "workflow";
  chat_id: string;
  workflow_name: string;
};

/** Answer to `chat.start_workflow`. */
export type WorkflowStarted = {
  type: "chat.workflow_started";
  data: WorkflowStartedData;
  timestamp?: string;
  seq?: number;
  replay?: true | null;
  index?: number | null;
};

/** Answer to `chat.start_workflow`. */
export type WorkflowStartedData = {
  replay?: true | null;
  index?: number | null;
  stored_values?: Array<StoredValueLink> | null;
  chat_id: string;
  workflow_name: string;
  app_id: string;
  user_id: string;
  label: string | null;
};

/** Whatever comes over the socket. */
export type Frame = ChatMeta | History | ResumeBoundary | Event | RunStarted | Speaker | Print | Text | TurnLimit | Budget | AnswerStopped | Forked | MessagesConsumed | MessageRefused | ChatRenamed | ChatArchived | ChatDeleted | ChatUndeleted | Rewound | RewindRefused | RewindUnconfirmed | ToolCalled | ToolReturned | ToolProgress | Wait | ComponentRequested | ComponentCompleted | ComponentDismissed | AutoToolCalled | AutoToolReturned | AttachmentUploaded | Question | QuestionAnswered | QuestionEscalated | QuestionExpired | Usage | StructuredOutput | Error | ChatEnded | InputAccepted | ComponentAnswerAccepted | ContextSwitched | ForkStarted | WorkflowStarted | WorkflowBlocked | WorkflowBatchStarted | GeneralMode | WorkflowMode | GeneralChatCreated | Navigate | ArtifactStateUpdated | ArtifactActionAccepted;
