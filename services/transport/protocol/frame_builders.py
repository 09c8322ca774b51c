"""The frame of each single event, as ChatUI reads it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from contracts.codec import Fact
from contracts.deltas import TextStreamed, ToolProgressed, WaitReported
from contracts.envelope import Envelope
from contracts.events.chat import (
    AttachmentUploaded,
    ChatForked,
    ChatRewound,
    RewindRefused,
    TurnLimitReported,
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
    Approval,
    Audience,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import ToolCall, text_of
from contracts.events.turn import (
    RUNTIME,
    USER,
    ModelResponded,
    OutputStructured,
    TextInterrupted,
    ToolInvoked,
    ToolReturned,
    TurnStopped,
    UsageRecorded,
)
from contracts.ids import AgentName, QuestionId
from contracts.message_ids import client_message_id
from contracts.subjects import attachment_key
from contracts.wire.frames import (
    AnswerStoppedData,
    ApprovalData,
    AttachmentUploadedData,
    AudienceData,
    AutoToolCalledData,
    AutoToolPayload,
    AutoToolReturnedData,
    ChatArchivedData,
    ChatDeletedData,
    ChatEndedData,
    ChatRenamedData,
    ChatUndeletedData,
    ComponentCompletedData,
    ComponentDismissedData,
    ComponentRequestedData,
    DoubtData,
    EventData,
    ForkedData,
    MessageRefusedData,
    MessagesConsumedData,
    OutputContext,
    PrintData,
    QuestionAnsweredData,
    QuestionData,
    QuestionEscalatedData,
    QuestionExpiredData,
    RewindRefusedData,
    RewoundData,
    RunStartedData,
    SpeakerData,
    StructuredOutputData,
    TextData,
    ToolCalledData,
    ToolProgressData,
    ToolReturnedData,
    TurnLimitData,
    UsageData,
    WaitData,
)
from services.transport.protocol.chat_projection import ChatView, Component
from services.transport.protocol.frame_encoding import Frame
from services.transport.protocol.rewind_refusals import REFUSALS


def raw_event(envelope: Envelope) -> Frame:
    return Frame(
        EventData(
            seq=envelope.seq,
            type=envelope.type,
            version=envelope.version,
            category=envelope.category,
            time=envelope.time,
            actor=envelope.actor,
            cause=envelope.cause,
            body=envelope.body,
        )
    )


def user_text(
    fact: Fact,
    text: str,
    while_running: Literal["queue", "steer", "interrupt"] | None = None,
    **metadata: str,
) -> Frame:
    return Frame(
        TextData(
            while_running=while_running,
            agent=USER,
            role="user",
            content=text,
            client_message_id=client_message_id(fact.envelope.cause),
            index=fact.envelope.seq,
            metadata=metadata,
        )
    )


def question_text(asked: HumanAsked) -> Frame:
    """A question as a message of its agent, for ChatUI, which never displays a prompt."""
    return Frame(
        TextData(
            agent=asked.agent,
            role="assistant",
            content=_with_options(asked.prompt, asked.options),
            metadata={"source": "question"},
        )
    )


def _with_options(prompt: str, options: Sequence[str]) -> str:
    """The prompt, and the answers that it offers as a list in Markdown."""
    return "\n".join([prompt, "", *(f"- {option}" for option in options)]) if options else prompt


def run_started(view: ChatView) -> Frame:
    return Frame(RunStartedData(message=f"{view.workflow_name} has started"))


def text_chunk(streamed: TextStreamed) -> Frame:
    return Frame(
        PrintData(
            agent=streamed.agent,
            content=streamed.text,
            turn=streamed.turn,
            call=streamed.call,
            offset=streamed.offset,
            runner=streamed.runner,
        )
    )


def tool_progress(progress: ToolProgressed) -> Frame:
    return Frame(
        ToolProgressData(
            agent=progress.agent,
            tool_name=progress.tool_name,
            progress_percent=progress.percent,
            status_message=progress.message,
            corr=progress.tool_call_id,
            turn=progress.turn,
        )
    )


def provider_wait(wait: WaitReported) -> Frame:
    asks = (
        "asks to wait"
        if wait.code == "MODEL_RATE_LIMITED"
        else "did not answer as expected; waiting"
    )
    return Frame(
        WaitData(
            reason="provider",
            message=f"The model provider {asks} {wait.seconds:.3g} s: "
            f"attempt {wait.attempt} of {wait.attempts} follows.",
            agent=wait.agent,
            turn=wait.turn,
            code=wait.code,
            seconds=wait.seconds,
            attempt=wait.attempt,
            attempts=wait.attempts,
        )
    )


def takeover_wait() -> Frame:
    message = "The process that ran this chat is gone: another one goes on."
    return Frame(WaitData(reason="takeover", message=message))


def queue_wait() -> Frame:
    message = "Your message is stored and waits: no process has taken it up yet."
    return Frame(WaitData(reason="queue", message=message))


def speaker_selected(agent: AgentName, turn: int, by: str) -> Frame:
    return Frame(SpeakerData(agent=agent, selected_speaker=agent, turn=turn, by=by))


def turn_limit(reported: TurnLimitReported) -> Frame:
    return Frame(
        TurnLimitData(
            turns=reported.turns,
            max_turns=reported.max_turns,
            waits=reported.waits,
            message=_turn_limit_message(reported),
        )
    )


def turn_limit_text(reported: TurnLimitReported) -> Frame:
    """The same as a message of the runtime, for ChatUI, which shows no other frames of ours."""
    return runtime_text(_turn_limit_message(reported), "turn_limit")


def runtime_text(text: str, source: str) -> Frame:
    """A message of the runtime itself; `source` says what it is about."""
    return Frame(
        TextData(agent=RUNTIME, role="assistant", content=text, metadata={"source": source})
    )


def _turn_limit_message(reported: TurnLimitReported) -> str:
    if reported.waits:
        return f"The agents have had {reported.turns} turns. Send a message to let them go on."
    left = -reported.turns % reported.max_turns
    return f"Turn {reported.turns}: after {left} more turns the agents wait for a message of yours."


def model_response(response: ModelResponded, text: str) -> Frame:
    return Frame(
        TextData(
            agent=response.agent,
            role="assistant",
            content=text,
            turn=response.turn,
            call=response.call,
        )
    )


def interrupted_text(interrupted: TextInterrupted) -> Frame:
    return Frame(
        TextData(
            agent=interrupted.agent,
            role="assistant",
            content=interrupted.text,
            turn=interrupted.turn,
            call=interrupted.call,
            interrupted=interrupted.reason,
            offset=interrupted.offset or None,
        )
    )


def answer_stopped(stopped: TurnStopped) -> Frame:
    return Frame(AnswerStoppedData(agent=stopped.agent, turn=stopped.turn, by=stopped.by))


def list_changed(
    envelope: Envelope,
    event: ChatRenamed | ChatArchived | ChatUnarchived | ChatDeleted | ChatUndeleted,
) -> Frame:
    """What the user has changed of the chat's place in their list."""
    match event:
        case ChatRenamed(title=title):
            return Frame(ChatRenamedData(title=title))
        case ChatArchived() | ChatUnarchived():
            return Frame(ChatArchivedData(archived=isinstance(event, ChatArchived)))
        case ChatDeleted(grace_seconds=grace):
            erasable_at = envelope.time + timedelta(seconds=grace)
            return Frame(ChatDeletedData(erasable_at=erasable_at.isoformat()))
        case ChatUndeleted():
            return Frame(ChatUndeletedData())


