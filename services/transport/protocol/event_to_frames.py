"""Maps events of a chat to frames: which viewer gets which event, and as which frames. Pure."""

from dataclasses import dataclass
from typing import Literal

from contracts.chat_snapshot import ERASED
from contracts.codec import Fact
from contracts.deltas import Report, TextStreamed, WaitReported
from contracts.event_log import StoredEvent
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatForked,
    ChatRewound,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    RewindRefused,
    ToolCodeChanged,
    TurnLimitReported,
    UserMessageReceived,
    UserMessageRefused,
    UserMessagesConsumed,
)
from contracts.events.chat_list import (
    ChatArchived,
    ChatDeleted,
    ChatRenamed,
    ChatUnarchived,
    ChatUndeleted,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    USER,
    ConversationProcessed,
    ModelCallFailed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    TextInterrupted,
    ToolDispatched,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    TurnStopped,
    TurnStopRequested,
    UsageRecorded,
    VariablesChanged,
)
from contracts.frozen import replace
from contracts.ids import AgentName, Seq
from contracts.rewinds import counts
from contracts.wire.frames import (
    BudgetData,
    QuestionData,
    ResumeBoundaryData,
    StoredValueLink,
    WaitData,
)
from services.transport.protocol import budget_texts, frame_builders
from services.transport.protocol.chat_projection import STATUS_NUMBER, ChatView
from services.transport.protocol.frame_encoding import Frame, error
from services.transport.protocol.rewind_refusals import REFUSALS
from services.transport.protocol.stored_values import links, payload_of

ANSWER_RUNNING = (
    "message: an answer is running, and this workflow takes no message meanwhile; send it again when"
    " the answer has ended, or stop the answer first"
)

