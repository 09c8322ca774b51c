import json
from typing import Any, get_args

import pytest

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.chat import (
    AttachmentUploaded,
    ChatCancelled,
    ChatFailed,
    HistoryCompacted,
    ToolCodeChanged,
)
from contracts.events.human import QuestionExpired
from contracts.events.turn import (
    SELECTOR,
    ConversationProcessed,
    OutputStructured,
    ToolInvoked,
    TurnFailed,
    VariablesChanged,
)
from contracts.ids import AgentName, Seq
from services.transport import feed
from services.transport.chatview import ChatView, begin, see
from services.transport.feed import Seen, Viewer
from tests.transport.story import (
    ANA,
    ASKED,
    CALLED,
    COMPLETED,
    DONE,
    LOGGED,
    PLANNER,
    REQUESTED,
    RETURNED,
    SAID,
    SELECTED,
    STARTED,
    USED,
    answers,
    asks,
    chunk,
    picked,
    said,
    sealed,
    shows,
)

CONSOLE = Viewer(everything=True)
CURSOR = Viewer()
CHAT_UI = Viewer(has_cursor=False)

STRUCTURED = OutputStructured(turn=1, agent=PLANNER, model_name="Plan", data={"steps": 2})
SET = VariablesChanged(turn=1, agent=PLANNER, changed={"a": 1})
BROKEN = TurnFailed(turn=1, agent=PLANNER, code="TOOL_LIMIT", message="too many calls")
FAILED = ChatFailed(code="MODEL_AWAY", message="the model is away")
CANCELLED = ChatCancelled(user_id=ANA)

COMPACTED = HistoryCompacted(through_turn=1, summary="They greeted.", tokens_before=9)
PROCESSED = ConversationProcessed(turn=1, agent=PLANNER, messages=[], prompt="You plan.")
INVOKED = ToolInvoked(
    turn=1,
    agent=PLANNER,
    tool_call_id="turn-1f",
    name="show_plan",
    occasion="auto_invoke",
    arguments={"steps": 2},
    component="PlanCard",
    display="inline",
    caption="Look.",
)
ATTACHED = AttachmentUploaded(
    attachment_id="att_1",
    user_id=ANA,
    filename="a.csv",
    size_bytes=3,
    content_type="text/csv",
    digest="00",
)
AUTO_CALL = {
    "agent": "PlannerAgent",
    "tool_name": "show_plan",
    "tool_call_id": "turn-1f",
    "corr": "turn-1f",
    "awaiting_response": False,
    "component_type": "PlanCard",
    "interaction_type": "auto_tool",
    "payload": {
        "tool_args": {"steps": 2},
        "agent_name": "PlannerAgent",
        "interaction_type": "auto_tool",
        "workflow_name": "Generator",
        "display": "inline",
        "mode": "inline",
        "agent_message": "Look.",
    },
    "display": "inline",
    "mode": "inline",
}
ATTACHMENT = {
    "attachment_id": "att_1",
    "filename": "a.csv",
    "stored_path": "acme.c-1.att_1",
    "size_bytes": 3,
    "content_type": "text/csv",
    "intent": "context",
    "bundle_path": None,
    "uploaded_at_utc": "2026-11-23T12:00:02+00:00",
    "user_id": "ana",
    "chat_id": "c-1",
    "app_id": "acme",
}

