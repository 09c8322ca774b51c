"""Maps events of a chat to events of AG-UI, for one run. Pure."""

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
from contracts.deltas import Report, TextStreamed
from contracts.event_log import StoredEvent
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatErased,
    ChatFailed,
    ChatRewound,
    ChatStarted,
    UserMessageReceived,
    UserMessageRefused,
)
from contracts.events.human import HumanAsked, UiToolRequested
from contracts.events.turn import (
    ModelResponded,
    SpeakerSelected,
    TextInterrupted,
    ToolInvoked,
    ToolReturned,
    VariablesChanged,
)
from contracts.ids import ChatId, Seq
from contracts.rewinds import counts
from contracts.streamed_text import CallId
from contracts.wire.frames import StoredValueLink
from services.transport.agui import ids
from services.transport.agui.messages import (
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    begins_anew,
    interrupted_id,
    parts_of,
)
from services.transport.agui.run_input import RunInput
from services.transport.agui.state import (
    Question,
    ThreadState,
    apply,
    user_action_ids,
    waits_for_user,
)
from services.transport.agui.text_delta import Events, TextDeltas, TextReplacedError
from services.transport.delivery.chat_stream import ResumeMode
from services.transport.protocol import event_to_frames, session_frames
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.event_to_frames import Viewer, is_visible
from services.transport.protocol.frame_encoding import Frame
from services.transport.protocol.stored_values import links

INTERRUPTED = "mozaiks:text_interrupted"
"""Name of the custom event that marks a message whose text ends early."""
COMPONENT = "mozaiks:component"
"""Reason of an interrupt that a component answers."""


@dataclass(frozen=True, slots=True)
class MappedEvents:
    """The AG-UI events of one chat event or chunk.

    `seq` is the client's cursor after all of them; None where they are a part of an event.
    `needs_snapshot`: a text that the client has was replaced, so the whole conversation is sent
    again. `last`: the run is finished.
    """

    events: Sequence[BaseEvent] = ()
    seq: Seq | None = None
    needs_snapshot: bool = False
    last: bool = False


