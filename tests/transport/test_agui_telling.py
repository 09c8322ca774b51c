import json
from collections.abc import Sequence
from typing import Any

import pytest
from ag_ui.core import BaseEvent, RunAgentInput

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatFailed
from contracts.events.human import HumanAnswered
from contracts.events.turn import ModelResponded, SpeakerSelected, VariablesChanged
from contracts.ids import AgentName, QuestionId, Seq
from contracts.live import ToolProgressed
from services.transport import feed
from services.transport.agui import asking
from services.transport.agui.asking import Asked
from services.transport.agui.conversation import Conversation
from services.transport.agui.standing import Past, Standing, beginning, pass_on, see
from services.transport.agui.telling import Telling, Told
from services.transport.agui.wanting import AnswerComponent, AnswerWords, Say, awaited, deeds
from services.transport.chatview import ChatView, begin
from services.transport.chatview import see as watch
from services.transport.feed import Seen, Viewer
from services.transport.refusals import RefusalError
from tests.transport.story import (
    ANA,
    ASKED,
    CALLED,
    COMPLETED,
    DONE,
    KEY,
    PLANNER,
    REQUESTED,
    RETURNED,
    SAID,
    SELECTED,
    STARTED,
    USED,
    YOUR_TURN,
    answers,
    asks,
    chunk,
    picked,
    said,
    sealed,
    shows,
)

VIEWER = Viewer()
HELLO = {"id": "m-1", "role": "user", "content": "Hello"}
COUNTED = VariablesChanged(turn=1, agent=PLANNER, changed={"days": 7, "_own": 1})


def run(*messages: dict[str, Any], **more: Any) -> Asked:
    body = {"threadId": "t", "runId": "r", "messages": list(messages), **more}
    return asking.asked(json.dumps(body).encode(), None, 1000)


def wire(events: Sequence[BaseEvent]) -> list[dict[str, Any]]:
    return [event.model_dump(mode="json", by_alias=True) for event in events]


class Watched:
    """A chat that is told to one client as it happens."""

    def __init__(self, asked: Asked | None = None, *past: Event, awaited: Sequence[str] = ()):
        self._asked = asked or run()
        self._facts = sealed(STARTED, *past)
        self._view = self._seen(self._facts)
        standing = Standing()
        for fact in self._facts:
            standing = see(standing, fact)
        self.telling = Telling(self._asked, KEY.chat, standing, frozenset(awaited))
        self.opening = wire(self.telling.opening(self._view).events)

    def _seen(self, facts: list[Fact]) -> ChatView:
        view = begin(facts[0])
        assert view is not None
        for fact in facts:
            view = watch(view, fact)
        return view

    def told(self, *happened: Event, viewer: Viewer = VIEWER) -> list[Told]:
        fresh = sealed(*happened, after=len(self._facts))
        groups: list[Told] = []
        for fact in fresh:
            self._facts.append(fact)
            self._view = watch(self._view, fact)
            seen = Seen(fact.envelope, fact.event)
            groups += self.telling.of_event(viewer, seen, self._view)
        return groups

    def events(self, *happened: Event, viewer: Viewer = VIEWER) -> list[dict[str, Any]]:
        return [one for told in self.told(*happened, viewer=viewer) for one in wire(told.events)]

    def chunk(self, offset: int, text: str, runner: str = "r1") -> list[dict[str, Any]]:
        groups = self.telling.of_chunk(VIEWER, chunk(offset, text, runner))
        return [one for told in groups for one in wire(told.events)]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def text(events: list[dict[str, Any]]) -> str:
    return "".join(e["delta"] for e in events if e["type"] == "TEXT_MESSAGE_CONTENT")


def test_a_run_opens_with_the_chat_its_variables_and_the_step_that_is_open() -> None:
    chat = Watched(run(), SELECTED, COUNTED)
    started, meta, state, step = chat.opening
    assert started == {
        "type": "RUN_STARTED",
        "threadId": "t",
        "runId": "r",
        "protocolVersion": "1.0",
    }
    assert (meta["name"], meta["value"]["chat_id"]) == ("chat_meta", KEY.chat)
    assert state == {"type": "STATE_SNAPSHOT", "snapshot": {"days": 7}}
    assert step == {"type": "STEP_STARTED", "stepName": PLANNER}


def test_a_turn_with_a_tool_is_told_in_the_protocol_s_words() -> None:
    events = Watched().events(said("Hi"), SELECTED, REQUESTED, CALLED, RETURNED, DONE, YOUR_TURN)
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