def messages_consumed(consumed: UserMessagesConsumed) -> Frame:
    return Frame(
        MessagesConsumedData(
            agent=consumed.agent,
            turn=consumed.turn,
            call=consumed.call,
            messages=[int(one) for one in consumed.messages],
        )
    )


def message_refused(refused: UserMessageRefused) -> Frame:
    return Frame(MessageRefusedData(reason=refused.reason, message=refused.message))


def rewound(event: ChatRewound) -> Frame:
    restored = event.restored
    return Frame(
        RewoundData(
            to_seq=event.to_seq,
            kind=event.kind,
            chat_status=restored.status,
            open_questions=[one.question.question_id for one in restored.questions],
        )
    )


def rewind_refused(refused: RewindRefused) -> Frame:
    code, message = REFUSALS[refused.reason]
    return Frame(RewindRefusedData(kind=refused.kind, reason=code, message=message))


def tool_called(response: ModelResponded, call: ToolCall) -> Frame:
    return Frame(
        ToolCalledData(
            agent=response.agent,
            tool_call_id=call.id,
            tool_name=call.name,
            arguments=call.arguments,
            turn=response.turn,
            call=response.call,
        )
    )


def tool_returned(returned: ToolReturned) -> Frame:
    return Frame(
        ToolReturnedData(
            agent=returned.agent,
            tool_call_id=returned.tool_call_id,
            tool_name=returned.name,
            turn=returned.turn,
            call=returned.call,
            status=returned.status,
            content=returned.error or text_of(returned.parts),
        )
    )


