import json
from typing import Any

import pytest

from contracts.codec import Fact
from contracts.events import Event
from contracts.events.turn import (
    SELECTOR,
    ToolInvoked,
)
from contracts.ids import AgentName, RunnerId, Seq
from contracts.live import ToolProgressed
from services.transport import feed, notices
from services.transport.chatview import ChatView, begin, see
from services.transport.feed import Seen, Viewer
from services.transport.frames import encode
from tests.transport.story import (
    ASKED,
    CALLED,
    COMPLETED,
    LOGGED,
    PLANNER,
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

CONSOLE = Viewer(everything=True)
CURSOR = Viewer()
CHAT_UI = Viewer(has_cursor=False)

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
HIDDEN = SAID.model_copy(update={"hidden": True})


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
    return [json.loads(encode(frame)) for frame in feed.of_event(viewer, last, view)]


def history(viewer: Viewer, *events: Event) -> list[dict[str, Any]]:
    facts, view = told(*events)
    past = [Seen(fact.envelope, fact.event) for fact in facts]
    frames = [frame for seen in past for frame in feed.of_history(viewer, seen, view)]
    return [json.loads(encode(frame)) for frame in frames]


def test_a_hidden_text_is_shown_to_nobody_live_or_later() -> None:
    for viewer in (CURSOR, CHAT_UI):
        assert live(viewer, HIDDEN) == []
        assert all("A plan." not in str(frame) for frame in history(viewer, HIDDEN))
    called = CALLED.model_copy(update={"hidden": True})
    assert [frame["type"] for frame in live(CURSOR, called)] == ["chat.tool_activity"]


def test_a_tool_that_the_runtime_calls_is_introduced_to_chat_ui_by_its_agent() -> None:
    assert [f["type"] for f in live(CHAT_UI, INVOKED)] == ["chat.select_speaker", "chat.tool_call"]
    assert [f["type"] for f in live(CURSOR, INVOKED)] == ["chat.tool_call"]


@pytest.mark.parametrize("occasion", ["before_chat", "after_chat", "before_agent", "after_agent"])
def test_what_the_runtime_calls_around_turns_is_no_news(occasion: str) -> None:
    for event in (INVOKED, RETURNED):
        assert live(CURSOR, event.model_copy(update={"occasion": occasion})) == []


def test_chat_ui_is_not_told_that_its_own_user_thinks() -> None:
    assert live(CHAT_UI, YOUR_TURN) == []
    assert [frame["type"] for frame in live(CURSOR, YOUR_TURN)] == ["chat.select_speaker"]


def test_progress_that_a_tool_cannot_tell_is_a_number_to_chat_ui() -> None:
    told_ = ToolProgressed(
        turn=1, agent=PLANNER, runner=RunnerId("r1"), tool_call_id="call-1", tool_name="look"
    )
    (to_page,), (to_others,) = (feed.of_progress(v, told_) for v in (CHAT_UI, CURSOR))
    assert (to_page.data["progress_percent"], to_others.data["progress_percent"]) == (0.0, None)


def test_chat_ui_finds_at_the_top_what_it_reads_only_there() -> None:
    assert live(CHAT_UI, said("hello"))[0]["role"] == "user"
    assert live(CHAT_UI, SELECTED)[0]["selected_speaker"] == "PlannerAgent"
    assert live(CHAT_UI, shows())[0]["awaiting_response"] is True
    assert live(CHAT_UI, USED, COMPLETED)[0]["total_tokens"] == 7
    meta = json.loads(encode(notices.meta(told()[1])))
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
    assert live(viewer, INVOKED) == []
    assert live(viewer, AUTO_RETURNED) == []
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


def test_progress_is_said_of_its_call_and_has_no_seq() -> None:
    told = ToolProgressed(
        turn=1,
        agent=PLANNER,
        runner=RunnerId("r1"),
        tool_call_id="call-1",
        tool_name="look",
        percent=40,
        message="looking",
    )
    (frame,) = feed.of_progress(CONSOLE, told)
    assert (frame.type, frame.seq) == ("chat.tool_progress", None)
    assert frame.data == {
        "agent": PLANNER,
        "tool_name": "look",
        "progress_percent": 40,
        "status_message": "looking",
        "corr": "call-1",
        "turn": 1,
    }
    assert feed.of_progress(CONSOLE, told.model_copy(update={"agent": SELECTOR})) == []


def test_the_boundary_says_where_history_ends() -> None:
    _, view = told(SAID, COMPLETED)
    frame = json.loads(encode(feed.boundary(view, Seq(3), 3, "auto")))
    assert frame["seq"] == frame["data"]["last_message_index"] == 3
    assert (frame["data"]["chat_status"], frame["data"]["replayed_events"]) == ("completed", 3)
