from collections.abc import Sequence
from typing import Any

import pytest
from ag_ui.core import BaseEvent, RunAgentInput
from pydantic import ValidationError

from contracts import event_log, subjects
from contracts.codec import Fact, Origin
from contracts.deltas import ToolProgressed
from contracts.event_log import Head
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatFailed, UserMessageRefused
from contracts.events.human import Approval, Audience, HumanAnswered
from contracts.events.parts import TextPart
from contracts.events.turn import (
    InterruptionReason,
    ModelResponded,
    SpeakerSelected,
    TextInterrupted,
    TurnStopped,
    VariablesChanged,
)
from contracts.ids import AgentName, QuestionId, RunnerId, Seq
from contracts.large_values import LargeValue
from contracts.subjects import InvalidIdError
from services.transport.agui import run_input
from services.transport.agui.commands import (
    AnswerComponent,
    AnswerText,
    SendText,
    commands_for,
    completion_ids,
)
from services.transport.agui.mapper import MappedEvents, RunMapper
from services.transport.agui.messages import ConversationBuilder
from services.transport.agui.run_input import RunInput
from services.transport.agui.state import ThreadHistory, ThreadState, apply, extend, start_state
from services.transport.chats.answers import TextAnswer
from services.transport.errors import ApiError
from services.transport.protocol import event_to_frames
from services.transport.protocol.chat_projection import ChatView
from services.transport.protocol.chat_projection import apply as apply_view
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.validation import validation_error
from tests.transport.story import (
    ANA,
    CALLED,
    COMPLETED,
    DONE,
    KEY,
    NOON,
    PLANNER,
    QUESTION,
    REQUESTED,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    USED,
    WORKFLOW,
    YOUR_TURN,
    chunk,
    component_answered,
    component_requested,
    question_answered,
    question_asked,
    sealed,
    stored_event,
    unknown_event,
    user_message,
    view_after,
)

VIEWER = Viewer()
HELLO = {"id": "m-1", "role": "user", "content": "Hello"}
COUNTED = VariablesChanged(turn=1, agent=PLANNER, changed={"days": 7, "_own": 1})


def run(*messages: dict[str, Any], **more: Any) -> RunInput:
    body = {"threadId": "t", "runId": "r", "messages": list(messages), **more}
    return run_input.parse_run_input(RunAgentInput.model_validate(body, strict=True), None, 1000)


def wire(events: Sequence[BaseEvent]) -> list[dict[str, Any]]:
    return [event.model_dump(mode="json", by_alias=True) for event in events]


class MappedChat:
    """A chat that is mapped for one client, event by event."""

    def __init__(
        self, run_input: RunInput | None = None, *history: Event, completion_ids: Sequence[str] = ()
    ):
        self._run_input = run_input or run()
        self._facts = sealed(STARTED, *history)
        self._view = self._seen(self._facts)
        state = ThreadState()
        for fact in self._facts:
            state = apply(state, fact)
        self.mapper = RunMapper(self._run_input, KEY.chat, state, frozenset(completion_ids))
        self.opening_events = wire(self.mapper.opening_events(self._view).events)

    def _seen(self, facts: list[Fact]) -> ChatView:
        return view_after(facts)

    def map(self, *events: Event, viewer: Viewer = VIEWER) -> list[MappedEvents]:
        new_facts = sealed(*events, after=len(self._facts))
        items: list[MappedEvents] = []
        for fact in new_facts:
            self._facts.append(fact)
            self._view = apply_view(self._view, fact.envelope, fact.event)
            stored = stored_event(fact)
            items += self.mapper.map_event(viewer, stored, self._view)
        return items

    def events(self, *events: Event, viewer: Viewer = VIEWER) -> list[dict[str, Any]]:
        return [one for mapped in self.map(*events, viewer=viewer) for one in wire(mapped.events)]

    def chunk(self, offset: int, text: str, runner: str = "r1") -> list[dict[str, Any]]:
        items = self.mapper.map_chunk(VIEWER, chunk(offset, text, runner))
        return [one for mapped in items for one in wire(mapped.events)]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def text(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "TEXT_MESSAGE_CONTENT")