class RunMapper:
    """Maps one run: the `EventMapper` of its `ChatStream`.

    The run finishes when the chat waits for the user or has ended, but not before everything in
    `completion_ids` has happened: the messages and answers that the run sent.
    """

    is_shared = False

    def __init__(
        self, run_input: RunInput, chat: ChatId, state: ThreadState, completion_ids: frozenset[str]
    ) -> None:
        self._run_input = run_input
        self._chat = chat
        self._state = state
        self._completion_ids = completion_ids
        self._deltas = TextDeltas(chat, run_input.client_history.messages)
        self._finished = False

    def opening_events(self, view: ChatView) -> MappedEvents:
        """The events that start the run: the client needs them for all that follow."""
        meta, state = session_frames.chat_meta(view), self._state
        events: Events = [
            run_started(self._run_input),
            CustomEvent(name=meta.type, value=meta.data.model_dump(mode="json")),
            StateSnapshotEvent(snapshot=dict(state.variables)),
            *_stored_values(state.stored.values()),
            *_step_started(state),
        ]
        return MappedEvents(events, state.seq)

    def map_history(
        self, viewer: Viewer, stored: StoredEvent, view: ChatView, /
    ) -> list[MappedEvents]:
        """An event of the history never ends a run: the chat went on after it."""
        fact = stored.fact
        if fact is None or not _counts(stored, view):
            return []
        return [self._map_fact(viewer, fact, view)]

    def map_event(
        self, viewer: Viewer, stored: StoredEvent, view: ChatView, /
    ) -> list[MappedEvents]:
        fact = stored.fact
        if self._finished or fact is None or not _counts(stored, view):
            return []
        is_refused = isinstance(fact.event, UserMessageRefused) and bool(
            self._completion_ids & user_action_ids(fact)
        )
        mapped = self._map_fact(viewer, fact, view)
        if is_refused:
            return [self._fail_run(mapped, event_to_frames.ANSWER_RUNNING, "ANSWER_RUNNING")]
        is_over = not self._completion_ids and waits_for_user(fact.event, self._state)
        return [self._finish_run(mapped) if is_over else mapped]

    def boundary(
        self, view: ChatView, last: Seq, _replayed: int, _mode: ResumeMode, /
    ) -> list[MappedEvents]:
        """The end of the history; also of the run, where nothing is pending and the chat does not run."""
        is_over = not self._completion_ids and view.status != "running"
        return [self._finish_run(MappedEvents(seq=last)) if is_over else MappedEvents()]

    def map_chunk(self, viewer: Viewer, chunk: TextStreamed, /) -> list[MappedEvents]:
        if self._finished or not is_visible(viewer, chunk.agent):
            return []
        return [MappedEvents(self._deltas.add_chunk(chunk))]

    def map_report(self, viewer: Viewer, report: Report, /) -> list[MappedEvents]:
        return self._unless_finished(event_to_frames.map_report(viewer, report))

    def map_overdue(self) -> list[MappedEvents]:
        return self._unless_finished(event_to_frames.map_overdue())

    def _unless_finished(self, frames: list[Frame]) -> list[MappedEvents]:
        return [] if self._finished else [MappedEvents(_custom_events(frames))]

    def _map_fact(self, viewer: Viewer, fact: Fact, view: ChatView) -> MappedEvents:
        previous, self._state = self._state, apply(self._state, fact)
        self._completion_ids = self._completion_ids - user_action_ids(fact)
        seq = fact.envelope.seq
        if isinstance(fact.event, ChatRewound):
            return self._rewound(viewer, fact, view, previous)
        try:
            events = self._events_of(viewer, fact, view, previous)
        except TextReplacedError:
            events = [*self._deltas.end(), *_interruption(fact)]
            return MappedEvents(events, seq, needs_snapshot=True)
        return MappedEvents([*events, *self._step_events(fact, previous)], seq)

    def _rewound(
        self, viewer: Viewer, fact: Fact, view: ChatView, previous: ThreadState
    ) -> MappedEvents:
        """The chat went back: the client gets its state and all its messages anew."""
        events: Events = [
            *self._deltas.end(),
            *_step_finished(previous),
            *_custom_events(event_to_frames.map_fact(viewer, fact, view)),
            StateSnapshotEvent(snapshot=dict(self._state.variables)),
        ]
        return MappedEvents(events, fact.envelope.seq, needs_snapshot=True)

    def _events_of(
        self, viewer: Viewer, fact: Fact, view: ChatView, previous: ThreadState
    ) -> Events:
        match fact.event:
            case ModelResponded():
                events = self._part_events(viewer, fact)
                return (
                    events + self._deltas.end()
                )  # ends what was streamed and turned out to be hidden
            case TextInterrupted() as interrupted:
                return self._text_interrupted(viewer, fact, interrupted)
            case ToolReturned(tool_call_id=call):
                events = self._part_events(viewer, fact)
                found = links(fact.envelope, fact.event) if events else ()
                return events + _stored_values(found, tool_call_id=call)
            case UserMessageReceived() | ToolInvoked():
                return self._part_events(viewer, fact)
            case VariablesChanged():
                stored = self._state.stored
                is_new = stored != previous.stored
                new = _stored_values(stored.values()) if is_new else []
                return _state_delta(previous, self._state) + new
            case ChatStarted() | SpeakerSelected() | ChatCompleted() | ChatFailed():
                return []  # the run's own events say it
            case ChatCancelled() | ChatErased():
                return []
            case _:
                frames = event_to_frames.map_fact(viewer, fact, view)
                return self._part_events(viewer, fact) + _custom_events(frames)

    def _text_interrupted(self, viewer: Viewer, fact: Fact, interrupted: TextInterrupted) -> Events:
        """The text that was shown, and a custom event that marks it. Raises TextReplacedError."""
        if not is_visible(viewer, interrupted.agent):
            return []
        call = CallId(interrupted.turn, interrupted.call)
        if begins_anew(interrupted) and self._deltas.forget(call):
            raise TextReplacedError
        return [*self._part_events(viewer, fact), *self._deltas.end(), *_interruption(fact)]

    def _part_events(self, viewer: Viewer, fact: Fact) -> Events:
        return [event for part in parts_of(viewer, fact) for event in self._events_of_part(part)]

    def _events_of_part(self, part: Part) -> Events:
        known = self._run_input.client_history
        match part:
            case TextPart():
                return self._deltas.complete(part)
            case ToolCallPart():
                return _tool_call_events(part, known.calls.get(part.id))
            case ToolResultPart():
                return [] if part.id in known.messages else [_tool_result_event(part)]

    def _step_events(self, fact: Fact, previous: ThreadState) -> Events:
        """The steps that this fact finishes and starts; a turn of an agent is a step."""
        current = self._state
        if previous.step == current.step and not isinstance(fact.event, SpeakerSelected):
            return []
        return [*self._deltas.end(), *_step_finished(previous), *_step_started(current)]

    def _finish_run(self, mapped: MappedEvents) -> MappedEvents:
        self._finished = True
        ending = [*self._deltas.end(), *_step_finished(self._state), self._end_event()]
        return replace(mapped, events=[*mapped.events, *ending], last=True)

    def _fail_run(self, mapped: MappedEvents, message: str, code: str) -> MappedEvents:
        self._finished = True
        ending = [
            *self._deltas.end(),
            *_step_finished(self._state),
            RunErrorEvent(message=message, code=code),
        ]
        return replace(mapped, events=[*mapped.events, *ending], last=True)

    def _end_event(self) -> BaseEvent:
        match self._state.ended:
            case ChatFailed(code=code, message=message):
                return RunErrorEvent(message=message, code=code)
            case ChatCancelled() | ChatErased():
                return self._run_finished(RunFinishedCancelledOutcome())
            case None if self._state.stopped and not self._state.questions:
                return self._run_finished(RunFinishedCancelledOutcome())
            case _ if self._state.questions:
                interrupts = [_interrupt(one) for one in self._state.questions.values()]
                return self._run_finished(RunFinishedInterruptOutcome(interrupts=interrupts))
            case _:
                return self._run_finished(RunFinishedSuccessOutcome())

    def _run_finished(self, outcome: RunFinishedOutcome) -> BaseEvent:
        ended = self._state.ended is not None
        result = {"chat_id": self._chat, "last_sequence": self._state.seq, "ended": ended}
        return RunFinishedEvent(
            thread_id=self._run_input.thread,
            run_id=self._run_input.run,
            outcome=outcome,
            result=result,
        )


