"""What the events of a chat add up to: status, open questions, last artifact, totals, title, times.

Every reader of the log folds its chats with `fold`, and adds fields of its own by a subclass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Generic, Self, TypedDict, TypeVar, cast

from contracts.catalogue import ChatStatus
from contracts.chat_list import MAX_TITLE_CHARS
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatForked,
    ChatRewound,
    ChatStarted,
    Segment,
    UserMessageReceived,
)
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.human import (
    Audience,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.turn import (
    SELECTOR,
    USER,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    UsageRecorded,
)
from contracts.frozen import replace, write
from contracts.ids import AgentName, AppId, ChatId, ChatKey, QuestionId, Seq, UserId, WorkflowName
from contracts.open_questions import ArtifactReference as ArtifactReference
from contracts.open_questions import OpenQuestion as OpenQuestion
from contracts.open_questions import QuestionKind as QuestionKind
from contracts.prices import PRICES, Prices, recorded_cost
from contracts.rewinds import DroppedRange, with_rewind

ERASED = "erased"
"""The end reason of a chat of which only the numbers are left."""
MAX_PROMPT_CHARS = 300
"""Of a question's prompt, in a snapshot."""
MAX_OPTIONS = 12
"""Of a question, in a snapshot."""


def opened(
    question: HumanAsked | UiToolRequested, asked_at: datetime | None = None
) -> OpenQuestion:
    """What a snapshot keeps of a question that was just asked."""
    audience, expires = question.audience, question.expires_at
    common = OpenQuestion(
        question_id=question.question_id,
        kind="text",
        agent=question.agent,
        asked_at=asked_at,
        expires_at=None if expires is None else to_milliseconds(expires),
        asks_owner=audience is None,
        users=() if audience is None else tuple(audience.users),
        roles=() if audience is None else tuple(audience.roles),
    )
    match question:
        case UiToolRequested(component=component):
            return replace(common, kind="component", subject=_cut(component))
        case HumanAsked(prompt=prompt, options=options, approval=approval):
            return replace(
                common,
                subject=_cut(prompt),
                options=_few(options),
                tool=None if approval is None else approval.tool,
                digest=None if approval is None else approval.digest,
                allow_always=approval is not None and approval.allow_always,
            )


def _few(options: Sequence[str]) -> tuple[str, ...]:
    """The offered answers; none where there are more, or longer ones, than a snapshot keeps."""
    fit = len(options) <= MAX_OPTIONS and all(len(one) <= MAX_TITLE_CHARS for one in options)
    return tuple(options) if fit else ()


def escalated(question: OpenQuestion, to: Audience) -> OpenQuestion:
    """The question once others may answer it, too."""
    return replace(
        question,
        users=tuple(dict.fromkeys((*question.users, *to.users))),
        roles=tuple(dict.fromkeys((*question.roles, *to.roles))),
        escalated=True,
    )