def test_a_run_starts_with_the_chat_its_variables_and_the_open_step() -> None:
    chat = MappedChat(run(), SELECTED, COUNTED)
    started, meta, state, step = chat.opening_events
    assert started == {
        "type": "RUN_STARTED",
        "threadId": "t",
        "runId": "r",
        "protocolVersion": "1.0",
    }
    assert (meta["name"], meta["value"]["chat_id"]) == ("chat_meta", KEY.chat)
    assert state == {"type": "STATE_SNAPSHOT", "snapshot": {"days": 7}}
    assert step == {"type": "STEP_STARTED", "stepName": PLANNER}


def test_a_turn_with_a_tool_is_mapped_to_events_of_ag_ui() -> None:
    events = MappedChat().events(
        user_message("Hi"), SELECTED, REQUESTED, CALLED, RETURNED, DONE, YOUR_TURN
    )
    assert events == [
        {"type": "TEXT_MESSAGE_START", "messageId": "c-1.2", "role": "user"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "c-1.2", "delta": "Hi"},
        {"type": "TEXT_MESSAGE_END", "messageId": "c-1.2"},
        {"type": "STEP_STARTED", "stepName": PLANNER},
        {
            "type": "TEXT_MESSAGE_START",
            "messageId": "c-1.1.0",
            "role": "assistant",
            "name": PLANNER,
        },
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "c-1.1.0", "delta": "Let me look."},
        {"type": "TEXT_MESSAGE_END", "messageId": "c-1.1.0"},
        {
            "type": "TOOL_CALL_START",
            "toolCallId": "1.call-1",
            "toolCallName": "look",
            "parentMessageId": "c-1.1.0",
        },
        {"type": "TOOL_CALL_ARGS", "toolCallId": "1.call-1", "delta": '{"at":1}'},
        {"type": "TOOL_CALL_END", "toolCallId": "1.call-1"},
        {
            "type": "TOOL_CALL_RESULT",
            "messageId": "c-1.1.call-1.result",
            "toolCallId": "1.call-1",
            "content": "seen",
            "role": "tool",
        },
        {"type": "STEP_FINISHED", "stepName": PLANNER},
        {
            "type": "RUN_FINISHED",
            "threadId": "t",
            "runId": "r",
            "result": {"chat_id": "c-1", "last_sequence": 8, "ended": False},
            "outcome": {"type": "success"},
        },
    ]


def test_streamed_text_is_not_sent_again_when_it_is_stored() -> None:
    chat = MappedChat()
    chat.events(SELECTED, REQUESTED)
    events = chat.chunk(0, "A pl") + chat.chunk(4, "a") + chat.events(RESPONDED)
    assert text(events) == "A plan."
    assert kinds(events) == [
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 3,
        "TEXT_MESSAGE_END",
    ]


def test_a_repeated_model_call_continues_where_its_text_is_the_same() -> None:
    chat = MappedChat()
    chat.events(SELECTED, REQUESTED)
    events = chat.chunk(0, "A pl") + chat.chunk(0, "A ", "r2") + chat.chunk(2, "plan", "r2")
    assert text(events + chat.events(RESPONDED)) == "A plan."


def test_replaced_text_needs_a_snapshot_of_the_conversation() -> None:
    chat = MappedChat()
    chat.events(SELECTED, REQUESTED)
    assert text(chat.chunk(0, "Well, ") + chat.chunk(0, "A plan", "r2")) == "Well, "
    (mapped,) = chat.map(RESPONDED)
    assert (mapped.needs_snapshot, wire(mapped.events)) == (
        True,
        [{"type": "TEXT_MESSAGE_END", "messageId": "c-1.1.0"}],
    )