USER_TEXT = {
    "kind": "text",
    "agent": "user",
    "role": "user",
    "content": "hello",
    "index": 2,
    "metadata": {},
}
TEXT = {
    "kind": "text",
    "agent": "PlannerAgent",
    "role": "assistant",
    "content": "A plan.",
    "turn": 1,
    "call": 0,
    "metadata": {},
}
TOOL = {
    "agent": "PlannerAgent",
    "tool_call_id": "call-1",
    "tool_name": "look",
    "turn": 1,
    "call": 0,
}
COMPONENT = {
    "agent": "PlannerAgent",
    "tool_name": "pick_colour",
    "ui_tool_id": "pick_colour",
    "component_type": "ColourPicker",
    "awaiting_response": True,
    "corr": ASKED,
    "event_id": ASKED,
    "tool_call_id": ASKED,
    "display": "inline",
    "display_type": "inline",
    "payload": {
        "colours": 2,
        "workflow_name": "Generator",
        "display": "inline",
        "mode": "inline",
    },
}
QUESTION = {
    "agent": "PlannerAgent",
    "request_id": ASKED,
    "prompt": "Which colour?",
    "options": ["red", "blue"],
    "password": False,
    "expires_at": None,
    "turn": 1,
    "tool_call_id": "call-1",
}
ACK = {"request_id": ASKED, "input_request_id": ASKED, "status": "accepted", "text": "red"}
USAGE = {
    "agent": "PlannerAgent",
    "agent_name": "PlannerAgent",
    "model_name": "demo",
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "cached": False,
    "cost": None,
    "duration_sec": 0.5,
    "event_id": "acme.c-1.2",
    "event_ts": "2026-11-23T12:00:02+00:00",
    "chat_id": "c-1",
    "app_id": "acme",
    "user_id": "ana",
    "workflow_name": "Generator",
    "invocation_id": "1.0",
}
PLAN = {
    "agent": "PlannerAgent",
    "agent_name": "PlannerAgent",
    "model_name": "Plan",
    "structured_data": {"steps": 2},
    "auto_tool_mode": False,
    "turn": 1,
    "context": {
        "chat_id": "c-1",
        "app_id": "acme",
        "workflow_name": "Generator",
        "agent_name": "PlannerAgent",
    },
}


def ended(status: int, reason: str) -> dict[str, Any]:
    totals = {"reason": reason, "duration_sec": 1.0, "total_tokens": 0}
    return {"agent": "", "status": status, **totals}


GOLDEN: dict[str, tuple[Event, list[tuple[str, dict[str, Any]]]]] = {
    "chat.user_message_received": (said("hello"), [("chat.text", USER_TEXT)]),
    "turn.speaker_selected": (
        SELECTED,
        [
            (
                "chat.select_speaker",
                {
                    "agent": "PlannerAgent",
                    "selected_speaker": "PlannerAgent",
                    "turn": 1,
                    "by": "initial",
                },
            )
        ],
    ),
    "turn.model_requested": (REQUESTED, []),
    "turn.model_responded": (SAID, [("chat.text", TEXT)]),
    "turn.tool_returned": (
        RETURNED,
        [
            (
                "chat.tool_activity",
                {**TOOL, "phase": "returned", "status": "ok", "content": "seen"},
            )
        ],
    ),
    "turn.usage_recorded": (USED, [("chat.usage_delta", USAGE)]),
    "turn.output_structured": (STRUCTURED, [("chat.structured_output_ready", PLAN)]),
    "turn.variables_changed": (SET, []),
    "turn.completed": (DONE, []),
    "turn.failed": (
        BROKEN,
        [
            (
                "chat.error",
                {"message": "too many calls", "error_code": "TOOL_LIMIT", "agent": "PlannerAgent"},
            )
        ],
    ),
    "human.asked": (asks(), [("chat.input_request", QUESTION)]),
    "human.answered": (answers(), [("chat.input_ack", ACK)]),
    "human.question_expired": (
        QuestionExpired(question_id=ASKED),
        [("chat.input_timeout", {"request_id": ASKED, "input_request_id": ASKED})],
    ),
    "ui.tool_requested": (shows(), [("chat.tool_call", COMPONENT)]),
    "ui.tool_answered": (
        picked(),
        [
            (
                "chat.ui_tool_complete",
                {
                    "eventId": ASKED,
                    "ui_tool_id": "",
                    "display": "inline",
                    "status": "completed",
                    "summary": "component was answered",
                },
            )
        ],
    ),
    "business.logged": (LOGGED, []),
    "chat.tool_code_changed": (ToolCodeChanged(before=None, now="1a"), []),
    "chat.history_compacted": (COMPACTED, []),
    "turn.conversation_processed": (PROCESSED, []),
    "turn.tool_invoked": (INVOKED, [("chat.tool_call", AUTO_CALL)]),
    "chat.attachment_uploaded": (ATTACHED, [("chat.attachment_uploaded", ATTACHMENT)]),
    "chat.completed": (COMPLETED, [("chat.run_complete", ended(1, "terminate"))]),
    "chat.failed": (
        FAILED,
        [
            ("chat.error", {"message": "the model is away", "error_code": "MODEL_AWAY"}),
            ("chat.run_complete", ended(2, "the model is away")),
        ],
    ),
    "chat.cancelled": (CANCELLED, [("chat.run_complete", ended(3, "cancelled"))]),
}