def auto_tool_called(invoked: ToolInvoked, view: ChatView) -> Frame:
    display = (
        {} if invoked.display is None else {"display": invoked.display, "mode": invoked.display}
    )
    caption = {} if not invoked.caption else {"agent_message": invoked.caption}
    payload = {
        "tool_args": invoked.arguments,
        "agent_name": invoked.agent,
        "interaction_type": "auto_tool",
        "workflow_name": view.workflow_name,
        **display,
        **caption,
    }
    return Frame(
        AutoToolCalledData(
            agent=invoked.agent,
            tool_name=invoked.name,
            tool_call_id=invoked.tool_call_id,
            corr=invoked.tool_call_id,
            component_type=invoked.component or invoked.name,
            payload=payload,
            display=invoked.display,
            mode=invoked.display,
        )
    )


def auto_tool_returned(returned: ToolReturned) -> Frame:
    return Frame(
        AutoToolReturnedData(
            agent=returned.agent,
            tool_name=returned.name,
            call_id=returned.tool_call_id,
            corr=returned.tool_call_id,
            status=returned.status,
            success=returned.status == "ok",
            content=returned.error or text_of(returned.parts),
            payload=AutoToolPayload(agent_name=returned.agent),
        )
    )


def forked(event: ChatForked, view: ChatView) -> Frame:
    return Frame(
        ForkedData(chat_id=view.key.chat, origin_chat_id=event.origin, origin_sequence=event.seq)
    )


def attachment_uploaded(envelope: Envelope, attached: AttachmentUploaded, view: ChatView) -> Frame:
    return Frame(
        AttachmentUploadedData(
            attachment_id=attached.attachment_id,
            filename=attached.filename,
            stored_path=attachment_key(envelope.key, attached.attachment_id),
            size_bytes=attached.size_bytes,
            content_type=attached.content_type,
            intent=attached.intent,
            bundle_path=attached.bundle_path,
            uploaded_at_utc=envelope.time.isoformat(),
            user_id=attached.user_id,
            chat_id=view.key.chat,
            app_id=envelope.app_id,
        )
    )


def human_asked(asked: HumanAsked) -> Frame:
    return Frame(
        QuestionData(
            agent=asked.agent,
            request_id=asked.question_id,
            prompt=asked.prompt,
            options=asked.options,
            expires_at=None if asked.expires_at is None else asked.expires_at.isoformat(),
            turn=asked.turn,
            tool_call_id=asked.tool_call_id,
            approval=None if asked.approval is None else _approval(asked.approval),
            audience=None if asked.audience is None else _audience(asked.audience),
            doubt=None if asked.doubt is None else DoubtData(**asked.doubt.model_dump()),
        )
    )


def _approval(approval: Approval) -> ApprovalData:
    return ApprovalData(
        tool=approval.tool, digest=approval.digest, allow_always=approval.allow_always
    )