@dataclass(frozen=True, slots=True)
class ChatTotals:
    """What can be added up over events, and over chats."""

    agent_turns: int = 0
    tool_calls: int = 0
    errors: int = 0
    """Failed tools, turns and chats."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """Of all model calls, in US dollars."""

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def plus(self, more: "ChatTotals") -> "ChatTotals":
        return ChatTotals(
            self.agent_turns + more.agent_turns,
            self.tool_calls + more.tool_calls,
            self.errors + more.errors,
            self.prompt_tokens + more.prompt_tokens,
            self.completion_tokens + more.completion_tokens,
            self.cost + more.cost,
        )

    def minus(self, less: "ChatTotals") -> "ChatTotals":
        return ChatTotals(
            self.agent_turns - less.agent_turns,
            self.tool_calls - less.tool_calls,
            self.errors - less.errors,
            self.prompt_tokens - less.prompt_tokens,
            self.completion_tokens - less.completion_tokens,
            self.cost - less.cost,
        )


NO_TOTALS = ChatTotals()
_TURN = ChatTotals(agent_turns=1)
_ERROR = ChatTotals(errors=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSnapshot:
    """A chat as of its event `last_seq`. Nothing in it grows with the length of the chat.

    Times are in milliseconds, which is what BSON keeps: a snapshot is equal before and after storage.
    """

    app_id: AppId
    chat_id: ChatId
    workflow_name: WorkflowName
    created_at: datetime
    last_updated_at: datetime
    """The time of the last event."""
    last_seq: Seq
    user_id: UserId | None = None
    """None until `chat.started`, which is the first event of every chat that is no fork."""
    cache_seed: int | None = None
    client_request_id: str | None = None
    origin: Segment | None = None
    """The chat that this one is a fork of, and the last of its events that it has."""
    segments: tuple[Segment, ...] = ()
    """The chats that hold the events before the fork's own; at most `contracts.forks.MAX_SEGMENTS`."""
    title: str = ""
    """What the user named the chat, else the first words of the user, in one line."""
    is_archived: bool = False
    deleted_at: datetime | None = None
    erasable_at: datetime | None = None
    """From when on the events of a deleted chat may be erased."""
    status: ChatStatus = "running"
    end_reason: str = ""
    ended_at: datetime | None = None
    resumable: bool = False
    """Whether a failed chat goes on with a message of the user."""
    speaker: AgentName | None = None
    """Whose turn is open; `user` while the chat waits for the user's message."""
    turn_started_at: datetime | None = None
    turn_seq: Seq | None = None
    """Where the newest turn of an agent began, or the selector's that failed."""
    open_questions: tuple[OpenQuestion, ...] = ()
    last_artifact: ArtifactReference | None = None
    totals: ChatTotals = NO_TOTALS
    dropped: tuple[DroppedRange, ...] = ()
    """What was rewound (see `contracts.rewinds`): at most MAX_RANGES."""

    @classmethod
    def before(cls, first: Envelope) -> Self:
        """The chat before its first event, or before the first one that a reader gets."""
        time = to_milliseconds(first.time)
        return cls(
            app_id=first.app_id,
            chat_id=first.chat_id,
            workflow_name=first.workflow_name,
            created_at=time,
            last_updated_at=time,
            last_seq=Seq(first.seq - 1),
        )

    @property
    def key(self) -> ChatKey:
        return ChatKey(self.app_id, self.chat_id)

    @property
    def is_erased(self) -> bool:
        return self.end_reason == ERASED and self.user_id is None

    @property
    def completed_at(self) -> datetime | None:
        """When the chat ended as its workflow meant it to; `ended_at`, however it ended."""
        return self.ended_at if self.status == "completed" else None

    @property
    def is_over(self) -> bool:
        """Whether no message of the user makes the chat go on; a retry still does."""
        return self.ended_at is not None and not self.resumable

    def open_question(self, question: str) -> OpenQuestion | None:
        return next((one for one in self.open_questions if one.question_id == question), None)


Snapshot = TypeVar("Snapshot", bound=ChatSnapshot)


class SnapshotChanges(TypedDict, total=False):
    """The fields of a snapshot that an event changes, with their new values."""

    chat_id: ChatId
    created_at: datetime
    last_updated_at: datetime
    last_seq: Seq
    user_id: UserId | None
    origin: Segment | None
    segments: tuple[Segment, ...]
    cache_seed: int | None
    client_request_id: str | None
    title: str
    is_archived: bool
    deleted_at: datetime | None
    erasable_at: datetime | None
    status: ChatStatus
    end_reason: str
    ended_at: datetime | None
    resumable: bool
    speaker: AgentName | None
    turn_started_at: datetime | None
    turn_seq: Seq | None
    open_questions: tuple[OpenQuestion, ...]
    last_artifact: ArtifactReference | None
    totals: ChatTotals
    dropped: tuple[DroppedRange, ...]


def fold(
    snapshot: Snapshot, envelope: Envelope, event: Event | None, prices: Prices = PRICES
) -> Snapshot:
    """The snapshot after one more event; an event that it knows already changes nothing.

    `event` is None where its type is of a newer release. `prices` count for usage without a cost.
    """
    if envelope.seq <= snapshot.last_seq:
        return snapshot
    return replace(snapshot, **changes(snapshot, envelope, event, prices))