def _counts(stored: StoredEvent, view: ChatView) -> bool:
    return counts(view.dropped, stored.envelope.seq, stored.envelope.type)


def run_started(run_input: RunInput) -> BaseEvent:
    return RunStartedEvent(
        thread_id=run_input.thread,
        run_id=run_input.run,
        protocol_version=PROTOCOL_VERSION,
        parent_run_id=run_input.parent,
    )


def _interruption(fact: Fact) -> Events:
    """What marks a message whose text ends early."""
    if not isinstance(fact.event, TextInterrupted):
        return []
    value = {
        "message_id": interrupted_id(fact, fact.event),
        **fact.event.model_dump(mode="json", include={"turn", "call", "agent", "reason"}),
    }
    return [CustomEvent(name=INTERRUPTED, value=value)]


def _step_started(state: ThreadState) -> Events:
    return [] if state.step is None else [StepStartedEvent(step_name=state.step)]


def _step_finished(state: ThreadState) -> Events:
    return [] if state.step is None else [StepFinishedEvent(step_name=state.step)]


def _custom_events(frames: Iterable[Frame]) -> Events:
    """Frames of ChatUI as custom events, for what AG-UI has no event type."""
    return [
        CustomEvent(name=frame.type, value=frame.data.model_dump(mode="json")) for frame in frames
    ]


def _tool_call_events(call: ToolCallPart, known_arguments: str | None) -> Events:
    if known_arguments == call.arguments:
        return []
    new_arguments = call.arguments.removeprefix(known_arguments or "")
    return [
        ToolCallStartEvent(
            tool_call_id=call.id, tool_call_name=call.name, parent_message_id=call.parent
        ),
        ToolCallArgsEvent(tool_call_id=call.id, delta=new_arguments),
        ToolCallEndEvent(tool_call_id=call.id),
    ]


def _tool_result_event(result: ToolResultPart) -> BaseEvent:
    return ToolCallResultEvent(
        message_id=result.id, tool_call_id=result.call, content=result.text, role="tool"
    )


def _stored_values(found: Iterable[StoredValueLink], **of: str) -> Events:
    """Where the whole values are of which the state, or a tool's result, has the beginning."""
    values = [one.model_dump(mode="json") for one in found]
    return [CustomEvent(name="stored_values", value={**of, "values": values})] if values else []


def _state_delta(previous: ThreadState, current: ThreadState) -> Events:
    """The change of the variables as JSON Patch (RFC 6902)."""
    before, after = previous.variables, current.variables
    removed = [
        {"op": "remove", "path": ids.json_pointer(name)} for name in before if name not in after
    ]
    changed = [
        {
            "op": "replace" if name in before else "add",
            "path": ids.json_pointer(name),
            "value": value,
        }
        for name, value in after.items()
        if name not in before or before[name] is not value
    ]
    return (
        [StateDeltaEvent.model_validate({"delta": removed + changed})] if removed or changed else []
    )


def _interrupt(question: Question) -> Interrupt:
    expires = question.expires_at
    return Interrupt(
        id=question.question_id,
        tool_call_id=ids.tool_call(question.turn, question.tool_call_id),
        expires_at=None if expires is None else expires.isoformat(),
        **_interrupt_fields(question),
    )


def _interrupt_fields(question: Question) -> dict[str, Any]:
    """What the user is asked, and the JSON Schema of the answer."""
    match question:
        case HumanAsked(prompt=prompt, options=options):
            schema: dict[str, Any] = {
                "type": "string",
                **({"examples": options} if options else {}),
            }
            metadata = {"agent": question.agent, "options": options, **_approval_fields(question)}
            if question.approval is not None:
                schema = {"anyOf": [schema, {"type": "boolean"}, _DECISION]}
            return {
                "reason": "input_required",
                "message": prompt,
                "response_schema": schema,
                "metadata": metadata,
            }
        case UiToolRequested():
            fields = {"agent", "ui_tool_id", "component", "display", "payload"}
            return {
                "reason": COMPONENT,
                "message": question.component,
                "response_schema": {"type": "object"},
                "metadata": question.model_dump(mode="json", include=fields),
            }


_DECISION = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "always": {"type": "boolean"},
        "text": {"type": "string"},
    },
    "required": ["approved"],
}
"""The JSON Schema of the decision about an approval."""


def _approval_fields(question: HumanAsked) -> dict[str, Any]:
    """The call to approve, and who is asked instead of the chat's user; empty for most questions."""
    fields = {"approval": question.approval, "audience": question.audience}
    return {
        name: value.model_dump(mode="json") for name, value in fields.items() if value is not None
    }
