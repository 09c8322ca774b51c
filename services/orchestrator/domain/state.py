"""The state of one chat, folded from its events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from contracts.events.chat import AttachmentUploaded
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.turn import ToolDispatched, ToolReturned, UsageRecorded
from contracts.ids import AgentName, QuestionId, RunnerId, Seq, UserId, WorkflowName
from contracts.rewinds import DroppedRange
from services.orchestrator.domain.applied_commands import AppliedCommands
from services.orchestrator.domain.shown_chat import ShownChat
from services.orchestrator.domain.turn import Turn, UserInput, repeatable_id
from services.orchestrator.workflows.spec import USER

Ending = Literal["completed", "failed", "cancelled"]
ListEvent = ChatRenamed | ChatArchived | ChatUnarchived | ChatDeleted | ChatUndeleted
AgentTool = tuple[AgentName, str]
"""An agent, and the name of one of its tools."""
LifecycleOccasion = Literal["before_chat", "after_chat"]

_NO_SEQ = Seq(0)
_NO_USER = UserId("")
_NO_DISPATCHES: Mapping[str, ToolDispatched] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Compacted:
    """The summary that models read instead of the turns up to and including `through_turn`.

    `since` is the number of the turn in which it was made.
    """

    through_turn: int
    summary: str
    since: int


ConversationEntry = UserInput | Turn


@dataclass(frozen=True, slots=True)
class RunTurn:
    """Continue the open turn, of an agent or of the selector, from the end of its log."""

    turn: int


@dataclass(frozen=True, slots=True)
class StopTurn:
    """End the open turn, which the user has stopped."""

    turn: int


@dataclass(frozen=True, slots=True)
class RunLifecycleTools:
    """Call the lifecycle tools before the first turn, or after the end of the chat."""

    occasion: LifecycleOccasion


Effect = RunTurn | StopTurn | RunLifecycleTools


@dataclass(frozen=True, slots=True)
class Owner:
    """The command whose append turned the chat from quiet to pending.

    `message` is the sequence of its message in COMMANDS: the delivery of that message runs the
    chat.
    """

    command: str
    message: int


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """The state after event `seq`, without what is not rewound.

    Its conversation is the first `entries` of the chat's: they stay the same as long as the point
    exists.
    """

    seq: Seq
    entries: int
    state: "ChatState"


class RestorePointMissingError(LookupError):
    """A rewind to a position that no state is known of."""


@dataclass(frozen=True, slots=True)
class LastUsage:
    """How many usages the chat has recorded, the newest one, and who recorded it."""

    number: int = 0
    event: UsageRecorded | None = None
    runner: RunnerId | None = None


@dataclass(frozen=True, slots=True)
class ChatState:
    """What the events of a chat add up to.

    `conversation` holds the messages of the user and the turns that ended, `open_turn` the turn in
    progress, `last_speaker` the speaker of the turn that ended last. Turns of the selector are part
    of the conversation, but only the selector reads them and `agent_turns` does not count them.

    `applied_commands` holds the newest ids of applied commands whose effect no other field shows,
    `asked_questions` the id of every question. `waiting` are the positions of the messages that the
    user sent while an answer was running, and that no agent has read yet. `call_requested_at` is the
    time of the newest model request. `owner` is the command whose delivery runs the
    chat, None while the chat is quiet; `runner` is the delivery of the owner's message that
    appended last.

    `before_chat` and `after_chat` name the lifecycle tools of the chat, `lifecycle_results` holds
    their results and `lifecycle_dispatches` their newest dispatches by call id.
    `resolved_variables` are the names of the variables that were changed at least once.
    `always_approved` are the tools whose calls were approved for the whole chat, with the question
    whose answer says so. `title` is the one that the user gave; a chat that `is_deleted` takes no
    command but one that undeletes it.

    A chat that `ends_on_failure` has ended when a turn fails; any other is `resumable` then, and
    `failed_turn` is the turn that failed. `shown` is what readers see of the chat, `points` are the
    positions that it can be rewound to, `dropped` is what was rewound. Turn numbers, and the commands,
    questions and files of the chat, are not rewound. `usage` is the newest
    usage, also of what was rewound: what was used stays used.
    """

    seq: Seq = _NO_SEQ
    workflow: WorkflowName | None = None
    user: UserId = _NO_USER
    seed: int = 0
    variables: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    conversation: tuple[ConversationEntry, ...] = ()
    open_turn: Turn | None = None
    last_speaker: AgentName | None = None
    turns: int = 0
    agent_turns: int = 0
    applied_commands: AppliedCommands = AppliedCommands()  # noqa: RUF009  # frozen
    asked_questions: frozenset[QuestionId] = frozenset()
    waiting: tuple[Seq, ...] = ()
    call_requested_at: datetime | None = None
    ended: Ending | None = None
    owner: Owner | None = None
    runner: RunnerId | None = None
    workflow_version: str | None = None
    tools_version: str | None = None
    attachments: tuple[AttachmentUploaded, ...] = ()
    compacted: Compacted | None = None
    always_approved: Mapping[AgentTool, QuestionId] = field(
        default_factory=lambda: MappingProxyType({})
    )
    before_chat: tuple[str, ...] = ()
    after_chat: tuple[str, ...] = ()
    lifecycle_results: Mapping[str, ToolReturned] = field(
        default_factory=lambda: MappingProxyType({})
    )
    lifecycle_dispatches: Mapping[str, ToolDispatched] = field(
        default_factory=lambda: _NO_DISPATCHES
    )
    resolved_variables: frozenset[str] = frozenset()
    title: str | None = None
    is_archived: bool = False
    is_deleted: bool = False
    is_erased: bool = False
    ends_on_failure: bool = False
    resumable: bool = False
    failed_turn: int | None = None
    shown: ShownChat | None = None
    points: tuple[RestorePoint, ...] = field(default=(), repr=False)
    dropped: tuple[DroppedRange, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether no message of the user can make the chat go on."""
        return self.ended is not None and not self.resumable

    @property
    def turn_number(self) -> int:
        """The number of the open turn, else of the newest one; 0 before the first."""
        return self.turns if self.open_turn is None else self.open_turn.number

    @property
    def last_rewind(self) -> Seq | None:
        """The position of the newest rewind."""
        return self.dropped[-1].before if self.dropped else None

    usage: LastUsage = LastUsage()

    @property
    def started(self) -> bool:
        return self.seq > 0

    @property
    def running_turn(self) -> Turn | None:
        """The open turn of an agent or of the selector, also while it waits for an answer."""
        turn = self.open_turn
        return None if self.ended or turn is None or turn.agent == USER else turn

    @property
    def waits_for_user(self) -> bool:
        return self.open_turn is not None and self.open_turn.agent == USER


