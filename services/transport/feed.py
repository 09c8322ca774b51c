"""Who sees which fact, from which position, as which frame."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from contracts.codec import Fact
from contracts.envelope import Envelope
from contracts.events import Event
from contracts.events.business import BusinessLogged
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    CommandGivenUp,
    HistoryCompacted,
    ToolCodeChanged,
    UserMessageReceived,
)
from contracts.events.human import (
    HumanAnswered,
    HumanAsked,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    ConversationProcessed,
    ModelRequested,
    ModelResponded,
    OutputStructured,
    SpeakerSelected,
    ToolInvoked,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
    VariablesChanged,
)
from contracts.ids import AgentName, Seq
from contracts.live import TextStreamed, ToolProgressed
from services.transport import shapes
from services.transport.chatview import PERSON, STATUS_NUMBER, ChatView
from services.transport.frames import Frame, error


@dataclass(frozen=True, slots=True)
class Viewer:
    """How someone looks at a chat.

    Without a stated cursor it is ChatUI: its history comes as a replay, it knows only the frames
    of the original, and what was asked and answered has to reach it as text. `everything` adds each
    event as it is stored. An empty `agents` (normalised names) shows every agent's words.
    """

    has_cursor: bool = True
    everything: bool = False
    agents: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """A stored event; its body is none where it comes from a newer release."""

    envelope: Envelope
    event: Event | None


def normalised(agent: str) -> str:
    """An agent's name as `visual_agents` compares it: `Interview Agent` is `InterviewAgent`."""
    return agent.lower().replace("agent", "").replace(" ", "").strip()


def allowed(visual_agents: Iterable[AgentName]) -> frozenset[str]:
    return frozenset(map(normalised, visual_agents))


def is_heard(viewer: Viewer, agent: str) -> bool:
    """Whether the words of an agent are for this viewer."""
    if agent == SELECTOR:
        return False
    return not viewer.agents or agent == PERSON or normalised(agent) in viewer.agents


def of_event(viewer: Viewer, seen: Seen, view: ChatView) -> list[Frame]:
    """The frames of an event as it happens; `view` must have seen it, and may have seen more."""
    frames = _stated(viewer, seen, view)
    time, seq, last = seen.envelope.time, seen.envelope.seq, len(frames) - 1
    return [
        replace(frame, time=time, seq=seq, more=place < last) for place, frame in enumerate(frames)
    ]


def of_history(viewer: Viewer, seen: Seen, view: ChatView) -> list[Frame]:
    """The frames of an event of the past, before the boundary."""
    frames = of_event(viewer, seen, view)
    if viewer.has_cursor:
        return frames
    open_still = view.questions
    return [
        _replayed(frame)
        for frame in frames
        if frame.type != "chat.input_request" or frame.data["request_id"] in open_still
    ]


def _replayed(frame: Frame) -> Frame:
    # ChatUI asks for a resume when a `seq` steps back, and would drop the frame: it gets an index.
    mark = {"replay": True, "index": frame.seq}
    return replace(frame, data={**frame.data, **mark}, top={**frame.top, **mark}, seq=None)


def of_chunk(viewer: Viewer, chunk: TextStreamed) -> list[Frame]:
    return [shapes.chunk(chunk)] if is_heard(viewer, chunk.agent) else []


def of_progress(viewer: Viewer, progress: ToolProgressed) -> list[Frame]:
    if not is_heard(viewer, progress.agent):
        return []
    # ChatUI writes the number whatever it is: one that a tool cannot tell would be "undefined".
    known = progress.percent is not None or viewer.has_cursor
    return [shapes.progress(progress if known else progress.model_copy(update={"percent": 0.0}))]


def boundary(view: ChatView, last: Seq, replayed: int, mode: Literal["auto", "client"]) -> Frame:
    """The end of what was history; from here on things happen."""
    data = {
        "chat_id": view.key.chat,
        "chat_status": view.status,
        "status": STATUS_NUMBER[view.status],
        "message_count": last,
        "replayed_messages": replayed,
        "replayed_events": replayed,
        "last_message_index": last,
        "resume_mode": mode,
    }
    return Frame("chat.resume_boundary", data, time=view.last_time, seq=last)


def _stated(viewer: Viewer, seen: Seen, view: ChatView) -> list[Frame]:
    whole = [shapes.raw(seen.envelope)] if viewer.everything else []
    if seen.event is None:
        return whole
    return whole + _shown(viewer, Fact(seen.envelope, seen.event), view)