def test_a_conversation_is_built_from_its_events() -> None:
    full = ConversationBuilder(VIEWER)
    for fact in sealed(STARTED, user_message("Hi"), SELECTED, CALLED, RETURNED):
        full.add(fact)
    call = {"name": "look", "arguments": '{"at":1}'}
    assert [m.model_dump(mode="json", by_alias=True) for m in full.messages] == [
        {"id": "c-1.2", "role": "user", "content": "Hi"},
        {
            "id": "c-1.1.0",
            "role": "assistant",
            "name": PLANNER,
            "content": "Let me look.",
            "toolCalls": [{"id": "1.call-1", "type": "function", "function": call}],
        },
        {
            "id": "c-1.1.call-1.result",
            "role": "tool",
            "content": "seen",
            "toolCallId": "1.call-1",
        },
    ]


def test_a_client_gets_only_text_that_it_does_not_have() -> None:
    part = {"id": "c-1.1.0", "role": "assistant", "content": "Let me"}
    events = MappedChat(run(part)).events(SELECTED, REQUESTED, CALLED)
    assert text(events) == " look."
    call = {"id": "1.call-1", "type": "function", "function": {"name": "look", "arguments": "{"}}
    full = {**part, "content": "Let me look.", "toolCalls": [call]}
    events = MappedChat(run(full)).events(CALLED)
    assert kinds(events) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]
    assert events[1]["delta"] == '"at":1}'
    call["function"] = {"name": "look", "arguments": '{"at":1}'}
    result = {
        "id": "c-1.1.call-1.result",
        "role": "tool",
        "content": "seen",
        "toolCallId": "1.call-1",
    }
    assert MappedChat(run(full, result)).events(CALLED, RETURNED) == []


def test_hidden_text_and_agents_that_are_not_visual_are_not_sent() -> None:
    hidden = ModelResponded(turn=1, call=0, agent=PLANNER, text="secret", hidden=True)
    assert MappedChat().events(hidden) == []
    others = Viewer(agents=frozenset([AgentName("Writer")]))
    assert MappedChat().events(CALLED, RETURNED, USED, viewer=others) == []
    chat = MappedChat()
    chat.chunk(0, "sec")
    assert kinds(chat.events(hidden)) == ["TEXT_MESSAGE_END"]


def test_changed_variables_are_a_json_patch_without_reserved_ones() -> None:
    chat = MappedChat()
    assert chat.events(COUNTED)[0]["delta"] == [{"op": "add", "path": "/days", "value": 7}]
    again = VariablesChanged(turn=1, agent=PLANNER, changed={"days": 8, "a/b~c": None})
    assert chat.events(again)[0]["delta"] == [
        {"op": "replace", "path": "/days", "value": 8},
        {"op": "add", "path": "/a~1b~0c", "value": None},
    ]
    gone = VariablesChanged(turn=1, agent=PLANNER, removed=["days", "never"])
    assert chat.events(gone)[0]["delta"] == [{"op": "remove", "path": "/days"}]
    assert chat.events(VariablesChanged(turn=1, agent=PLANNER, changed={"app_id": "x"})) == []


def test_a_question_ends_the_run_as_an_interrupt() -> None:
    events = MappedChat().events(SELECTED, CALLED, question_asked())
    assert kinds(events)[-3:] == ["CUSTOM", "STEP_FINISHED", "RUN_FINISHED"]
    assert events[-3]["name"] == "chat.input_request"
    assert events[-1]["outcome"] == {
        "type": "interrupt",
        "interrupts": [
            {
                "id": QUESTION,
                "reason": "input_required",
                "message": "Which colour?",
                "toolCallId": "1.call-1",
                "responseSchema": {"type": "string", "examples": ["red", "blue"]},
                "metadata": {"agent": PLANNER, "options": ["red", "blue"]},
            }
        ],
    }


