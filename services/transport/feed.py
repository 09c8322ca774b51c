"""Who sees which fact, from which position, as which frame."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

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
from contracts.events.parts import ToolCall, text_of
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
from contracts.ids import AgentName, ChatKey, Seq, UserId, WorkflowName
from contracts.live import TextStreamed, ToolProgressed
from contracts.subjects import attachment_key
from services.transport.chatview import PERSON, STATUS_NUMBER, ChatView, Component

Data = dict[str, Any]


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
class Frame:
    """One message to a client; `top` is what ChatUI reads beside `type` instead of in `data`.

    `more` says that another frame of the same event follows.
    """

    type: str
    data: Data
    time: datetime | None = None
    top: Data = field(default_factory=dict)
    seq: Seq | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class Launched:
    """A chat that was started from within another one."""

    key: ChatKey
    workflow: WorkflowName
    user: UserId
    label: str | None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A workflow that was not started, and why."""

    workflow: WorkflowName
    message: str
    code: str


Launch = Launched | Blocked


@dataclass(frozen=True, slots=True)
class Seen:
    """A stored event; its body is none where it comes from a newer release."""

    envelope: Envelope
    event: Event | None


def encode(frame: Frame) -> str:
    message: Data = {"type": frame.type, "data": frame.data}
    if frame.time is not None:
        message["timestamp"] = frame.time.isoformat()
    if "agent" in frame.data:
        message["agent"] = frame.data["agent"]
    message |= frame.top
    if frame.seq is not None:
        message["seq"] = frame.seq
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


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
    if not is_heard(viewer, chunk.agent):
        return []
    data = {
        "kind": "print",
        "agent": chunk.agent,
        "content": chunk.text,
        "turn": chunk.turn,
        "call": chunk.call,
        "offset": chunk.offset,
        "runner": chunk.runner,
    }
    return [Frame("chat.print", data, top={"content": chunk.text})]


def meta(view: ChatView) -> Frame:
    """The first frame on every socket."""
    data = {
        "kind": "chat_meta",
        "chat_id": view.key.chat,
        "workflow_name": view.workflow,
        "app_id": view.key.app,
        "user_id": view.user,
        "has_children": False,
        "cache_seed": view.seed,
        "chat_exists": True,
        "last_artifact": last_artifact(view),
        "status": STATUS_NUMBER[view.status],
        "chat_status": view.status,
        "last_sequence": view.last_seq,
        "created_at": view.started.isoformat(),
    }
    return Frame("chat_meta", data, time=view.last_time, top=data)


def last_artifact(view: ChatView) -> Data | None:
    """What ChatUI opens again after a reload."""
    if view.artifact is None:
        return None
    shown = {"workflow_name": view.workflow, "display": "artifact", "mode": "artifact"}
    return {
        "ui_tool_id": view.artifact.ui_tool_id,
        "event_id": view.artifact.event_id,
        "component_type": view.artifact.component,
        "display": "artifact",
        "workflow_name": view.workflow,
        "payload": {**view.artifact.payload, **shown},
        "updated_at": view.artifact.shown.isoformat(),
    }


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


def context_switched(left: ChatView, entered: ChatView) -> Frame:
    data = {
        "from_chat_id": left.key.chat,
        "to_chat_id": entered.key.chat,
        "chat_id": entered.key.chat,
        "workflow_name": entered.workflow,
        "artifact_id": None if entered.artifact is None else entered.artifact.event_id,
        "app_id": entered.key.app,
    }
    return Frame("chat.context_switched", data)


def launched(launch: Launch) -> Frame:
    kind = "chat.workflow_started" if isinstance(launch, Launched) else "chat.prereq_blocked"
    return Frame(kind, _launch(launch))


def batch_launched(launches: list[Launch]) -> Frame:
    begun = [_launch(one) for one in launches if isinstance(one, Launched)]
    blocked = [_launch(one) for one in launches if isinstance(one, Blocked)]
    data = {"count": len(begun), "workflows": begun, "blocked": blocked}
    return Frame("chat.workflow_batch_started", data)


