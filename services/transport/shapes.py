"""The frames of single events, as ChatUI reads them: some of it in `data`, some beside `type`."""

from typing import Any

from contracts.codec import Fact
from contracts.envelope import Envelope
from contracts.events.chat import AttachmentUploaded
from contracts.events.human import HumanAnswered, HumanAsked, UiToolAnswered, UiToolRequested
from contracts.events.parts import ToolCall, text_of
from contracts.events.turn import (
    ModelResponded,
    OutputStructured,
    ToolInvoked,
    ToolReturned,
    UsageRecorded,
)
from contracts.ids import AgentName, QuestionId
from contracts.live import TextStreamed, ToolProgressed
from contracts.subjects import attachment_key
from services.transport.chatview import PERSON, ChatView, Component
from services.transport.frames import Frame


def raw(envelope: Envelope) -> Frame:
    kept = {"seq", "type", "version", "category", "time", "actor", "cause", "body"}
    return Frame("chat.event", envelope.model_dump(mode="json", include=kept))


def words_of_the_person(fact: Fact, text: str, **metadata: str) -> Frame:
    data = {
        "kind": "text",
        "agent": PERSON,
        "role": "user",
        "content": text,
        "index": fact.envelope.seq,
        "metadata": metadata,
    }
    return Frame("chat.text", data, top={"role": "user", "content": text})


def words_of_an_agent(agent: AgentName, text: str, **more: Any) -> Frame:
    data = {"kind": "text", "agent": agent, "role": "assistant", "content": text, **more}
    return Frame("chat.text", data, top={"role": "assistant", "content": text})


def run_started(view: ChatView) -> Frame:
    return Frame("chat.run_start", {"agent": "", "message": f"{view.workflow} has started"})


def chunk(streamed: TextStreamed) -> Frame:
    data = {
        "kind": "print",
        "agent": streamed.agent,
        "content": streamed.text,
        "turn": streamed.turn,
        "call": streamed.call,
        "offset": streamed.offset,
        "runner": streamed.runner,
    }
    return Frame("chat.print", data, top={"content": streamed.text})


def progress(told: ToolProgressed) -> Frame:
    data = {
        "agent": told.agent,
        "tool_name": told.tool_name,
        "progress_percent": told.percent,
        "status_message": told.message,
        "corr": told.tool_call_id,
        "turn": told.turn,
    }
    return Frame("chat.tool_progress", data)


def speaker(agent: AgentName, turn: int, by: str) -> Frame:
    data = {"agent": agent, "selected_speaker": agent, "turn": turn, "by": by}
    return Frame("chat.select_speaker", data, top={"selected_speaker": agent})


def response(said: ModelResponded, text: str) -> Frame:
    return words_of_an_agent(said.agent, text, turn=said.turn, call=said.call, metadata={})


def called(said: ModelResponded, call: ToolCall) -> Frame:
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


def returned(returned: ToolReturned) -> Frame:
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


def auto_called(invoked: ToolInvoked, view: ChatView) -> Frame:
    shown = {} if invoked.display is None else {"display": invoked.display, "mode": invoked.display}
    caption = {} if not invoked.caption else {"agent_message": invoked.caption}
    payload = {
        "tool_args": invoked.arguments,
        "agent_name": invoked.agent,
        "interaction_type": "auto_tool",
        "workflow_name": view.workflow,
        **shown,
        **caption,
    }
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
    return Frame("chat.tool_call", data, top={"awaiting_response": False})


def auto_returned(returned: ToolReturned) -> Frame:
    data = {
        "agent": returned.agent,
        "tool_name": returned.name,
        "call_id": returned.tool_call_id,
        "corr": returned.tool_call_id,
        "status": returned.status,
        "success": returned.status == "ok",
        "content": returned.error or text_of(returned.parts),
        "payload": {"agent_name": returned.agent, "interaction_type": "auto_tool"},
        "interaction_type": "auto_tool",
    }
    return Frame("chat.tool_response", data)


def attachment(envelope: Envelope, attached: AttachmentUploaded) -> Frame:
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


def question(asked: HumanAsked) -> Frame:
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
    return Frame("chat.input_request", data, top={"request_id": asked.question_id})


def answer_taken(answered: HumanAnswered) -> Frame:
    data = {
        "request_id": answered.question_id,
        "input_request_id": answered.question_id,
        "status": "accepted",
        "text": answered.text,
    }
    return Frame("chat.input_ack", data)


def expired(question_id: QuestionId) -> Frame:
    data = {"request_id": question_id, "input_request_id": question_id}
    return Frame("chat.input_timeout", data, top={"request_id": question_id})


def component(requested: UiToolRequested, view: ChatView) -> Frame:
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


def component_answered(answer: UiToolAnswered, view: ChatView) -> Frame:
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


def usage(envelope: Envelope, usage: UsageRecorded, view: ChatView) -> Frame:
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


def structured(output: OutputStructured, view: ChatView) -> Frame:
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


def end(envelope: Envelope, view: ChatView, status: int, reason: str) -> Frame:
    totals = {
        "reason": reason,
        "duration_sec": round((envelope.time - view.started).total_seconds(), 3),
        "total_tokens": _count(view.tokens),
        "cost": view.cost,
    }
    data = {"agent": "", "status": status, **totals}
    return Frame("chat.run_complete", data, top=totals)