def _audience(audience: Audience) -> AudienceData:
    return AudienceData(users=[str(user) for user in audience.users], roles=audience.roles)


def human_answered(answered: HumanAnswered) -> Frame:
    is_named = answered.approved is not None or answered.role is not None
    return Frame(
        QuestionAnsweredData(
            request_id=answered.question_id,
            input_request_id=answered.question_id,
            text=answered.text,
            approved=answered.approved,
            always=True if answered.approved and answered.always else None,
            answered_by=answered.user_id if is_named and not answered.by_default else None,
        )
    )


def question_escalated(escalated: QuestionEscalated) -> Frame:
    return Frame(
        QuestionEscalatedData(request_id=escalated.question_id, to=_audience(escalated.to))
    )


def question_expired(question_id: QuestionId) -> Frame:
    return Frame(QuestionExpiredData(request_id=question_id, input_request_id=question_id))


def component_requested(
    requested: UiToolRequested, payload: Mapping[str, Any], view: ChatView
) -> Frame:
    display = {"display": requested.display, "mode": requested.display}
    return Frame(
        ComponentRequestedData(
            agent=requested.agent,
            tool_name=requested.ui_tool_id,
            ui_tool_id=requested.ui_tool_id,
            component_type=requested.component,
            corr=requested.question_id,
            event_id=requested.question_id,
            tool_call_id=requested.question_id,
            display=requested.display,
            display_type=requested.display,
            payload={**payload, "workflow_name": view.workflow_name, **display},
        )
    )


def component_answered(answer: UiToolAnswered, view: ChatView) -> Frame:
    asked = view.components.get(answer.question_id, Component("", "inline"))
    if asked.display == "artifact":
        return Frame(
            ComponentDismissedData(
                event_id=answer.question_id,
                ui_tool_id=asked.ui_tool_id,
                response=answer.response,
            )
        )
    status = answer.response.get("status")
    return Frame(
        ComponentCompletedData(
            eventId=answer.question_id,
            ui_tool_id=asked.ui_tool_id,
            status=status if isinstance(status, str) else "completed",
            summary=f"{asked.ui_tool_id or 'component'} was answered",
            response=answer.response,
        )
    )


def usage_recorded(envelope: Envelope, usage: UsageRecorded, view: ChatView) -> Frame:
    return Frame(
        UsageData(
            agent=usage.agent,
            agent_name=usage.agent,
            model_name=usage.model,
            prompt_tokens=_count(usage.tokens.prompt),
            completion_tokens=_count(usage.tokens.completion),
            total_tokens=_count(usage.tokens.total),
            cached=usage.cached,
            cost=usage.cost,
            duration_sec=usage.duration,
            event_id=envelope.event_id,
            event_ts=envelope.time.isoformat(),
            chat_id=view.key.chat,
            app_id=envelope.app_id,
            user_id=view.user,
            workflow_name=envelope.workflow_name,
            invocation_id=f"{usage.turn}.{usage.call}",
        )
    )


def _count(tokens: float | None) -> int:
    return round(tokens or 0)


def output_structured(output: OutputStructured, view: ChatView) -> Frame:
    return Frame(
        StructuredOutputData(
            agent=output.agent,
            agent_name=output.agent,
            model_name=output.model_name,
            structured_data=output.data,
            auto_tool_mode=output.auto_tool_mode,
            turn=output.turn,
            context=OutputContext(
                chat_id=view.key.chat,
                app_id=view.key.app,
                workflow_name=view.workflow_name,
                agent_name=output.agent,
            ),
        )
    )


def chat_ended(envelope: Envelope, view: ChatView, status: Literal[1, 2, 3], reason: str) -> Frame:
    return Frame(
        ChatEndedData(
            status=status,
            reason=reason,
            duration_sec=round((envelope.time - view.created_at).total_seconds(), 3),
            total_tokens=view.totals.total_tokens,
            cost=view.totals.cost,
        )
    )