def told(*events: Event) -> tuple[list[Fact], ChatView]:
    facts = sealed(STARTED, *events)
    view = begin(facts[0])
    assert view is not None
    for fact in facts[1:]:
        view = see(view, fact)
    return facts, view


def live(viewer: Viewer, *events: Event) -> list[dict[str, Any]]:
    """The frames of the last event, as they leave."""
    facts, view = told(*events)
    last = Seen(facts[-1].envelope, facts[-1].event)
    return [json.loads(feed.encode(frame)) for frame in feed.of_event(viewer, last, view)]


def history(viewer: Viewer, *events: Event) -> list[dict[str, Any]]:
    facts, view = told(*events)
    past = [Seen(fact.envelope, fact.event) for fact in facts]
    frames = [frame for seen in past for frame in feed.of_history(viewer, seen, view)]
    return [json.loads(feed.encode(frame)) for frame in frames]


def test_every_type_of_event_has_its_golden_frames() -> None:
    assert {"chat.started", *GOLDEN} == {event.type for event in get_args(Event)}


@pytest.mark.parametrize("kind", GOLDEN)
def test_an_event_is_shown_as_its_golden_frames(kind: str) -> None:
    event, golden = GOLDEN[kind]
    frames = live(CURSOR, event)
    assert [(frame["type"], frame["data"]) for frame in frames] == golden
    assert all(frame["seq"] == 2 for frame in frames)
    assert all(frame["timestamp"] == "2026-11-23T12:00:02+00:00" for frame in frames)
    assert all(frame.get("agent") == frame["data"].get("agent") for frame in frames)


def test_a_chat_begins_with_a_run_start() -> None:
    (frame,) = history(CURSOR)
    assert frame == {
        "type": "chat.run_start",
        "data": {"agent": "", "message": "Generator has started"},
        "timestamp": "2026-11-23T12:00:01+00:00",
        "agent": "",
        "seq": 1,
    }


def test_a_response_that_calls_tools_shows_its_words_then_its_calls() -> None:
    words, call = live(CURSOR, CALLED)
    assert words["content"] == "Let me look."
    assert call["data"] == {**TOOL, "arguments": '{"at":1}', "phase": "called"}


def test_chat_ui_finds_at_the_top_what_it_reads_only_there() -> None:
    assert live(CHAT_UI, said("hello"))[0]["role"] == "user"
    assert live(CHAT_UI, SELECTED)[0]["selected_speaker"] == "PlannerAgent"
    assert live(CHAT_UI, shows())[0]["awaiting_response"] is True
    assert live(CHAT_UI, USED, COMPLETED)[0]["total_tokens"] == 7
    meta = json.loads(feed.encode(feed.meta(told()[1])))
    assert (meta["cache_seed"], meta["chat_exists"], meta["last_artifact"]) == (7, True, None)


def test_an_answered_component_is_named_and_closed_as_it_was_shown() -> None:
    (complete,) = live(CURSOR, shows(), picked())
    assert (complete["type"], complete["data"]["ui_tool_id"]) == (
        "chat.ui_tool_complete",
        "pick_colour",
    )
    (dismiss,) = live(CURSOR, shows(display="artifact"), picked())
    assert dismiss["type"] == "chat.ui_tool_dismiss"
    assert dismiss["data"] == {"event_id": ASKED, "ui_tool_id": "pick_colour"}


def test_a_console_gets_every_event_before_what_the_event_makes() -> None:
    whole, text = live(CONSOLE, SAID)
    assert (whole["type"], whole["seq"], text["type"]) == ("chat.event", 2, "chat.text")
    assert set(whole["data"]) == {
        "seq",
        "type",
        "version",
        "category",
        "time",
        "actor",
        "cause",
        "body",
    }
    assert [frame["type"] for frame in live(CONSOLE, LOGGED)] == ["chat.event"]


def test_an_event_of_a_newer_release_is_shown_only_as_it_is_stored() -> None:
    facts, view = told(SAID)
    newer = Seen(facts[-1].envelope, None)
    assert [frame.type for frame in feed.of_event(CONSOLE, newer, view)] == ["chat.event"]
    assert feed.of_event(CURSOR, newer, view) == []


def test_a_replay_has_an_index_and_no_seq() -> None:
    frames = history(CHAT_UI, SELECTED, SAID)
    assert all("seq" not in frame and frame["replay"] for frame in frames)
    assert [frame["data"]["index"] for frame in frames] == [1, 2, 3]