def _shown(viewer: Viewer, fact: Fact, view: ChatView) -> list[Frame]:
    match fact.event:
        case ChatStarted():
            return [shapes.run_started(view)]
        case UserMessageReceived(text=text):
            return [shapes.words_of_the_person(fact, text)]
        case SpeakerSelected() as chosen:
            return _chosen(viewer, chosen)
        case ModelResponded() as said:
            return _response(viewer, said)
        case ToolInvoked(occasion="auto_invoke") as invoked:
            return _invoked(viewer, invoked, view)
        case ToolReturned(occasion="auto_invoke") as returned:
            return [shapes.auto_returned(returned)] if is_heard(viewer, returned.agent) else []
        case ToolReturned(occasion=None) as returned:
            return [shapes.returned(returned)] if is_heard(viewer, returned.agent) else []
        case ToolInvoked() | ToolReturned():
            return []  # what the runtime calls around chats and turns is no news
        case AttachmentUploaded() as attached:
            return [shapes.attachment(fact.envelope, attached)]
        case HumanAsked() as asked:
            return _question(viewer, asked)
        case HumanAnswered() as answered:
            return _answer(viewer, fact, answered)
        case QuestionExpired(question_id=question):
            return [shapes.expired(question)]
        case UiToolRequested() as requested:
            return [shapes.component(requested, view)]
        case UiToolAnswered() as answer:
            return [shapes.component_answered(answer, view)]
        case UsageRecorded() as usage:
            heard = viewer.everything or is_heard(viewer, usage.agent)
            return [shapes.usage(fact.envelope, usage, view)] if heard else []
        case OutputStructured() as output:
            return [shapes.structured(output, view)] if is_heard(viewer, output.agent) else []
        case TurnFailed(agent=agent, code=code, message=message):
            return [error(message, code, agent=agent)]
        case CommandGivenUp(command=command):
            return [error(f"{command}: could not be taken in, and was given up.", "GIVEN_UP")]
        case ChatCompleted(reason=reason):
            return [shapes.end(fact.envelope, view, 1, reason)]
        case ChatFailed(code=code, message=message):
            return [error(message, code), shapes.end(fact.envelope, view, 2, message)]
        case ChatCancelled(reason=reason):
            return [shapes.end(fact.envelope, view, 3, reason or "cancelled")]
        case BusinessLogged() | VariablesChanged() | ModelRequested() | TurnCompleted():
            return []
        case ConversationProcessed() | HistoryCompacted() | ToolCodeChanged() | RunClaimed():
            return []


def _chosen(viewer: Viewer, chosen: SpeakerSelected) -> list[Frame]:
    # ChatUI shows whoever is chosen as thinking: nothing is gained by saying so of its own user.
    told = chosen.agent != SELECTOR and (viewer.has_cursor or chosen.agent != PERSON)
    return [shapes.speaker(chosen.agent, chosen.turn, chosen.by)] if told else []


def _response(viewer: Viewer, said: ModelResponded) -> list[Frame]:
    if not is_heard(viewer, said.agent):
        return []
    words = [shapes.response(said, said.text)] if said.text and not said.hidden else []
    return words + [shapes.called(said, call) for call in said.tool_calls]


def _invoked(viewer: Viewer, invoked: ToolInvoked, view: ChatView) -> list[Frame]:
    """A tool that the runtime calls with an agent's output: with that agent's words."""
    if not is_heard(viewer, invoked.agent):
        return []
    call = shapes.auto_called(invoked, view)
    if viewer.has_cursor:
        return [call]
    return [shapes.speaker(invoked.agent, invoked.turn, "auto_invoke"), call]


def _question(viewer: Viewer, asked: HumanAsked) -> list[Frame]:
    request = shapes.question(asked)
    if viewer.has_cursor:
        return [request]
    # ChatUI never displays a prompt: unless it is also said, the person cannot know what is asked.
    said = shapes.words_of_an_agent(asked.agent, asked.prompt, metadata={"source": "question"})
    return [said, request]


def _answer(viewer: Viewer, fact: Fact, answered: HumanAnswered) -> list[Frame]:
    taken = shapes.answer_taken(answered)
    if viewer.has_cursor:
        return [taken]
    # ChatUI ignores an ack, and swallows its own words when they come back; a second page needs them.
    named = {"input_request_id": str(answered.question_id)}
    return [shapes.words_of_the_person(fact, answered.text, **named), taken]