def pending(state: ChatState) -> Effect | None:
    """What the orchestrator must do for the chat; None while it is quiet.

    A quiet chat waits for a user or has ended. The result depends on the log only, not on the
    workflows that this process has loaded.
    """
    occasion: LifecycleOccasion = "after_chat" if state.ended else "before_chat"
    if not state.resumable and remaining_lifecycle_tools(occasion, state):
        return RunLifecycleTools(occasion)
    turn = state.running_turn
    if turn is None:
        return None
    if turn.stop is not None:
        return StopTurn(turn.number)
    return None if turn.is_suspended else RunTurn(turn.number)


def remaining_lifecycle_tools(occasion: LifecycleOccasion, state: ChatState) -> dict[str, str]:
    """The lifecycle tools without a result: their names by call id."""
    names = state.before_chat if occasion == "before_chat" else state.after_chat
    if not names:
        return {}
    calls = {lifecycle_call(occasion, number, state): name for number, name in enumerate(names)}
    return {call: name for call, name in calls.items() if call not in state.lifecycle_results}


def lifecycle_call(occasion: LifecycleOccasion, number: int, state: ChatState) -> str:
    """The id of the call of a lifecycle tool: another one after a rewind to before its result."""
    known = state.lifecycle_results
    return repeatable_id(f"{occasion}-{number}", state.last_rewind, known)


def is_pristine(turn: Turn) -> bool:
    """Whether nothing has happened in an agent's turn."""
    return turn.agent != USER and not turn.steps and not turn.questions and turn.stop is None


def newest_turn(state: ChatState, number: int) -> Turn | None:
    """The turn with a number, as it is now."""
    if state.open_turn is not None and state.open_turn.number == number:
        return state.open_turn
    turns = (one for one in reversed(state.conversation) if isinstance(one, Turn))
    return next((turn for turn in turns if turn.number == number), None)