def test_a_question_is_said_to_chat_ui_and_replayed_as_open_only_while_it_is() -> None:
    kinds = [frame["type"] for frame in live(CHAT_UI, asks())]
    assert kinds == ["chat.text", "chat.input_request"]
    assert "chat.input_request" in {frame["type"] for frame in history(CHAT_UI, asks())}
    answered = history(CHAT_UI, asks(), answers())
    assert "chat.input_request" not in {frame["type"] for frame in answered}
    texts = [frame["content"] for frame in answered if frame["type"] == "chat.text"]
    assert texts == ["Which colour?", "red"]
    assert "chat.input_request" in {frame["type"] for frame in history(CURSOR, asks(), answers())}


def test_no_frame_carries_the_sequence_that_chat_ui_would_swallow() -> None:
    frames = history(CHAT_UI, SAID, asks(), answers(), COMPLETED)
    assert all("sequence" not in frame and "sequence" not in frame["data"] for frame in frames)


@pytest.mark.parametrize("visual", ["Planner", "planner agent", "PlannerAgent"])
def test_visual_agents_are_compared_as_they_are_written_anyhow(visual: str) -> None:
    viewer = Viewer(agents=feed.allowed([AgentName(visual)]))
    assert [frame["type"] for frame in live(viewer, SAID)] == ["chat.text"]


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Interview Agent", "interview"),
        ("InterviewAgent", "interview"),
        ("interview", "interview"),
        ("AgentsAgent", "s"),
        ("Agent", ""),
        (" The  Agent Smith ", "thesmith"),
    ],
)
def test_an_agents_name_is_compared_without_case_spaces_and_the_word_agent(
    name: str, normal: str
) -> None:
    assert feed.normalised(name) == normal


def test_a_console_sees_what_every_agent_used() -> None:
    viewer = Viewer(everything=True, agents=feed.allowed([AgentName("Interviewer")]))
    assert "chat.usage_delta" in {frame["type"] for frame in live(viewer, USED)}


def test_the_words_of_an_agent_that_is_not_visual_stay_inside() -> None:
    viewer = Viewer(agents=feed.allowed([AgentName("Interviewer")]))
    assert live(viewer, CALLED) == []
    assert live(viewer, RETURNED) == []
    assert live(viewer, USED) == []
    assert [frame["type"] for frame in live(viewer, SELECTED)] == ["chat.select_speaker"]
    assert [frame["type"] for frame in live(viewer, shows())] == ["chat.tool_call"]
    assert feed.of_chunk(viewer, chunk(0, "A pl")) == []
    assert [frame["type"] for frame in live(viewer, asks())] == ["chat.input_request"]
    assert [frame["type"] for frame in live(viewer, said("hello"))] == ["chat.text"]


@pytest.mark.parametrize("viewer", [CURSOR, CHAT_UI], ids=["cursor", "chat ui"])
def test_nobody_sees_the_selector_think(viewer: Viewer) -> None:
    thinking = (SELECTED, SAID, RETURNED)
    facts = sealed(STARTED, *(one.model_copy(update={"agent": SELECTOR}) for one in thinking))
    view = begin(facts[0])
    assert view is not None
    for fact in facts[1:]:
        view = see(view, fact)
        assert feed.of_event(viewer, Seen(fact.envelope, fact.event), view) == []
    assert feed.of_chunk(viewer, chunk(0, "Plan").model_copy(update={"agent": SELECTOR})) == []


def test_a_chunk_has_its_place_and_no_seq() -> None:
    (frame,) = feed.of_chunk(CURSOR, chunk(2, "plan"))
    assert json.loads(feed.encode(frame)) == {
        "type": "chat.print",
        "data": {
            "kind": "print",
            "agent": "PlannerAgent",
            "content": "plan",
            "turn": 1,
            "call": 0,
            "offset": 2,
            "runner": "r1",
        },
        "agent": "PlannerAgent",
        "content": "plan",
    }


def test_the_boundary_says_where_history_ends() -> None:
    _, view = told(SAID, COMPLETED)
    frame = json.loads(feed.encode(feed.boundary(view, Seq(3), 3, "auto")))
    assert frame["seq"] == frame["data"]["last_message_index"] == 3
    assert (frame["data"]["chat_status"], frame["data"]["replayed_events"]) == ("completed", 3)