def test_an_approval_ends_the_run_as_an_interrupt_with_its_call_and_its_audience() -> None:
    approval = Approval(tool="pay", digest="ab")
    asked = question_asked().model_copy(
        update={"approval": approval, "audience": Audience(roles=["finance"])}
    )
    (interrupt,) = MappedChat().events(SELECTED, asked)[-1]["outcome"]["interrupts"]
    assert interrupt["metadata"]["approval"] == approval.model_dump()
    assert interrupt["metadata"]["audience"] == {"users": [], "roles": ["finance"]}
    kinds = [one["type"] for one in interrupt["responseSchema"]["anyOf"]]
    assert kinds == ["string", "boolean", "object"]


def test_a_component_ends_the_run_as_an_interrupt_with_its_payload() -> None:
    (interrupt,) = MappedChat().events(SELECTED, component_requested())[-1]["outcome"]["interrupts"]
    assert (interrupt["reason"], interrupt["responseSchema"]) == (
        "mozaiks:component",
        {"type": "object"},
    )
    assert interrupt["metadata"] == {
        "agent": PLANNER,
        "ui_tool_id": "pick_colour",
        "component": "ColourPicker",
        "display": "inline",
        "payload": {"colours": 2},
    }


@pytest.mark.parametrize(
    ("end", "last"),
    [
        (COMPLETED, {"type": "success"}),
        (ChatCancelled(user_id=ANA), {"type": "cancelled"}),
    ],
)
def test_an_ended_chat_finishes_its_run_and_nothing_is_sent_after(
    end: Event, last: dict[str, str]
) -> None:
    chat = MappedChat(None, SELECTED)
    chat.chunk(0, "A pl")
    events = chat.events(end)
    assert kinds(events) == ["TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"]
    assert (events[-1]["outcome"], events[-1]["result"]["ended"]) == (last, True)
    progress = ToolProgressed(
        turn=1, agent=PLANNER, runner=chunk(0, "").runner, tool_call_id="c", tool_name="look"
    )
    assert chat.events(user_message("more")) == chat.chunk(0, "A") == []
    assert chat.mapper.map_report(VIEWER, progress) == []


def test_a_failed_chat_is_an_error_of_its_run() -> None:
    events = MappedChat().events(SELECTED, ChatFailed(code="BROKEN", message="It broke."))
    assert events[-1] == {"type": "RUN_ERROR", "message": "It broke.", "code": "BROKEN"}


def test_events_without_an_ag_ui_type_are_custom_events_with_the_frames_of_chat_ui() -> None:
    (usage,) = MappedChat().events(USED)
    assert (usage["type"], usage["name"]) == ("CUSTOM", "chat.usage_delta")
    assert usage["value"]["total_tokens"] == 7


def test_a_run_finishes_only_after_all_its_messages_and_answers_are_in_the_log() -> None:
    chat = MappedChat(run(), SELECTED, question_asked(), completion_ids=[QUESTION])
    view = chat._view
    assert chat.mapper.boundary(view, Seq(3), 0, "auto") == [MappedEvents()]
    assert kinds(chat.events(question_answered())) == ["CUSTOM"]
    assert kinds(chat.events(DONE, YOUR_TURN)) == ["STEP_FINISHED", "RUN_FINISHED"]


def test_a_run_with_nothing_pending_ends_after_the_history() -> None:
    chat = MappedChat(run(), YOUR_TURN)
    (mapped,) = chat.mapper.boundary(chat._view, Seq(2), 0, "auto")
    assert (mapped.last, mapped.seq, kinds(wire(mapped.events))) == (True, 2, ["RUN_FINISHED"])


def test_turns_of_the_user_and_of_the_selector_are_not_steps() -> None:
    chosen = SpeakerSelected(turn=1, agent=AgentName("_selector"), by="auto")
    assert MappedChat().events(chosen) == []


def test_an_event_of_a_newer_release_is_skipped() -> None:
    chat, (fact,) = MappedChat(), sealed(user_message("x"), after=1)
    assert chat.mapper.map_event(VIEWER, unknown_event(fact), chat._view) == []