is_shared = True
"""Live events are mapped alike for equal viewers; see `delivery.chat_stream.EventMapper`."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """What one client gets of a chat.

    A client without a cursor is ChatUI: its history is a replay, it knows only the frames of the
    original, and it needs questions and answers as text, too. `raw_events` adds each event as it is
    stored. An empty `agents` shows the messages of every agent. A client with a `tail` gets only so
    many of the newest events of a chat that it opens, in frames of many; 0: all of them, one by one.
    """

    has_cursor: bool = True
    raw_events: bool = False
    agents: frozenset[AgentName] = frozenset()
    tail: int = 0


def is_visible(viewer: Viewer, agent: AgentName) -> bool:
    """Whether this viewer sees the messages of an agent."""
    if agent == SELECTOR:
        return False
    return not viewer.agents or agent == USER or agent in viewer.agents


def map_event(viewer: Viewer, stored: StoredEvent, view: ChatView) -> list[Frame]:
    """The frames of a live event; `view` includes the event, and may include later ones."""
    frames = _map(viewer, stored, view)
    if found := links(stored.envelope, stored.event):
        frames = [_with_links(frame, found) for frame in frames]
    time, seq, last = stored.envelope.time, stored.envelope.seq, len(frames) - 1
    return [
        replace(frame, time=time, seq=seq, more=place < last) for place, frame in enumerate(frames)
    ]


def _with_links(frame: Frame, found: tuple[StoredValueLink, ...]) -> Frame:
    return replace(frame, data=frame.data.model_copy(update={"stored_values": found}))


def map_history(viewer: Viewer, stored: StoredEvent, view: ChatView) -> list[Frame]:
    """The frames of an event of the history, before the boundary."""
    frames = [
        frame for frame in map_event(viewer, stored, view) if not isinstance(frame.data, WaitData)
    ]
    if viewer.has_cursor:
        return frames
    open_questions = {one.question_id for one in view.open_questions}
    return [
        _as_replay(frame)
        for frame in frames
        if not isinstance(frame.data, QuestionData) or frame.data.request_id in open_questions
    ]


def _as_replay(frame: Frame) -> Frame:
    # ChatUI drops a frame whose `seq` is lower than the last one, and asks for a resume: send an index.
    data = frame.data.model_copy(update={"replay": True, "index": frame.seq})
    return replace(frame, data=data, seq=None)


def map_chunk(viewer: Viewer, chunk: TextStreamed) -> list[Frame]:
    return [frame_builders.text_chunk(chunk)] if is_visible(viewer, chunk.agent) else []


def map_report(viewer: Viewer, report: Report) -> list[Frame]:
    if not is_visible(viewer, report.agent):
        return []
    if isinstance(report, WaitReported):
        return [frame_builders.provider_wait(report)]
    # ChatUI displays the percentage in any case: a missing one would be shown as "undefined".
    has_percent = report.percent is not None or viewer.has_cursor
    return [
        frame_builders.tool_progress(
            report if has_percent else report.model_copy(update={"percent": 0.0})
        )
    ]


def map_overdue() -> list[Frame]:
    """The frame for a message of the viewer that nothing has taken up yet."""
    return [frame_builders.queue_wait()]


def boundary(
    view: ChatView, last: Seq, replayed: int, mode: Literal["auto", "client"]
) -> list[Frame]:
    """The frame between history and live events."""
    data = ResumeBoundaryData(
        chat_id=view.key.chat,
        chat_status=view.status,
        status=STATUS_NUMBER[view.status],
        message_count=last,
        replayed_messages=replayed,
        replayed_events=replayed,
        last_message_index=last,
        resume_mode=mode,
    )
    return [Frame(data, time=view.last_updated_at, seq=last)]


def _map(viewer: Viewer, stored: StoredEvent, view: ChatView) -> list[Frame]:
    frames = [frame_builders.raw_event(stored.envelope)] if viewer.raw_events else []
    fact, envelope = stored.fact, stored.envelope
    if fact is None or not counts(view.dropped, envelope.seq, envelope.type):
        return frames
    return frames + map_fact(viewer, fact, view)


def map_fact(viewer: Viewer, fact: Fact, view: ChatView) -> list[Frame]:
    """The frames of a fact, without time and position."""
    match fact.event:
        case ChatStarted():
            return [frame_builders.run_started(view)]
        case ChatForked() as forked:
            return [frame_builders.forked(forked, view)] if viewer.has_cursor else []
        case UserMessageReceived(text=text, while_running=while_running):
            return [frame_builders.user_text(fact, text, while_running)]
        case UserMessagesConsumed() as consumed:
            return [frame_builders.messages_consumed(consumed)] if viewer.has_cursor else []
        case UserMessageRefused() as refused:
            return _message_refused(viewer, refused)
        case ChatRewound() as event:
            return [frame_builders.rewound(event)] if viewer.has_cursor else []
        case RewindRefused() as refused:
            return _rewind_refused(viewer, refused)
        case SpeakerSelected() as chosen:
            return _speaker_selected(viewer, chosen)
        case ModelResponded() as response:
            return _model_response(viewer, response)
        case TextInterrupted() as interrupted:
            is_shown = is_visible(viewer, interrupted.agent)
            return [frame_builders.interrupted_text(interrupted)] if is_shown else []
        case TurnStopped() as stopped:
            is_shown = viewer.has_cursor and stopped.agent != SELECTOR
            return [frame_builders.answer_stopped(stopped)] if is_shown else []
        case ToolInvoked(occasion="auto_invoke") as invoked:
            return _tool_invoked(viewer, invoked, view)
        case ToolReturned(occasion="auto_invoke") as returned:
            return (
                [frame_builders.auto_tool_returned(returned)]
                if is_visible(viewer, returned.agent)
                else []
            )
        case ToolReturned(occasion=None) as returned:
            return (
                [frame_builders.tool_returned(returned)]
                if is_visible(viewer, returned.agent)
                else []
            )
        case ToolInvoked() | ToolReturned():
            return []  # lifecycle tools of the runtime are not shown
        case AttachmentUploaded() as attached:
            return [frame_builders.attachment_uploaded(fact.envelope, attached, view)]
        case HumanAsked() as asked:
            return _human_asked(viewer, asked)
        case HumanAnswered() as answered:
            return _human_answered(viewer, fact, answered)
        case QuestionEscalated() as escalated:
            return [frame_builders.question_escalated(escalated)]
        case QuestionExpired(question_id=question):
            return [frame_builders.question_expired(question)]
        case UiToolRequested() as requested:
            payload = payload_of(fact.envelope, requested)
            return [frame_builders.component_requested(requested, payload, view)]
        case UiToolAnswered() as answer:
            return [frame_builders.component_answered(answer, view)]
        case UsageRecorded() as usage:
            is_shown = viewer.raw_events or is_visible(viewer, usage.agent)
            return [frame_builders.usage_recorded(fact.envelope, usage, view)] if is_shown else []
        case OutputStructured() as output:
            return (
                [frame_builders.output_structured(output, view)]
                if is_visible(viewer, output.agent)
                else []
            )
        case ChatRenamed() | ChatArchived() | ChatUnarchived() | ChatDeleted() | ChatUndeleted():
            changed = frame_builders.list_changed(fact.envelope, fact.event)
            return [changed] if viewer.has_cursor else []
        case TurnFailed(agent=agent, code=code, message=message):
            return [error(message, code, agent=agent)]
        case CommandGivenUp(command=command):
            return [error(f"{command}: could not be taken in, and was given up.", "GIVEN_UP")]
        case TurnLimitReported() as reported:
            shown = (
                frame_builders.turn_limit if viewer.has_cursor else frame_builders.turn_limit_text
            )
            return [shown(reported)]
        case BudgetWarned() as warned:
            return _budget(viewer, budget_texts.warned(warned))
        case BudgetExceeded() as exceeded:
            return _budget(viewer, budget_texts.exceeded(exceeded))
        case ChatCompleted(reason=reason):
            return [frame_builders.chat_ended(fact.envelope, view, 1, reason)]
        case ChatFailed(code=code, message=message):
            return [
                error(message, code),
                _failed(viewer, fact, message, view),
            ]
        case ChatCancelled(reason=reason):
            return [frame_builders.chat_ended(fact.envelope, view, 3, reason or "cancelled")]
        case ChatErased():
            return [frame_builders.chat_ended(fact.envelope, view, 3, ERASED)]
        case BusinessLogged() | VariablesChanged() | ModelRequested() | TurnCompleted():
            return []
        case ToolDispatched():
            return []  # the call is shown with the response, its end with the result
        case TurnStopRequested():
            return []
        case RunClaimed():
            return [frame_builders.takeover_wait()] if viewer.has_cursor else []
        case ConversationProcessed() | HistoryCompacted() | ToolCodeChanged():
            return []
        case ModelCallFailed():
            return []  # the answer to the next request for the same call replaces its text


def _message_refused(viewer: Viewer, refused: UserMessageRefused) -> list[Frame]:
    frames = [frame_builders.message_refused(refused)] if viewer.has_cursor else []
    if refused.reason == "answer_running":
        frames.append(error(ANSWER_RUNNING, "ANSWER_RUNNING"))
    return frames


def _rewind_refused(viewer: Viewer, refused: RewindRefused) -> list[Frame]:
    if viewer.has_cursor:
        return [frame_builders.rewind_refused(refused)]
    code, message = REFUSALS[refused.reason]
    return [error(message, code)]


def _failed(viewer: Viewer, fact: Fact, message: str, view: ChatView) -> Frame:
    failed = frame_builders.chat_ended(fact.envelope, view, 2, message)
    if not viewer.has_cursor or not view.resumable:
        return failed
    return replace(failed, data=failed.data.model_copy(update={"resumable": True}))


def _budget(viewer: Viewer, data: BudgetData) -> list[Frame]:
    """For ChatUI, which knows no such frame, a message of the runtime."""
    if viewer.has_cursor:
        return [Frame(data)]
    return [frame_builders.runtime_text(data.message, "budget")]


def _speaker_selected(viewer: Viewer, chosen: SpeakerSelected) -> list[Frame]:
    # ChatUI shows the selected speaker as thinking, which is wrong for the user.
    is_shown = chosen.agent != SELECTOR and (viewer.has_cursor or chosen.agent != USER)
    return (
        [frame_builders.speaker_selected(chosen.agent, chosen.turn, chosen.by)] if is_shown else []
    )


def _model_response(viewer: Viewer, response: ModelResponded) -> list[Frame]:
    if not is_visible(viewer, response.agent):
        return []
    text_frames = (
        [frame_builders.model_response(response, response.text)]
        if response.text and not response.hidden
        else []
    )
    return text_frames + [
        frame_builders.tool_called(response, call) for call in response.tool_calls
    ]


def _tool_invoked(viewer: Viewer, invoked: ToolInvoked, view: ChatView) -> list[Frame]:
    """A tool that the runtime calls with the structured output of an agent."""
    if not is_visible(viewer, invoked.agent):
        return []
    if viewer.has_cursor:
        return [frame_builders.auto_tool_called(invoked, view)]
    # With a display ChatUI would draw the component here, and again where the tool itself shows it.
    call = frame_builders.auto_tool_called(invoked.model_copy(update={"display": None}), view)
    return [frame_builders.speaker_selected(invoked.agent, invoked.turn, "auto_invoke"), call]


def _human_asked(viewer: Viewer, asked: HumanAsked) -> list[Frame]:
    request = frame_builders.human_asked(asked)
    if viewer.has_cursor:
        return [request]
    # ChatUI never displays a prompt: without the text the user would not see the question.
    return [frame_builders.question_text(asked), request]


def open_question(asked: HumanAsked | UiToolRequested, view: ChatView) -> Frame:
    """A question that is still open, for a client that has its text already."""
    match asked:
        case HumanAsked():
            return frame_builders.human_asked(asked)
        case UiToolRequested():
            return frame_builders.component_requested(asked, asked.payload, view)


def _human_answered(viewer: Viewer, fact: Fact, answered: HumanAnswered) -> list[Frame]:
    acknowledged = frame_builders.human_answered(answered)
    if viewer.has_cursor:
        return [acknowledged]
    # ChatUI ignores the acknowledgement and its own text; a second page of the user needs the text.
    text = frame_builders.user_text(fact, answered.text, input_request_id=str(answered.question_id))
    return [text, acknowledged]