def _launch(launch: Launch) -> Data:
    match launch:
        case Launched(key=key, workflow=workflow, user=user, label=label):
            named = {"chat_id": key.chat, "workflow_name": workflow, "app_id": key.app}
            return {**named, "user_id": user, "label": label}
        case Blocked(workflow=workflow, message=message, code=code):
            return {"workflow_name": workflow, "message": message, "error_code": code}


def error(message: str, code: str, **more: str) -> Frame:
    data = {"message": message, "error_code": code, **more}
    return Frame("chat.error", data, top={"message": message, "error_code": code})


def _stated(viewer: Viewer, seen: Seen, view: ChatView) -> list[Frame]:
    whole = [_raw(seen.envelope)] if viewer.everything else []
    if seen.event is None:
        return whole
    return whole + _shown(viewer, Fact(seen.envelope, seen.event), view)


def _raw(envelope: Envelope) -> Frame:
    kept = {"seq", "type", "version", "category", "time", "actor", "cause", "body"}
    return Frame("chat.event", envelope.model_dump(mode="json", include=kept))


def _shown(viewer: Viewer, fact: Fact, view: ChatView) -> list[Frame]:
    match fact.event:
        case ChatStarted():
            message = f"{view.workflow} has started"
            return [Frame("chat.run_start", {"agent": "", "message": message})]
        case UserMessageReceived(text=text):
            return [_words_of_the_person(fact, text)]
        case SpeakerSelected() as chosen:
            return [] if chosen.agent == SELECTOR else [_speaker(chosen)]
        case ModelResponded() as said:
            return _response(viewer, said)
        case ToolInvoked() as invoked:
            return _invoked(viewer, invoked, view)
        case ToolReturned(occasion="auto_invoke") as returned:
            return [_auto_returned(returned)]
        case ToolReturned(occasion=None) as returned:
            return [_returned(returned)] if is_heard(viewer, returned.agent) else []
        case ToolReturned():
            return []
        case AttachmentUploaded() as attached:
            return [_attachment(fact.envelope, attached)]
        case HumanAsked() as asked:
            return _question(viewer, asked)
        case HumanAnswered() as answered:
            return _answer(viewer, fact, answered)
        case QuestionExpired(question_id=question):
            expired = {"request_id": question, "input_request_id": question}
            return [Frame("chat.input_timeout", expired, top={"request_id": question})]
        case UiToolRequested() as requested:
            return [_component(requested, view)]
        case UiToolAnswered() as answer:
            return [_component_answered(answer, view)]
        case UsageRecorded() as usage:
            heard = viewer.everything or is_heard(viewer, usage.agent)
            return [_usage(fact.envelope, usage, view)] if heard else []
        case OutputStructured() as output:
            return [_structured(output, view)] if is_heard(viewer, output.agent) else []
        case TurnFailed(agent=agent, code=code, message=message):
            return [error(message, code, agent=agent)]
        case ChatCompleted(reason=reason):
            return [_end(fact.envelope, view, 1, reason)]
        case ChatFailed(code=code, message=message):
            return [error(message, code), _end(fact.envelope, view, 2, message)]
        case ChatCancelled(reason=reason):
            return [_end(fact.envelope, view, 3, reason or "cancelled")]
        case BusinessLogged() | VariablesChanged() | ModelRequested() | TurnCompleted():
            return []
        case ConversationProcessed() | HistoryCompacted() | ToolCodeChanged():
            return []


def _words_of_the_person(fact: Fact, text: str, **metadata: str) -> Frame:
    data = {
        "kind": "text",
        "agent": PERSON,
        "role": "user",
        "content": text,
        "index": fact.envelope.seq,
        "metadata": metadata,
    }
    return Frame("chat.text", data, top={"role": "user", "content": text})


def _words_of_an_agent(agent: AgentName, text: str, **more: Any) -> Frame:
    data = {"kind": "text", "agent": agent, "role": "assistant", "content": text, **more}
    return Frame("chat.text", data, top={"role": "assistant", "content": text})


def _speaker(chosen: SpeakerSelected) -> Frame:
    data = {
        "agent": chosen.agent,
        "selected_speaker": chosen.agent,
        "turn": chosen.turn,
        "by": chosen.by,
    }
    return Frame("chat.select_speaker", data, top={"selected_speaker": chosen.agent})