class Fold(Generic[Snapshot]):
    """Folds several events into a snapshot with one copy for all of them."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._draft = replace(snapshot)

    @property
    def draft(self) -> Snapshot:
        """The snapshot as of the last event; the next event changes it."""
        return self._draft

    def apply(self, envelope: Envelope, event: Event | None, prices: Prices = PRICES) -> None:
        """Fold the next event."""
        write(self._draft, changes(self._draft, envelope, event, prices))

    def result(self, **own: Any) -> Snapshot:
        """The snapshot after the events, with these values in fields that its class adds. Ends the fold."""
        write(self._draft, own)
        return self._draft


def changes(
    snapshot: ChatSnapshot, envelope: Envelope, event: Event | None, prices: Prices = PRICES
) -> SnapshotChanges:
    """What the next event changes: for readers that change fields of their own in the same copy."""
    time = to_milliseconds(envelope.time)
    made: SnapshotChanges = {"last_seq": envelope.seq, "last_updated_at": time}
    if event is None:
        return made
    added = added_by(event, prices)
    if added is not NO_TOTALS:
        made["totals"] = snapshot.totals.plus(added)
    match event:
        case ChatStarted(user_id=user, seed=seed, client_request_id=request):
            made |= {"created_at": time, "user_id": user, "cache_seed": seed}
            made["client_request_id"] = request
        case ChatForked():
            made |= _forked(event, envelope.chat_id, time)
        case UserMessageReceived(text=text):
            made["title"] = snapshot.title or title_of(text)
            if snapshot.resumable:
                made |= {"status": "running", "end_reason": "", "ended_at": None}
                made["resumable"] = False
            if snapshot.speaker == USER:
                made |= _whose_turn(snapshot, None, None, snapshot.open_questions)
        case SpeakerSelected(agent=agent):
            made |= _whose_turn(snapshot, agent, time, snapshot.open_questions)
            if agent not in (USER, SELECTOR):
                made["turn_seq"] = envelope.seq
        case TurnCompleted() | TurnFailed() | TurnStopped():
            made |= _whose_turn(snapshot, None, None, ())
            if isinstance(event, TurnFailed) and event.agent == SELECTOR:
                made["turn_seq"] = envelope.seq
        case HumanAsked():
            made |= _opened(snapshot, opened(event, time))
        case QuestionEscalated(question_id=question, to=to):
            made["open_questions"] = tuple(
                escalated(one, to) if one.question_id == question else one
                for one in snapshot.open_questions
            )
        case UiToolRequested():
            made |= _opened(snapshot, opened(event, time))
            if event.display == "artifact":
                made["last_artifact"] = _artifact(event, envelope.seq, time)
        case HumanAnswered(question_id=question, text=text):
            made["title"] = snapshot.title or title_of(text)
            made |= _closed(snapshot, question)
        case UiToolAnswered(question_id=question) | QuestionExpired(question_id=question):
            made |= _closed(snapshot, question)
        case ChatRenamed(title=title):
            made["title"] = title
        case ChatArchived() | ChatUnarchived():
            made["is_archived"] = isinstance(event, ChatArchived)
        case ChatDeleted(grace_seconds=grace):
            made |= {"deleted_at": time, "erasable_at": time + timedelta(seconds=grace)}
        case ChatUndeleted():
            made |= {"deleted_at": None, "erasable_at": None}
        case ChatCompleted(reason=reason):
            made |= _ended("completed", reason, time)
        case ChatFailed(code=code, resumable=resumable):
            made |= _ended("failed", code, time)
            made["resumable"] = resumable
        case ChatCancelled(reason=reason):
            made |= _ended("cancelled", reason, time)
        case ChatErased():
            made |= _erased(event)
        case ChatRewound():
            made |= _rewound(snapshot, event, envelope.seq)
        case _:
            pass
    return made


def _forked(event: ChatForked, chat: ChatId, time: datetime) -> SnapshotChanges:
    """The same chat as another one: what it has spent so far belongs to its origin."""
    return {
        "chat_id": chat,
        "created_at": time,
        "user_id": event.user_id,
        "client_request_id": event.client_request_id,
        "origin": Segment(chat_id=event.origin, last=event.seq),
        "segments": tuple(event.segments),
        "totals": NO_TOTALS,
        "is_archived": False,
        "deleted_at": None,
        "erasable_at": None,
    }


def added_by(event: Event, prices: Prices = PRICES) -> ChatTotals:
    """What an event adds to the totals of its chat."""
    match event:
        case ToolReturned(status=status):
            return ChatTotals(tool_calls=1, errors=int(status in ("error", "not_found")))
        case UsageRecorded(tokens=tokens):
            return ChatTotals(
                prompt_tokens=round(tokens.prompt or 0),
                completion_tokens=round(tokens.completion or 0),
                cost=recorded_cost(event, prices),
            )
        case TurnCompleted():
            return _TURN
        case TurnFailed() | ChatFailed():
            return _ERROR
        case _:
            return NO_TOTALS


def _whose_turn(
    chat: ChatSnapshot,
    speaker: AgentName | None,
    since: datetime | None,
    questions: tuple[OpenQuestion, ...],
) -> SnapshotChanges:
    return {
        "speaker": speaker,
        "turn_started_at": since,
        "open_questions": questions,
        "status": _status(chat, speaker, questions),
    }


def _opened(chat: ChatSnapshot, question: OpenQuestion) -> SnapshotChanges:
    questions = (*chat.open_questions, question)
    return {"open_questions": questions, "status": _status(chat, chat.speaker, questions)}


def _closed(chat: ChatSnapshot, question: QuestionId) -> SnapshotChanges:
    questions = tuple(one for one in chat.open_questions if one.question_id != question)
    artifact = chat.last_artifact
    if artifact is not None and artifact.question_id == question:
        artifact = None
    return {
        "open_questions": questions,
        "last_artifact": artifact,
        "status": _status(chat, chat.speaker, questions),
    }


def _status(
    chat: ChatSnapshot, speaker: AgentName | None, questions: tuple[OpenQuestion, ...]
) -> ChatStatus:
    if chat.ended_at is not None:
        return chat.status
    return "waiting" if questions or speaker == USER else "running"


def _artifact(requested: UiToolRequested, seq: Seq, time: datetime) -> ArtifactReference:
    return ArtifactReference(
        requested.question_id, requested.ui_tool_id, requested.component, seq, time
    )


def _ended(status: ChatStatus, reason: str, time: datetime) -> SnapshotChanges:
    return {
        "status": status,
        "end_reason": reason,
        "ended_at": time,
        "resumable": False,
        "speaker": None,
        "turn_started_at": None,
        "open_questions": (),
    }


_DEFAULTS: Mapping[str, Any] = {
    field.name: field.default for field in fields(ChatSnapshot) if field.default is not MISSING
}


def _erased(event: ChatErased) -> SnapshotChanges:
    """Nothing but the ids and the numbers, whatever the snapshot had before."""
    made = {
        **_DEFAULTS,
        **_ended(event.status, ERASED, to_milliseconds(event.ended_at)),
        "created_at": to_milliseconds(event.created_at),
        "totals": totals_of_erased(event),
    }
    return cast(SnapshotChanges, made)


def totals_of_erased(event: ChatErased) -> ChatTotals:
    """The totals of the events that are erased."""
    return ChatTotals(
        agent_turns=event.agent_turns,
        tool_calls=event.tool_calls,
        errors=event.errors,
        prompt_tokens=event.prompt_tokens,
        completion_tokens=event.completion_tokens,
        cost=event.cost,
    )


def _rewound(chat: ChatSnapshot, event: ChatRewound, seq: Seq) -> SnapshotChanges:
    """The chat as it was at the position that it is rewound to; totals are not rewound."""
    restored = event.restored
    return {
        "title": chat.title if restored.has_title else "",
        "status": restored.status,
        "end_reason": restored.end_reason,
        "ended_at": restored.ended_at,
        "resumable": restored.resumable,
        "speaker": restored.speaker,
        "turn_started_at": restored.turn_started_at,
        "turn_seq": restored.turn_seq,
        "open_questions": tuple(one.question for one in restored.questions),
        "last_artifact": restored.last_artifact,
        "dropped": with_rewind(chat.dropped, event.to_seq, seq),
    }


def title_of(text: str) -> str:
    """The words in one line, cut to MAX_TITLE_CHARS."""
    return _cut(text, MAX_TITLE_CHARS)


def _cut(text: str, limit: int = MAX_PROMPT_CHARS) -> str:
    line = " ".join(text[: 4 * limit].split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1] + "…"


def to_milliseconds(time: datetime) -> datetime:
    """The time cut to milliseconds."""
    return time - timedelta(microseconds=time.microsecond % 1000)