def test_an_answer_is_a_custom_event_with_its_frame() -> None:
    view = MappedChat(run(), SELECTED, question_asked())._view
    (fact,) = sealed(question_answered(), after=3)
    frames = event_to_frames.map_event(VIEWER, stored_event(fact), view)
    (event,) = MappedChat(run(), SELECTED, question_asked(), completion_ids=["x"]).events(
        question_answered()
    )
    assert [(f.type, f.data.model_dump(mode="json")) for f in frames] == [
        (event["name"], event["value"])
    ]


# -- the commands of a run, and the state it starts from ------------------------------------------


def history(
    run_input: RunInput, *events: Event, causes: dict[int, str] | None = None
) -> ThreadHistory:
    full = ThreadHistory()
    for fact in sealed(STARTED, *events):
        cause = (causes or {}).get(fact.envelope.seq, "test")
        caused = Fact(fact.envelope.model_copy(update={"cause": cause}), fact.event)
        full = extend(full, caused, run_input.after, run_input.action_ids)
    return full


def starts(run_input: RunInput, log: ThreadHistory) -> int:
    return start_state(log, run_input.after, run_input.action_ids).seq


SENT_BEFORE = "agui-say.acme.c-1.m-1"


def test_a_new_message_is_sent_and_streamed_from_where_the_chat_last_waited() -> None:
    run_input = run(HELLO)
    log = history(run_input, SELECTED, question_asked(), USED)
    assert starts(run_input, log) == 3
    assert starts(run_input, history(run_input, SELECTED, YOUR_TURN)) == 3
    (say,) = commands_for(run_input, history(run_input, SELECTED, YOUR_TURN))
    assert isinstance(say, SendText)
    assert (say.message.text, completion_ids([say])) == ("Hello", frozenset(["m-1"]))


def test_a_message_of_an_earlier_run_is_not_sent_again() -> None:
    run_input = run(HELLO)
    log = history(run_input, YOUR_TURN, user_message("Hello"), SELECTED, causes={3: SENT_BEFORE})
    assert (commands_for(run_input, log), starts(run_input, log)) == ([], 2)


def test_a_message_of_another_client_is_known_by_the_id_it_was_streamed_with() -> None:
    run_input = run({"id": "c-1.3", "role": "user", "content": "Hello"})
    assert commands_for(run_input, history(run_input, YOUR_TURN, user_message("Hello"))) == []


def test_a_message_answers_the_open_question() -> None:
    run_input = run(HELLO)
    (deed,) = commands_for(run_input, history(run_input, SELECTED, question_asked()))
    assert isinstance(deed, AnswerText)
    assert (deed.question, deed.answer.text, completion_ids([deed])) == (
        QUESTION,
        "Hello",
        frozenset([QUESTION]),
    )


def resume(
    payload: Any = None, status: str = "resolved", to: str = QUESTION
) -> list[dict[str, Any]]:
    return [{"interruptId": to, "status": status, "payload": payload}]


def test_interrupts_are_answered_by_the_resume_of_the_run() -> None:
    text_run, component = run(resume=resume("red")), run(resume=resume({"colour": "red"}))
    assert commands_for(text_run, history(text_run, SELECTED, question_asked())) == [
        AnswerText(QUESTION, TextAnswer("red"))
    ]
    assert commands_for(component, history(component, SELECTED, component_requested())) == [
        AnswerComponent(QUESTION, {"colour": "red"})
    ]
    wrapped = run(resume=resume(7))
    assert commands_for(wrapped, history(wrapped, component_requested())) == [
        AnswerComponent(QUESTION, {"value": 7})
    ]


APPROVAL = question_asked().model_copy(
    update={"approval": Approval(tool="pay", digest="d" * 64, allow_always=True)}
)


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ("yes", TextAnswer("yes")),
        (True, TextAnswer(approved=True)),
        ({"approved": False, "text": "Only 10!"}, TextAnswer("Only 10!", approved=False)),
        ({"approved": True, "always": True}, TextAnswer(approved=True, always=True)),
    ],
)
def test_an_approval_is_answered_by_text_or_by_a_decision(payload: Any, answer: TextAnswer) -> None:
    asked = run(resume=resume(payload))
    assert commands_for(asked, history(asked, SELECTED, APPROVAL)) == [AnswerText(QUESTION, answer)]


