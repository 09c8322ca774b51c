import json
from typing import Any

import pytest

from contracts.codec import Fact
from contracts.deltas import ToolProgressed, WaitReported
from contracts.events import Event
from contracts.events.human import Approval, Audience, Doubt
from contracts.events.run import RunClaimed
from contracts.events.turn import (
    SELECTOR,
    TextInterrupted,
    ToolInvoked,
    TurnStopped,
)
from contracts.ids import AgentName, RunnerId, Seq, UserId
from services.transport.protocol import event_to_frames, session_frames
from services.transport.protocol.chat_projection import ChatView, apply
from services.transport.protocol.event_to_frames import Viewer
from services.transport.protocol.frame_encoding import encode
from tests.story import NOON
from tests.transport.story import (
    ANA,
    CALLED,
    COMPLETED,
    LOGGED,
    PLANNER,
    QUESTION,
    RESPONDED,
    RETURNED,
    SELECTED,
    STARTED,
    USED,
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

CONSOLE = Viewer(raw_events=True)
CURSOR = Viewer()
CHAT_UI = Viewer(has_cursor=False)

CUT = TextInterrupted(
    turn=1, call=0, agent=PLANNER, runner=RunnerId("r1"), text="Pl", reason="stopped"
)
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
AUTO_RETURNED = RETURNED.model_copy(update={"occasion": "auto_invoke"})
HIDDEN = RESPONDED.model_copy(update={"hidden": True})


def project(*events: Event) -> tuple[list[Fact], ChatView]:
    facts = sealed(STARTED, *events)
    return facts, view_after(facts)


def live(viewer: Viewer, *events: Event) -> list[dict[str, Any]]:
    """The encoded frames of the last event."""
    facts, view = project(*events)
    last = stored_event(facts[-1])
    return [json.loads(encode(frame)) for frame in event_to_frames.map_event(viewer, last, view)]


def history(viewer: Viewer, *events: Event) -> list[dict[str, Any]]:
    facts, view = project(*events)
    history = [stored_event(fact) for fact in facts]
    frames = [
        frame for stored in history for frame in event_to_frames.map_history(viewer, stored, view)
    ]
    return [json.loads(encode(frame)) for frame in frames]


def test_hidden_text_is_never_shown_live_or_in_the_history() -> None:
    for viewer in (CURSOR, CHAT_UI):
        assert live(viewer, HIDDEN) == []
        assert all("A plan." not in str(frame) for frame in history(viewer, HIDDEN))
    called = CALLED.model_copy(update={"hidden": True})
    assert [frame["type"] for frame in live(CURSOR, called)] == ["chat.tool_activity"]


def test_chat_ui_gets_the_speaker_before_a_tool_that_the_runtime_calls() -> None:
    assert [f["type"] for f in live(CHAT_UI, INVOKED)] == ["chat.select_speaker", "chat.tool_call"]
    assert [f["type"] for f in live(CURSOR, INVOKED)] == ["chat.tool_call"]


@pytest.mark.parametrize("occasion", ["before_chat", "after_chat", "before_agent", "after_agent"])
def test_lifecycle_tools_give_no_frames(occasion: str) -> None:
    for event in (INVOKED, RETURNED):
        assert live(CURSOR, event.model_copy(update={"occasion": occasion})) == []


def test_chat_ui_does_not_get_the_user_as_selected_speaker() -> None:
    assert live(CHAT_UI, YOUR_TURN) == []
    assert [frame["type"] for frame in live(CURSOR, YOUR_TURN)] == ["chat.select_speaker"]


def test_progress_without_a_percentage_is_zero_for_chat_ui() -> None:
    told_ = ToolProgressed(
        turn=1, agent=PLANNER, runner=RunnerId("r1"), tool_call_id="call-1", tool_name="look"
    )
    (to_page,), (to_others,) = (event_to_frames.map_report(v, told_) for v in (CHAT_UI, CURSOR))
    percents = [getattr(frame.data, "progress_percent", "none") for frame in (to_page, to_others)]
    assert percents == [0.0, None]


def test_fields_that_chat_ui_reads_beside_type_are_there() -> None:
    assert live(CHAT_UI, user_message("hello"))[0]["role"] == "user"
    assert live(CHAT_UI, SELECTED)[0]["selected_speaker"] == "PlannerAgent"
    assert live(CHAT_UI, component_requested())[0]["awaiting_response"] is True
    assert live(CHAT_UI, USED, COMPLETED)[0]["total_tokens"] == 7
    meta = json.loads(encode(session_frames.chat_meta(project()[1])))
    assert (meta["cache_seed"], meta["chat_exists"], meta["last_artifact"]) == (7, True, None)


def test_an_answered_component_is_closed_as_it_was_shown() -> None:
    (complete,) = live(CURSOR, component_requested(), component_answered())
    assert (complete["type"], complete["data"]["ui_tool_id"]) == (
        "chat.ui_tool_complete",
        "pick_colour",
    )
    (dismiss,) = live(CURSOR, component_requested(display="artifact"), component_answered())
    assert dismiss["type"] == "chat.ui_tool_dismiss"
    assert dismiss["data"] == {
        "event_id": QUESTION,
        "ui_tool_id": "pick_colour",
        "response": complete["data"]["response"],
    }


def test_with_raw_events_each_event_comes_before_its_frames() -> None:
    whole, text = live(CONSOLE, RESPONDED)
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


def test_an_event_of_a_newer_release_is_sent_only_as_a_raw_event() -> None:
    facts, view = project(RESPONDED)
    newer = unknown_event(facts[-1])
    assert [frame.type for frame in event_to_frames.map_event(CONSOLE, newer, view)] == [
        "chat.event"
    ]
    assert event_to_frames.map_event(CURSOR, newer, view) == []


def test_a_replay_has_an_index_and_no_seq() -> None:
    frames = history(CHAT_UI, SELECTED, RESPONDED)
    assert all("seq" not in frame and frame["replay"] for frame in frames)
    assert [frame["data"]["index"] for frame in frames] == [1, 2, 3]


def test_chat_ui_gets_a_question_as_text_and_its_replay_only_while_it_is_open() -> None:
    kinds = [frame["type"] for frame in live(CHAT_UI, question_asked())]
    assert kinds == ["chat.text", "chat.input_request"]
    assert "chat.input_request" in {frame["type"] for frame in history(CHAT_UI, question_asked())}
    answered = history(CHAT_UI, question_asked(), question_answered())
    assert "chat.input_request" not in {frame["type"] for frame in answered}
    texts = [frame["content"] for frame in answered if frame["type"] == "chat.text"]
    assert texts == ["Which colour?\n\n- red\n- blue", "red"]
    assert "chat.input_request" in {
        frame["type"] for frame in history(CURSOR, question_asked(), question_answered())
    }


def test_no_frame_has_a_sequence_that_chat_ui_would_drop() -> None:
    frames = history(CHAT_UI, RESPONDED, question_asked(), question_answered(), COMPLETED)
    assert all("sequence" not in frame and "sequence" not in frame["data"] for frame in frames)


@pytest.mark.parametrize(
    ("visual", "frames"),
    [("PlannerAgent", ["chat.text"]), ("Planner", []), ("planneragent", []), ("Planner Agent", [])],
)
def test_visual_agents_are_compared_by_their_exact_names(visual: str, frames: list[str]) -> None:
    viewer = Viewer(agents=frozenset([AgentName(visual)]))
    assert [frame["type"] for frame in live(viewer, RESPONDED)] == frames


def test_with_raw_events_the_usage_of_every_agent_is_sent() -> None:
    viewer = Viewer(raw_events=True, agents=frozenset([AgentName("Interviewer")]))
    assert "chat.usage_delta" in {frame["type"] for frame in live(viewer, USED)}


def test_messages_of_an_agent_that_is_not_visual_are_not_sent() -> None:
    viewer = Viewer(agents=frozenset([AgentName("Interviewer")]))
    assert live(viewer, CALLED) == []
    assert live(viewer, RETURNED) == []
    assert live(viewer, USED) == []
    assert live(viewer, INVOKED) == []
    assert live(viewer, AUTO_RETURNED) == []
    assert live(viewer, CUT) == []
    assert [frame["type"] for frame in live(viewer, SELECTED)] == ["chat.select_speaker"]
    assert [frame["type"] for frame in live(viewer, component_requested())] == ["chat.tool_call"]
    assert event_to_frames.map_chunk(viewer, chunk(0, "A pl")) == []
    assert [frame["type"] for frame in live(viewer, question_asked())] == ["chat.input_request"]
    assert [frame["type"] for frame in live(viewer, user_message("hello"))] == ["chat.text"]


def test_an_interrupted_text_is_shown_to_every_viewer_with_the_reason() -> None:
    for viewer in (CURSOR, CHAT_UI):
        (shown,) = live(viewer, CUT)
        assert (shown["type"], shown["content"], shown["data"]["interrupted"]) == (
            "chat.text",
            "Pl",
            "stopped",
        )


@pytest.mark.parametrize("viewer", [CURSOR, CHAT_UI], ids=["cursor", "chat ui"])
def test_the_selector_is_never_visible(viewer: Viewer) -> None:
    stopped = TurnStopped(turn=1, agent=PLANNER, user_id=ANA, by="stop")
    thinking = (SELECTED, RESPONDED, RETURNED, CUT, stopped)
    facts = sealed(STARTED, *(one.model_copy(update={"agent": SELECTOR}) for one in thinking))
    view = view_after(facts[:1])
    for fact in facts[1:]:
        view = apply(view, fact.envelope, fact.event)
        assert event_to_frames.map_event(viewer, stored_event(fact), view) == []
    assert (
        event_to_frames.map_chunk(viewer, chunk(0, "Plan").model_copy(update={"agent": SELECTOR}))
        == []
    )


def test_a_chunk_has_its_offset_and_no_seq() -> None:
    (frame,) = event_to_frames.map_chunk(CURSOR, chunk(2, "plan"))
    assert json.loads(encode(frame)) == {
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


def test_progress_names_its_tool_call_and_has_no_seq() -> None:
    project = ToolProgressed(
        turn=1,
        agent=PLANNER,
        runner=RunnerId("r1"),
        tool_call_id="call-1",
        tool_name="look",
        percent=40,
        message="looking",
    )
    (frame,) = event_to_frames.map_report(CONSOLE, project)
    assert (frame.type, frame.seq) == ("chat.tool_progress", None)
    assert frame.data.model_dump(mode="json") == {
        "agent": PLANNER,
        "tool_name": "look",
        "progress_percent": 40,
        "status_message": "looking",
        "corr": "call-1",
        "turn": 1,
    }
    assert event_to_frames.map_report(CONSOLE, project.model_copy(update={"agent": SELECTOR})) == []


def test_a_wait_for_a_provider_is_told_in_words_and_numbers() -> None:
    wait = WaitReported(
        turn=1,
        agent=PLANNER,
        runner=RunnerId("r1"),
        code="MODEL_RATE_LIMITED",
        seconds=20.0,
        until=NOON,
        attempt=2,
        attempts=4,
    )
    (frame,) = event_to_frames.map_report(CONSOLE, wait)
    assert (frame.type, frame.seq) == ("chat.waiting", None)
    told_ = frame.data.model_dump(mode="json")
    assert told_["message"] == "The model provider asks to wait 20 s: attempt 2 of 4 follows."
    assert (told_["reason"], told_["seconds"], told_["attempt"]) == ("provider", 20.0, 2)
    assert event_to_frames.map_report(CONSOLE, wait.model_copy(update={"agent": SELECTOR})) == []


def test_a_takeover_is_told_while_it_happens_and_not_in_the_history() -> None:
    claimed = RunClaimed(runner=RunnerId("r2"), attempt=2, previous=RunnerId("r1"))
    (frame,) = live(CURSOR, claimed)
    assert (frame["type"], frame["data"]["reason"]) == ("chat.waiting", "takeover")
    assert not [one for one in history(CURSOR, claimed) if one["type"] == "chat.waiting"]


def test_the_boundary_marks_the_end_of_the_history() -> None:
    _, view = project(RESPONDED, COMPLETED)
    (boundary,) = event_to_frames.boundary(view, Seq(3), 3, "auto")
    frame = json.loads(encode(boundary))
    assert frame["seq"] == frame["data"]["last_message_index"] == 3
    assert (frame["data"]["chat_status"], frame["data"]["replayed_events"]) == ("completed", 3)


def test_a_question_about_a_call_in_doubt_says_which_call() -> None:
    doubt = Doubt(tool="charge", digest="ab", attempt=1)
    (frame,) = live(CURSOR, question_asked().model_copy(update={"doubt": doubt}))
    assert frame["data"]["doubt"] == {"tool": "charge", "digest": "ab", "attempt": 1}
    (plain,) = live(CURSOR, question_asked())
    assert "doubt" not in plain["data"]


def test_an_approval_says_which_call_it_is_about_and_who_is_asked() -> None:
    approval = Approval(tool="pay", digest="ab", allow_always=True)
    audience = Audience(users=[UserId("bob")], roles=["finance"])
    asked = question_asked().model_copy(update={"approval": approval, "audience": audience})
    (frame,) = live(CURSOR, asked)
    assert frame["data"]["approval"] == {"tool": "pay", "digest": "ab", "allow_always": True}
    assert frame["data"]["audience"] == {"users": ["bob"], "roles": ["finance"]}
    (plain,) = live(CURSOR, question_asked())
    assert {"approval", "audience"}.isdisjoint(plain["data"])


def test_the_answer_to_an_approval_says_what_was_decided_and_by_whom() -> None:
    decided = {"user_id": UserId("bob"), "role": "finance", "approved": False}
    (frame,) = live(CURSOR, question_answered().model_copy(update=decided))
    assert (frame["data"]["approved"], frame["data"]["answered_by"]) == (False, "bob")
    assert "always" not in frame["data"]
    always = {"approved": True, "always": True}
    (frame,) = live(CURSOR, question_answered().model_copy(update=always))
    assert frame["data"]["always"] is True
    expired = {"approved": False, "by_default": True}
    (frame,) = live(CURSOR, question_answered().model_copy(update=expired))
    assert frame["data"]["approved"] is False
    assert "answered_by" not in frame["data"]
    (plain,) = live(CURSOR, question_answered())
    assert {"approved", "answered_by"}.isdisjoint(plain["data"])