def test_what_was_streamed_is_not_said_again_when_it_is_stored() -> None:
    chat = Watched()
    chat.events(SELECTED, REQUESTED)
    events = chat.chunk(0, "A pl") + chat.chunk(4, "a") + chat.events(SAID)
    assert text(events) == "A plan."
    assert kinds(events) == [
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 3,
        "TEXT_MESSAGE_END",
    ]


def test_a_call_that_is_repeated_elsewhere_goes_on_where_the_words_are_the_same() -> None:
    chat = Watched()
    chat.events(SELECTED, REQUESTED)
    events = chat.chunk(0, "A pl") + chat.chunk(0, "A ", "r2") + chat.chunk(2, "plan", "r2")
    assert text(events + chat.events(SAID)) == "A plan."


def test_words_that_another_attempt_replaced_make_the_conversation_be_stated_anew() -> None:
    chat = Watched()
    chat.events(SELECTED, REQUESTED)
    assert text(chat.chunk(0, "Well, ") + chat.chunk(0, "A plan", "r2")) == "Well, "
    (told,) = chat.told(SAID)
    assert (told.torn, wire(told.events)) == (
        True,
        [{"type": "TEXT_MESSAGE_END", "messageId": "c-1.1.0"}],
    )


def test_a_conversation_is_stated_as_the_messages_that_its_events_make() -> None:
    whole = Conversation(VIEWER)
    for fact in sealed(STARTED, said("Hi"), SELECTED, CALLED, RETURNED):
        whole.add(fact)
    call = {"name": "look", "arguments": '{"at":1}'}
    assert [m.model_dump(mode="json", by_alias=True) for m in whole.messages] == [
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


def test_a_client_gets_only_what_its_messages_lack() -> None:
    part = {"id": "c-1.1.0", "role": "assistant", "content": "Let me"}
    events = Watched(run(part)).events(SELECTED, REQUESTED, CALLED)
    assert text(events) == " look."
    call = {"id": "1.call-1", "type": "function", "function": {"name": "look", "arguments": "{"}}
    whole = {**part, "content": "Let me look.", "toolCalls": [call]}
    events = Watched(run(whole)).events(CALLED)
    assert kinds(events) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END"]
    assert events[1]["delta"] == '"at":1}'
    call["function"] = {"name": "look", "arguments": '{"at":1}'}
    result = {
        "id": "c-1.1.call-1.result",
        "role": "tool",
        "content": "seen",
        "toolCallId": "1.call-1",
    }
    assert Watched(run(whole, result)).events(CALLED, RETURNED) == []


def test_hidden_words_and_agents_that_are_not_for_people_stay_hidden() -> None:
    hidden = ModelResponded(turn=1, call=0, agent=PLANNER, text="secret", hidden=True)
    assert Watched().events(hidden) == []
    others = Viewer(agents=frozenset(["writer"]))
    assert Watched().events(CALLED, RETURNED, USED, viewer=others) == []
    chat = Watched()
    chat.chunk(0, "sec")
    assert kinds(chat.events(hidden)) == ["TEXT_MESSAGE_END"]


def test_changed_variables_are_a_patch_and_those_of_the_runtime_are_nobody_s_business() -> None:
    chat = Watched()
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
    events = Watched().events(SELECTED, CALLED, asks())
    assert kinds(events)[-3:] == ["CUSTOM", "STEP_FINISHED", "RUN_FINISHED"]
    assert events[-3]["name"] == "chat.input_request"
    assert events[-1]["outcome"] == {
        "type": "interrupt",
        "interrupts": [
            {
                "id": ASKED,
                "reason": "input_required",
                "message": "Which colour?",
                "toolCallId": "1.call-1",
                "responseSchema": {"type": "string", "examples": ["red", "blue"]},
                "metadata": {"agent": PLANNER, "options": ["red", "blue"]},
            }
        ],
    }


def test_a_component_ends_the_run_as_an_interrupt_that_says_what_to_show() -> None:
    (interrupt,) = Watched().events(SELECTED, shows())[-1]["outcome"]["interrupts"]
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
def test_an_ended_chat_finishes_its_run_and_nothing_comes_after(
    end: Event, last: dict[str, str]
) -> None:
    chat = Watched(None, SELECTED)
    chat.chunk(0, "A pl")
    events = chat.events(end)
    assert kinds(events) == ["TEXT_MESSAGE_END", "STEP_FINISHED", "RUN_FINISHED"]
    assert (events[-1]["outcome"], events[-1]["result"]["ended"]) == (last, True)
    progress = ToolProgressed(
        turn=1, agent=PLANNER, runner=chunk(0, "").runner, tool_call_id="c", tool_name="look"
    )
    assert chat.events(said("more")) == chat.chunk(0, "A") == []
    assert chat.telling.of_progress(VIEWER, progress) == []


def test_a_chat_that_failed_is_a_run_s_error() -> None:
    events = Watched().events(SELECTED, ChatFailed(code="BROKEN", message="It broke."))
    assert events[-1] == {"type": "RUN_ERROR", "message": "It broke.", "code": "BROKEN"}


def test_what_has_no_form_in_the_protocol_is_told_as_chat_ui_is_told_it() -> None:
    (usage,) = Watched().events(USED)
    assert (usage["type"], usage["name"]) == ("CUSTOM", "chat.usage_delta")
    assert usage["value"]["total_tokens"] == 7


def test_a_run_goes_on_until_all_that_was_asked_for_has_come_to_pass() -> None:
    chat = Watched(run(), SELECTED, asks(), awaited=[ASKED])
    view = chat._view
    assert chat.telling.boundary(view, Seq(3), 0, "auto") == Told()
    assert kinds(chat.events(answers())) == ["CUSTOM"]
    assert kinds(chat.events(DONE, YOUR_TURN)) == ["STEP_FINISHED", "RUN_FINISHED"]


def test_a_run_in_which_nothing_is_to_come_ends_with_what_was() -> None:
    chat = Watched(run(), YOUR_TURN)
    told = chat.telling.boundary(chat._view, Seq(2), 0, "auto")
    assert (told.last, told.seq, kinds(wire(told.events))) == (True, 2, ["RUN_FINISHED"])


def test_the_turn_of_the_person_and_of_the_selector_are_no_steps() -> None:
    chosen = SpeakerSelected(turn=1, agent=AgentName("_selector"), by="auto")
    assert Watched().events(chosen) == []


def test_an_event_of_a_newer_release_is_passed_by() -> None:
    chat, (fact,) = Watched(), sealed(said("x"), after=1)
    assert chat.telling.of_event(VIEWER, Seen(fact.envelope, None), chat._view) == []


def test_an_answer_is_told_as_the_frame_that_the_feed_makes_of_it() -> None:
    view = Watched(run(), SELECTED, asks())._view
    (fact,) = sealed(answers(), after=3)
    frames = feed.of_event(VIEWER, Seen(fact.envelope, fact.event), view)
    (event,) = Watched(run(), SELECTED, asks(), awaited=["x"]).events(answers())
    assert [(f.type, f.data) for f in frames] == [(event["name"], event["value"])]


# -- what a run wants, and from where it is told --------------------------------------------------


def past(asked: Asked, *happened: Event, causes: dict[int, str] | None = None) -> Past:
    whole = Past()
    for fact in sealed(STARTED, *happened):
        cause = (causes or {}).get(fact.envelope.seq, "test")
        told = Fact(fact.envelope.model_copy(update={"cause": cause}), fact.event)
        whole = pass_on(whole, told, asked.after, asked.things)
    return whole


def starts(asked: Asked, so_far: Past) -> int:
    return beginning(so_far, asked.after, asked.things).seq


SAID_BEFORE = "agui-say.acme.c-1.m-1"


def test_a_new_message_is_said_and_told_from_where_the_chat_came_to_rest() -> None:
    asked = run(HELLO)
    so_far = past(asked, SELECTED, asks(), USED)
    assert starts(asked, so_far) == 3
    assert starts(asked, past(asked, SELECTED, YOUR_TURN)) == 3
    (say,) = deeds(asked, past(asked, SELECTED, YOUR_TURN))
    assert isinstance(say, Say)
    assert (say.words.text, awaited([say])) == ("Hello", frozenset(["m-1"]))


def test_a_message_that_was_said_before_is_not_said_again() -> None:
    asked = run(HELLO)
    so_far = past(asked, YOUR_TURN, said("Hello"), SELECTED, causes={3: SAID_BEFORE})
    assert (deeds(asked, so_far), starts(asked, so_far)) == ([], 2)


def test_a_message_of_another_page_is_known_by_the_id_that_it_was_told_under() -> None:
    asked = run({"id": "c-1.3", "role": "user", "content": "Hello"})
    assert deeds(asked, past(asked, YOUR_TURN, said("Hello"))) == []


def test_a_message_answers_the_question_that_is_open() -> None:
    asked = run(HELLO)
    (deed,) = deeds(asked, past(asked, SELECTED, asks()))
    assert isinstance(deed, AnswerWords)
    assert (deed.question, deed.text, awaited([deed])) == (ASKED, "Hello", frozenset([ASKED]))


def resume(payload: Any = None, status: str = "resolved", to: str = ASKED) -> list[dict[str, Any]]:
    return [{"interruptId": to, "status": status, "payload": payload}]


def test_interrupts_are_answered_by_what_resumes_the_run() -> None:
    words, component = run(resume=resume("red")), run(resume=resume({"colour": "red"}))
    assert deeds(words, past(words, SELECTED, asks())) == [AnswerWords(ASKED, "red")]
    assert deeds(component, past(component, SELECTED, shows())) == [
        AnswerComponent(ASKED, {"colour": "red"})
    ]
    wrapped = run(resume=resume(7))
    assert deeds(wrapped, past(wrapped, shows())) == [AnswerComponent(ASKED, {"value": 7})]


def test_interrupts_that_are_left_are_answered_with_nothing() -> None:
    left = run(resume=resume(status="cancelled"))
    assert deeds(left, past(left, SELECTED, asks())) == [AnswerWords(ASKED, "")]
    assert deeds(left, past(left, SELECTED, shows())) == [
        AnswerComponent(ASKED, {"status": "cancelled"})
    ]


@pytest.mark.parametrize("answered", [asks(), shows()])
def test_an_interrupt_that_was_answered_before_is_answered_no_more(answered: Event) -> None:
    asked = run(resume=resume("blue"))
    given = answers() if answered == asks() else picked()
    so_far = past(asked, SELECTED, answered, given, DONE, YOUR_TURN)
    assert (deeds(asked, so_far), starts(asked, so_far)) == ([], 3)


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        (resume("x", to="other"), "resume.0"),
        (resume(""), "resume.0.payload"),
        (resume(7), "resume.0.payload"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_by_its_field(
    entries: list[dict[str, Any]], field: str
) -> None:
    asked = run(resume=entries)
    with pytest.raises(RefusalError) as refused:
        deeds(asked, past(asked, SELECTED, asks()))
    assert refused.value.field == field


def test_a_cursor_says_from_where_and_without_one_or_a_wish_all_is_told() -> None:
    asked = run(HELLO, forwardedProps={"after": 2})
    so_far = past(asked, SELECTED, YOUR_TURN, COUNTED)
    assert starts(asked, so_far) == 2
    assert beginning(so_far, asked.after, asked.things).variables == {}
    assert starts(run(), past(run(), SELECTED, YOUR_TURN)) == 0


def test_words_that_answered_a_question_are_told_as_the_message_that_they_were() -> None:
    fact = sealed(HumanAnswered(question_id=QuestionId(ASKED), user_id=ANA, text="Hello"), after=3)[
        0
    ]
    told = Fact(fact.envelope.model_copy(update={"cause": SAID_BEFORE}), fact.event)
    whole = Conversation(VIEWER)
    whole.add(told)
    assert [m.id for m in whole.messages] == ["m-1"]


# -- what a client may send -----------------------------------------------------------------------


def test_all_variables_of_a_new_thread_come_from_its_state_and_props() -> None:
    asked = run(state={"a": 1, "b": 1}, forwardedProps={"b": 2, "after": "5"})
    assert (asked.variables, asked.after) == ({"a": 1, "b": 2}, 5)


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
def test_a_run_that_cannot_be_is_refused_by_its_field(body: dict[str, Any], field: str) -> None:
    whole = {"threadId": "t", "runId": "r", "messages": [], **body}
    with pytest.raises((RefusalError, ValueError)) as refused:
        asking.asked(json.dumps(whole).encode(), None, 1000)
    assert str(refused.value).startswith(f"{field}: ")


def test_the_header_of_a_client_that_comes_back_is_the_newer_cursor() -> None:
    body = RunAgentInput(thread_id="t", run_id="r", messages=[], forwarded_props={"after": 2})
    assert asking.asked(body.model_dump_json().encode(), "5", 1000).after == 5