@pytest.mark.parametrize("payload", [7, None, {"approved": "yes"}, {"approved": True, "text": 1}])
def test_another_answer_to_an_approval_is_refused(payload: Any) -> None:
    asked = run(resume=resume(payload))
    with pytest.raises(ApiError, match="payload"):
        commands_for(asked, history(asked, SELECTED, APPROVAL))


def test_a_cancelled_approval_is_a_denial() -> None:
    left = run(resume=resume(status="cancelled"))
    assert commands_for(left, history(left, SELECTED, APPROVAL)) == [
        AnswerText(QUESTION, TextAnswer("", approved=False))
    ]


def test_a_message_is_no_answer_to_a_question_for_somebody_else() -> None:
    others = question_asked().model_copy(update={"audience": Audience(roles=["finance"])})
    run_input = run(HELLO)
    (command,) = commands_for(run_input, history(run_input, SELECTED, others))
    assert isinstance(command, SendText)


def test_cancelled_interrupts_are_answered_with_an_empty_answer() -> None:
    left = run(resume=resume(status="cancelled"))
    assert commands_for(left, history(left, SELECTED, question_asked())) == [
        AnswerText(QUESTION, TextAnswer(""))
    ]
    assert commands_for(left, history(left, SELECTED, component_requested())) == [
        AnswerComponent(QUESTION, {"status": "cancelled"})
    ]


@pytest.mark.parametrize("answered", [question_asked(), component_requested()])
def test_an_interrupt_that_is_answered_already_is_not_answered_again(answered: Event) -> None:
    run_input = run(resume=resume("blue"))
    given = question_answered() if answered == question_asked() else component_answered()
    log = history(run_input, SELECTED, answered, given, DONE, YOUR_TURN)
    assert (commands_for(run_input, log), starts(run_input, log)) == ([], 3)


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        (resume("x", to="other"), "resume.0"),
        (resume(""), "resume.0.payload"),
        (resume(7), "resume.0.payload"),
    ],
)
def test_an_invalid_answer_is_rejected_by_its_field(
    entries: list[dict[str, Any]], field: str
) -> None:
    run_input = run(resume=entries)
    with pytest.raises(ApiError) as refused:
        commands_for(run_input, history(run_input, SELECTED, question_asked()))
    assert refused.value.field == field


def test_a_run_starts_at_its_cursor_and_without_cursor_or_actions_at_the_beginning() -> None:
    run_input = run(HELLO, forwardedProps={"after": 2})
    log = history(run_input, SELECTED, YOUR_TURN, COUNTED)
    assert starts(run_input, log) == 2
    assert start_state(log, run_input.after, run_input.action_ids).variables == {}
    assert starts(run(), history(run(), SELECTED, YOUR_TURN)) == 0


def test_an_answer_that_was_sent_as_a_message_is_streamed_as_that_message() -> None:
    fact = sealed(
        HumanAnswered(question_id=QuestionId(QUESTION), user_id=ANA, text="Hello"), after=3
    )[0]
    caused = Fact(fact.envelope.model_copy(update={"cause": SENT_BEFORE}), fact.event)
    full = ConversationBuilder(VIEWER)
    full.add(caused)
    assert [m.id for m in full.messages] == ["m-1"]


# -- what a client may send -----------------------------------------------------------------------