def _response(viewer: Viewer, said: ModelResponded) -> list[Frame]:
    if not is_heard(viewer, said.agent):
        return []
    place = {"turn": said.turn, "call": said.call}
    shown = said.text and not said.hidden
    words = [_words_of_an_agent(said.agent, said.text or "", **place, metadata={})] if shown else []
    return words + [_called(said, call) for call in said.tool_calls]


def _called(said: ModelResponded, call: ToolCall) -> Frame:
    data = {
        "agent": said.agent,
        "tool_call_id": call.id,
        "tool_name": call.name,
        "arguments": call.arguments,
        "turn": said.turn,
        "call": said.call,
        "phase": "called",
    }
    return Frame("chat.tool_activity", data)


def _returned(returned: ToolReturned) -> Frame:
    data = {
        "agent": returned.agent,
        "tool_call_id": returned.tool_call_id,
        "tool_name": returned.name,
        "turn": returned.turn,
        "call": returned.call,
        "phase": "returned",
        "status": returned.status,
        "content": returned.error or text_of(returned.parts),
    }
    return Frame("chat.tool_activity", data)


def _invoked(viewer: Viewer, invoked: ToolInvoked, view: ChatView) -> list[Frame]:
    """A tool that the runtime calls with an agent's output; what it calls around turns is no news."""
    if invoked.occasion != "auto_invoke":
        return []
    shown = {} if invoked.display is None else {"display": invoked.display, "mode": invoked.display}
    payload = {
        "tool_args": invoked.arguments,
        "agent_name": invoked.agent,
        "interaction_type": "auto_tool",
        "workflow_name": view.workflow,
        **shown,
    }
    if invoked.caption and is_heard(viewer, invoked.agent):
        payload["agent_message"] = invoked.caption
    data = {
        "agent": invoked.agent,
        "tool_name": invoked.name,
        "tool_call_id": invoked.tool_call_id,
        "corr": invoked.tool_call_id,
        "awaiting_response": False,
        "component_type": invoked.component or invoked.name,
        "interaction_type": "auto_tool",
        "payload": payload,
        **shown,
    }
    return [Frame("chat.tool_call", data, top={"awaiting_response": False})]


def _auto_returned(returned: ToolReturned) -> Frame:
    data = {
        "agent": returned.agent,
        "tool_name": returned.name,
        "call_id": returned.tool_call_id,
        "corr": returned.tool_call_id,
        "status": returned.status,
        "success": returned.status == "ok",
        "content": returned.error or text_of(returned.parts),
        "interaction_type": "auto_tool",
    }
    return Frame("chat.tool_response", data)


def _attachment(envelope: Envelope, attached: AttachmentUploaded) -> Frame:
    data = {
        "attachment_id": attached.attachment_id,
        "filename": attached.filename,
        "stored_path": attachment_key(envelope.key, attached.attachment_id),
        "size_bytes": attached.size_bytes,
        "content_type": attached.content_type,
        "intent": attached.intent,
        "bundle_path": attached.bundle_path,
        "uploaded_at_utc": envelope.time.isoformat(),
        "user_id": attached.user_id,
        "chat_id": envelope.chat_id,
        "app_id": envelope.app_id,
    }
    return Frame("chat.attachment_uploaded", data)


def of_progress(viewer: Viewer, progress: ToolProgressed) -> list[Frame]:
    if not is_heard(viewer, progress.agent):
        return []
    data = {
        "agent": progress.agent,
        "tool_name": progress.tool_name,
        "progress_percent": progress.percent,
        "status_message": progress.message,
        "corr": progress.tool_call_id,
        "turn": progress.turn,
    }
    return [Frame("chat.tool_progress", data)]


def _question(viewer: Viewer, asked: HumanAsked) -> list[Frame]:
    data = {
        "agent": asked.agent,
        "request_id": asked.question_id,
        "prompt": asked.prompt,
        "options": asked.options,
        "password": False,
        "expires_at": None if asked.expires_at is None else asked.expires_at.isoformat(),
        "turn": asked.turn,
        "tool_call_id": asked.tool_call_id,
    }
    request = Frame("chat.input_request", data, top={"request_id": asked.question_id})
    if viewer.has_cursor:
        return [request]
    # ChatUI never displays a prompt: unless it is also said, the person cannot know what is asked.
    return [_words_of_an_agent(asked.agent, asked.prompt, metadata={"source": "question"}), request]


