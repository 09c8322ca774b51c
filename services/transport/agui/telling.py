"""A chat in the events of AG-UI: from where a run begins until the chat waits for the person or has ended."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ag_ui.core import (
    PROTOCOL_VERSION,
    BaseEvent,
    CustomEvent,
    Interrupt,
    RunErrorEvent,
    RunFinishedCancelledOutcome,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    RunFinishedOutcome,
    RunFinishedSuccessOutcome,
    RunStartedEvent,
    StateDeltaEvent,
    StateSnapshotEvent,
    StepFinishedEvent,
    StepStartedEvent,
    ToolCallArgsEvent,
    ToolCallEndEvent,
    ToolCallResultEvent,
    ToolCallStartEvent,
)

from contracts.codec import Fact
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    UserMessageReceived,
)
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.turn import (
    ModelResponded,
    SpeakerSelected,
    ToolInvoked,
    ToolReturned,
    VariablesChanged,
)
from contracts.ids import ChatId, Seq
from contracts.live import TextStreamed, ToolProgressed
from services.transport import feed, notices
from services.transport.agui import naming
from services.transport.agui.asking import Asked
from services.transport.agui.pieces import Call, Piece, Result, Words, pieces_of
from services.transport.agui.saying import Events, Saying, TornError
from services.transport.agui.standing import Question, Standing, acts_of, rests, see
from services.transport.chatview import ChatView
from services.transport.feed import Seen, Viewer, is_heard
from services.transport.frames import Frame
from services.transport.viewing import Mode

COMPONENT = "mozaiks:component"
"""The reason of an interrupt that a component is to answer."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one fact or chunk makes, whole: `seq` is where it leaves the client, none in between.

    `torn` says that a message which the client has is not what was said in the end: the whole
    conversation is to be stated before these events. After the `last` there is nothing more.
    """

    events: Sequence[BaseEvent] = ()
    seq: Seq | None = None
    torn: bool = False
    last: bool = False


class Telling:
    """One run of the protocol over a chat: a language of `Viewing`.

    It ends where the chat waits for the person or has ended, but not before all that the person
    asked for, `awaited`, has come to pass.
    """

    def __init__(
        self, asked: Asked, chat: ChatId, standing: Standing, awaited: frozenset[str]
    ) -> None:
        self._asked = asked
        self._chat = chat
        self._standing = standing
        self._awaited = awaited
        self._saying = Saying(chat, asked.known.messages)
        self._finished = False

    def opening(self, view: ChatView) -> Told:
        """With this the client has all that it needs for what follows."""
        meta, standing = notices.meta(view), self._standing
        events: Events = [
            started(self._asked),
            CustomEvent(name=meta.type, value=meta.data),
            StateSnapshotEvent(snapshot=dict(standing.variables)),
            *_step_begins(standing),
        ]
        return Told(events, standing.seq)

    def of_history(self, viewer: Viewer, seen: Seen, view: ChatView, /) -> list[Told]:
        """An event of the past: whatever waited at it has gone on since."""
        if seen.event is None:
            return []
        return [self._told(viewer, Fact(seen.envelope, seen.event), view)]

    def of_event(self, viewer: Viewer, seen: Seen, view: ChatView, /) -> list[Told]:
        if self._finished or seen.event is None:
            return []
        told = self._told(viewer, Fact(seen.envelope, seen.event), view)
        over = not self._awaited and rests(seen.event, self._standing)
        return [self._last(told) if over else told]

    def boundary(self, view: ChatView, last: Seq, _replayed: int, _mode: Mode, /) -> Told:
        """The end of what was history, and of the run where nothing is to come of it."""
        over = not self._awaited and view.status != "running"
        return self._last(Told(seq=last)) if over else Told()

    def of_chunk(self, viewer: Viewer, chunk: TextStreamed, /) -> list[Told]:
        if self._finished or not is_heard(viewer, chunk.agent):
            return []
        return [Told(self._saying.chunk(chunk))]

    def of_progress(self, viewer: Viewer, progress: ToolProgressed, /) -> list[Told]:
        return [] if self._finished else [Told(_customs(feed.of_progress(viewer, progress)))]

    def _told(self, viewer: Viewer, fact: Fact, view: ChatView) -> Told:
        before, self._standing = self._standing, see(self._standing, fact)
        self._awaited = self._awaited - acts_of(fact)
        seq = fact.envelope.seq
        try:
            events = self._events(viewer, fact, view, before)
        except TornError:
            return Told(self._saying.end(), seq, torn=True)
        return Told([*events, *self._turned(fact, before)], seq)

    def _events(self, viewer: Viewer, fact: Fact, view: ChatView, before: Standing) -> Events:
        match fact.event:
            case ModelResponded():
                said = self._pieces(viewer, fact)
                return said + self._saying.end()  # what was streamed and is not for people
            case UserMessageReceived() | ToolInvoked() | ToolReturned():
                return self._pieces(viewer, fact)
            case VariablesChanged():
                return _changes(before, self._standing)
            case ChatStarted() | SpeakerSelected() | ChatCompleted() | ChatFailed():
                return []  # the run's own events say it
            case ChatCancelled():
                return []
            case _:
                frames = feed.of_event(viewer, Seen(fact.envelope, fact.event), view)
                return self._pieces(viewer, fact) + _customs(frames)

    def _pieces(self, viewer: Viewer, fact: Fact) -> Events:
        return [event for piece in pieces_of(viewer, fact) for event in self._piece(piece)]

    def _piece(self, piece: Piece) -> Events:
        known = self._asked.known
        match piece:
            case Words():
                return self._saying.whole(piece)
            case Call():
                return _called(piece, known.calls.get(piece.id))
            case Result():
                return [] if piece.id in known.messages else [_returned(piece)]

    def _turned(self, fact: Fact, before: Standing) -> Events:
        """The steps that this fact ends and begins: a turn is one."""
        after = self._standing
        if before.step == after.step and not isinstance(fact.event, SpeakerSelected):
            return []
        return [*self._saying.end(), *_step_ends(before), *_step_begins(after)]

    def _last(self, told: Told) -> Told:
        self._finished = True
        ending = [*self._saying.end(), *_step_ends(self._standing), self._ending()]
        return replace(told, events=[*told.events, *ending], last=True)

    def _ending(self) -> BaseEvent:
        match self._standing.ended:
            case ChatFailed(code=code, message=message):
                return RunErrorEvent(message=message, code=code)
            case ChatCancelled():
                return self._finish(RunFinishedCancelledOutcome())
            case _ if self._standing.questions:
                interrupts = [_interrupt(one) for one in self._standing.questions.values()]
                return self._finish(RunFinishedInterruptOutcome(interrupts=interrupts))
            case _:
                return self._finish(RunFinishedSuccessOutcome())

    def _finish(self, outcome: RunFinishedOutcome) -> BaseEvent:
        ended = self._standing.ended is not None
        result = {"chat_id": self._chat, "last_sequence": self._standing.seq, "ended": ended}
        return RunFinishedEvent(
            thread_id=self._asked.thread, run_id=self._asked.run, outcome=outcome, result=result
        )


def started(asked: Asked) -> BaseEvent:
    return RunStartedEvent(
        thread_id=asked.thread,
        run_id=asked.run,
        protocol_version=PROTOCOL_VERSION,
        parent_run_id=asked.parent,
    )


def _step_begins(standing: Standing) -> Events:
    return [] if standing.step is None else [StepStartedEvent(step_name=standing.step)]


def _step_ends(standing: Standing) -> Events:
    return [] if standing.step is None else [StepFinishedEvent(step_name=standing.step)]


def _customs(frames: Iterable[Frame]) -> Events:
    """What the protocol has no form for, as ChatUI gets it."""
    return [CustomEvent(name=frame.type, value=frame.data) for frame in frames]


def _called(call: Call, known: str | None) -> Events:
    if known == call.arguments:
        return []
    fresh = call.arguments.removeprefix(known or "")
    return [
        ToolCallStartEvent(
            tool_call_id=call.id, tool_call_name=call.name, parent_message_id=call.parent
        ),
        ToolCallArgsEvent(tool_call_id=call.id, delta=fresh),
        ToolCallEndEvent(tool_call_id=call.id),
    ]


def _returned(result: Result) -> BaseEvent:
    return ToolCallResultEvent(
        message_id=result.id, tool_call_id=result.call, content=result.text, role="tool"
    )


def _changes(before: Standing, after: Standing) -> Events:
    """From one set of variables to the next, as JSON Patch (RFC 6902)."""
    was, now = before.variables, after.variables
    gone = [{"op": "remove", "path": naming.pointer(name)} for name in was if name not in now]
    put = [
        {
            "op": "replace" if name in was else "add",
            "path": naming.pointer(name),
            "value": value,
        }
        for name, value in now.items()
        if name not in was or was[name] is not value
    ]
    return [StateDeltaEvent.model_validate({"delta": gone + put})] if gone or put else []


def _interrupt(question: Question) -> Interrupt:
    expires = question.expires_at
    return Interrupt(
        id=question.question_id,
        tool_call_id=naming.tool_call(question.turn, question.tool_call_id),
        expires_at=None if expires is None else expires.isoformat(),
        **_wanted(question),
    )


def _wanted(question: Question) -> dict[str, Any]:
    """What the person is asked for, and the form of the answer."""
    match question:
        case HumanAsked(prompt=prompt, options=options):
            schema = {"type": "string", **({"examples": options} if options else {})}
            more = {"agent": question.agent, "options": options}
            return {
                "reason": "input_required",
                "message": prompt,
                "response_schema": schema,
                "metadata": more,
            }
        case UiToolRequested():
            kept = {"agent", "ui_tool_id", "component", "display", "payload"}
            return {
                "reason": COMPONENT,
                "message": question.component,
                "response_schema": {"type": "object"},
                "metadata": question.model_dump(mode="json", include=kept),
            }