def test_the_variables_of_a_new_thread_come_from_its_state_and_forwarded_props() -> None:
    run_input = run(state={"a": 1, "b": 1}, forwardedProps={"b": 2, "after": "5"})
    assert (run_input.variables, run_input.after) == ({"a": 1, "b": 2}, 5)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"threadId": ""}, "threadId"),
        ({"threadId": "x" * 200}, "threadId"),
        ({"runId": None}, "runId"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{**HELLO, "content": " "}]}, "messages.0.content"),
        ({"messages": [{**HELLO, "content": "x" * 1001}]}, "messages.0.content"),
        ({"messages": [{**HELLO, "id": ""}]}, "messages.0.id"),
        (
            {
                "messages": [
                    {
                        **HELLO,
                        "content": [
                            {"type": "image", "source": {"type": "url", "value": "http://x"}}
                        ],
                    }
                ]
            },
            "messages.0.content",
        ),
        ({"state": [1]}, "state"),
        ({"state": {"app_id": "x"}}, "state.app_id"),
        ({"forwardedProps": 7}, "forwardedProps"),
        ({"forwardedProps": {"_own": 1}}, "forwardedProps._own"),
        ({"forwardedProps": {"after": "x"}}, "forwardedProps.after"),
        ({"resume": [{"interruptId": "x", "status": "maybe"}]}, "resume.0.status"),
    ],
)
def test_an_invalid_run_is_rejected_by_its_field(body: dict[str, Any], field: str) -> None:
    full = {"threadId": "t", "runId": "r", "messages": [], **body}
    with pytest.raises((ApiError, InvalidIdError, ValidationError)) as refused:
        run(**full)
    error = refused.value
    text = str(validation_error(error, "body") if isinstance(error, ValidationError) else error)
    assert text.startswith(f"{field}: ")


def test_the_last_event_id_of_a_client_takes_precedence_over_its_cursor() -> None:
    body = RunAgentInput(thread_id="t", run_id="r", messages=[], forwarded_props={"after": 2})
    assert run_input.parse_run_input(body, Seq(5), 1000).after == 5


# -- large values --------------------------------------------------------------------------------------


def large(event: Event, seq: int) -> Fact:
    """The event as it is read from the log, with previews of its large values."""
    origin = Origin(KEY, WORKFLOW, NOON, "c")
    decision = event_log.seal([event], Head(Seq(seq - 1), "d"), [origin])
    (stored,) = event_log.read(subjects.event(KEY, event.category), decision.data).events
    assert stored.fact is not None
    return stored.fact


PAGE = VariablesChanged(turn=1, agent=PLANNER, changed={"page": "x" * 900_000, "days": 7})
PAGE_GONE = VariablesChanged(turn=1, agent=PLANNER, changed={"page": "short"})


def stored_values(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["value"] for one in events if one.get("name") == "stored_values"]


def test_the_state_names_where_the_whole_of_a_large_variable_is() -> None:
    state = apply(apply(ThreadState(), *sealed(STARTED)), large(PAGE, 2))
    assert len(state.variables["page"]) < 2_000
    view = view_after(sealed(STARTED))
    opening = wire(RunMapper(run(), KEY.chat, state, frozenset()).opening_events(view).events)
    (value,) = stored_values(opening)
    (link,) = value["values"]
    assert link["path"] == "/page"
    assert link["url"].endswith(f"/values/{link['digest']}")
    assert link["size"] == 900_000
    state = apply(state, large(PAGE_GONE, 3))
    assert (
        stored_values(
            wire(RunMapper(run(), KEY.chat, state, frozenset()).opening_events(view).events)
        )
        == []
    )


def test_a_change_of_a_large_variable_and_a_large_result_name_the_whole() -> None:
    chat = MappedChat(None, SELECTED)
    view = view_after(sealed(STARTED, SELECTED))
    fact = large(PAGE, 3)
    events = wire(chat.mapper.map_event(VIEWER, stored_event(fact), view)[0].events)
    assert kinds(events) == ["STATE_DELTA", "CUSTOM"]
    whole = LargeValue.of_json("x" * 3_000_000)
    part = TextPart(text="xxx [cut]", whole=whole.reference)
    returned = RETURNED.model_copy(update={"parts": [part]})
    events = MappedChat(None, SELECTED, CALLED).events(returned)
    (value,) = stored_values(events)
    assert value["tool_call_id"] == RETURNED.tool_call_id
    assert value["values"][0]["digest"] == whole.reference.digest