def _answer(viewer: Viewer, fact: Fact, answered: HumanAnswered) -> list[Frame]:
    data = {
        "request_id": answered.question_id,
        "input_request_id": answered.question_id,
        "status": "accepted",
        "text": answered.text,
    }
    taken = Frame("chat.input_ack", data)
    if viewer.has_cursor:
        return [taken]
    # ChatUI ignores an ack, and swallows its own words when they come back; a second page needs them.
    named = {"input_request_id": str(answered.question_id)}
    return [_words_of_the_person(fact, answered.text, **named), taken]


def _component(requested: UiToolRequested, view: ChatView) -> Frame:
    shown = {"display": requested.display, "mode": requested.display}
    data = {
        "agent": requested.agent,
        "tool_name": requested.ui_tool_id,
        "ui_tool_id": requested.ui_tool_id,
        "component_type": requested.component,
        "awaiting_response": True,
        "corr": requested.question_id,
        "event_id": requested.question_id,
        "tool_call_id": requested.question_id,
        "display": requested.display,
        "display_type": requested.display,
        "payload": {**requested.payload, "workflow_name": view.workflow, **shown},
    }
    named = {"event_id": requested.question_id, "awaiting_response": True}
    return Frame("chat.tool_call", data, top=named)


def _component_answered(answer: UiToolAnswered, view: ChatView) -> Frame:
    asked = view.components.get(answer.question_id, Component("", "inline"))
    if asked.display == "artifact":
        gone = {"event_id": answer.question_id, "ui_tool_id": asked.ui_tool_id}
        return Frame("chat.ui_tool_dismiss", gone, top={"event_id": answer.question_id})
    status = answer.response.get("status")
    done = {
        "eventId": answer.question_id,
        "ui_tool_id": asked.ui_tool_id,
        "display": "inline",
        "status": status if isinstance(status, str) else "completed",
        "summary": f"{asked.ui_tool_id or 'component'} was answered",
    }
    return Frame("chat.ui_tool_complete", done, top={"eventId": answer.question_id})


def _usage(envelope: Envelope, usage: UsageRecorded, view: ChatView) -> Frame:
    data = {
        "agent": usage.agent,
        "agent_name": usage.agent,
        "model_name": usage.model,
        "prompt_tokens": _count(usage.tokens.prompt),
        "completion_tokens": _count(usage.tokens.completion),
        "total_tokens": _count(usage.tokens.total),
        "cached": usage.cached,
        "cost": usage.cost,
        "duration_sec": usage.duration,
        "event_id": envelope.event_id,
        "event_ts": envelope.time.isoformat(),
        "chat_id": envelope.chat_id,
        "app_id": envelope.app_id,
        "user_id": view.user,
        "workflow_name": envelope.workflow_name,
        "invocation_id": f"{usage.turn}.{usage.call}",
    }
    return Frame("chat.usage_delta", data)


def _count(tokens: float | None) -> int:
    return round(tokens or 0)


def _structured(output: OutputStructured, view: ChatView) -> Frame:
    data = {
        "agent": output.agent,
        "agent_name": output.agent,
        "model_name": output.model_name,
        "structured_data": output.data,
        "auto_tool_mode": output.auto_tool_mode,
        "turn": output.turn,
        "context": {
            "chat_id": view.key.chat,
            "app_id": view.key.app,
            "workflow_name": view.workflow,
            "agent_name": output.agent,
        },
    }
    return Frame("chat.structured_output_ready", data)


def _end(envelope: Envelope, view: ChatView, status: int, reason: str) -> Frame:
    totals = {
        "reason": reason,
        "duration_sec": round((envelope.time - view.started).total_seconds(), 3),
        "total_tokens": _count(view.tokens),
    }
    data = {"agent": "", "status": status, **totals}
    return Frame("chat.run_complete", data, top=totals)