# -- answers that end early -----------------------------------------------------------------------

STOPPED_TEXT = TextInterrupted(
    turn=1, call=0, agent=PLANNER, runner=RunnerId("r1"), text="A pl", reason="stopped"
)
STOPPED = TurnStopped(turn=1, agent=PLANNER, user_id=ANA, by="stop")
USERS_TURN = SpeakerSelected(turn=2, agent=AgentName("user"), by="stopped")


def test_a_stopped_answer_keeps_its_text_is_marked_and_ends_the_run_as_cancelled() -> None:
    mapped = MappedChat(run(), SELECTED, REQUESTED)
    mapped.chunk(0, "A pl")
    events = mapped.events(STOPPED_TEXT, STOPPED, USERS_TURN)
    message = f"{KEY.chat}.1.0"
    assert kinds(events) == [
        "TEXT_MESSAGE_END",
        "CUSTOM",
        "CUSTOM",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert events[0]["messageId"] == message
    assert events[1]["name"] == "mozaiks:text_interrupted"
    assert events[1]["value"]["message_id"] == message
    assert events[1]["value"]["reason"] == "stopped"
    assert events[-1]["outcome"] == {"type": "cancelled"}


def test_text_that_the_client_lacks_comes_with_the_event_that_keeps_it() -> None:
    mapped = MappedChat(run(), SELECTED, REQUESTED)
    mapped.chunk(0, "A")
    (content, *_) = mapped.events(STOPPED_TEXT)
    assert (content["type"], content["delta"]) == ("TEXT_MESSAGE_CONTENT", " pl")


@pytest.mark.parametrize("reason", ["retried", "runner_lost"])
def test_text_that_begins_anew_is_another_message(reason: InterruptionReason) -> None:
    again = STOPPED_TEXT.model_copy(update={"reason": reason})
    mapped = MappedChat(run(), SELECTED, REQUESTED)
    mapped.chunk(0, "A pl")
    (item,) = mapped.map(again)
    assert item.needs_snapshot
    assert kinds(wire(item.events)) == ["TEXT_MESSAGE_END", "CUSTOM"]
    begun = mapped.chunk(0, "Well", runner="r2")
    assert begun[0]["messageId"] == f"{KEY.chat}.1.0"
    conversation = ConversationBuilder(VIEWER)
    for fact in sealed(STARTED, SELECTED, REQUESTED, again, RESPONDED):
        conversation.add(fact)
    assert [(one.id, one.content) for one in conversation.messages] == [
        (f"{KEY.chat}.1.0.4", "A pl"),
        (f"{KEY.chat}.1.0", "A plan."),
    ]


def test_a_client_that_saw_nothing_of_a_lost_attempt_gets_it_without_a_snapshot() -> None:
    again = STOPPED_TEXT.model_copy(update={"reason": "runner_lost"})
    (item,) = MappedChat(run(), SELECTED, REQUESTED).map(again)
    assert not item.needs_snapshot
    assert kinds(wire(item.events))[0] == "TEXT_MESSAGE_START"


def test_a_run_whose_message_is_refused_fails_by_name() -> None:
    mapped = MappedChat(run(HELLO), SELECTED, REQUESTED, completion_ids=["m-1"])
    refused = UserMessageRefused(user_id=ANA, reason="answer_running")
    cause = f"agui-say.{subjects.chat_tokens(KEY)}.{subjects.token('m-1', 'messages')}"
    origin = Origin(KEY, WORKFLOW, NOON, cause)
    (fact,) = [
        one.fact
        for one in event_log.seal([refused], Head(Seq(3), "d"), [origin]).events
        if one.fact is not None
    ]
    items = mapped.mapper.map_event(VIEWER, stored_event(fact), mapped._view)
    (end,) = [one for item in items for one in wire(item.events) if one["type"] == "RUN_ERROR"]
    assert end["code"] == "ANSWER_RUNNING"
