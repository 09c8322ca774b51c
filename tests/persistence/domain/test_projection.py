from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.chat_snapshot import ChatTotals
from contracts.event_log import Decision
from contracts.events import Event
from contracts.events.chat import ChatCancelled, ChatFailed, UserMessageReceived
from contracts.events.human import UiToolAnswered, UiToolRequested
from contracts.events.parts import DataPart, TextPart
from contracts.events.turn import (
    SELECTOR,
    ModelResponded,
    SpeakerSelected,
    TextInterrupted,
    ToolReturned,
    TurnFailed,
)
from contracts.ids import AgentName, RunnerId, Seq, StreamSeq
from services.persistence.domain.projection import SequenceGapError, advance, summary_of
from services.persistence.store.interface import ProjectionUpdate, Session
from tests.persistence.story import (
    ANN,
    INTERVIEWER,
    archived_events,
    asked,
    continued,
    decisions_of,
    hello,
    interview,
)


def after(*events: Event) -> Session:
    return change(decisions_of(events)).session


def change(decisions: Sequence[Decision], session: Session | None = None) -> ProjectionUpdate:
    made = advance(session, archived_events(decisions))
    assert made is not None
    return made


def test_a_completed_chat_has_a_session_with_all_its_facts() -> None:
    session = after(*interview())
    assert session == Session(
        app_id=session.app_id,
        chat_id=session.chat_id,
        workflow_name=session.workflow_name,
        created_at=datetime(2026, 3, 1, 12, 0, 1, 123000, tzinfo=UTC),
        last_updated_at=datetime(2026, 3, 1, 12, 0, 18, 123000, tzinfo=UTC),
        ended_at=datetime(2026, 3, 1, 12, 0, 18, 123000, tzinfo=UTC),
        last_seq=Seq(18),
        last_digest=decisions_of(interview())[-1].head.digest,
        last_position=StreamSeq(18),
        user_id=ANN,
        status="completed",
        end_reason="terminate",
        cache_seed=7,
        title="Water the plants",
        turn_seq=Seq(13),
        message_count=4,
        totals=ChatTotals(
            agent_turns=2, tool_calls=1, prompt_tokens=300, completion_tokens=30, cost=6.3e-05
        ),
    )


def test_a_chat_waits_while_a_question_is_open() -> None:
    assert after(*interview()[:5]).status == "running"
    assert after(*interview()[:6]).status == "waiting"
    assert after(*interview()[:7]).status == "running"


def test_a_chat_waits_while_it_is_the_users_turn() -> None:
    assert after(*hello()).status == "waiting"
    assert after(*hello(), UserMessageReceived(user_id=ANN, text="More")).status == "running"


def test_a_requested_component_is_an_open_question_too() -> None:
    shown = UiToolRequested(
        question_id=asked().question_id,
        turn=1,
        agent=INTERVIEWER,
        tool_call_id="call_1",
        ordinal=0,
        ui_tool_id="form",
        component="Form",
    )
    filled = UiToolAnswered(question_id=shown.question_id, user_id=ANN, response={})
    assert after(*hello()[:3], shown).status == "waiting"
    assert after(*hello()[:3], shown, filled).status == "running"


def test_a_failed_turn_closes_its_questions() -> None:
    failed = TurnFailed(turn=1, agent=INTERVIEWER, code="x", message="x")
    session = after(*interview()[:6], failed)
    assert (session.open_questions, session.status, session.totals.errors) == ((), "running", 1)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (ChatFailed(code="model_away", message="sorry"), "failed"),
        (ChatCancelled(user_id=ANN, reason="enough"), "cancelled"),
    ],
)
def test_a_chat_that_did_not_complete_is_not_called_completed(end: Event, status: str) -> None:
    session = after(*interview()[:6], end)
    assert session.status == status
    assert session.ended_at is not None
    assert session.completed_at is None


def test_the_title_is_the_first_text_of_the_user_cut() -> None:
    first = UserMessageReceived(user_id=ANN, text="word " * 50)
    title = after(hello()[0], first, *hello()[1:]).title
    assert title.startswith("word word")
    assert len(title) == 80
    assert title.endswith("…")


def _result(call: str, name: str) -> ToolReturned:
    return ToolReturned(
        turn=1,
        call=0,
        agent=INTERVIEWER,
        tool_call_id=call,
        name=name,
        status="ok",
        parts=[TextPart(text="got "), DataPart(data={"é": 1})],
    )


def test_responses_of_the_selector_are_not_in_the_transcript() -> None:
    chosen: list[Event] = [
        SpeakerSelected(turn=2, agent=SELECTOR, by="auto"),
        ModelResponded(turn=2, call=0, agent=SELECTOR, text="Planner"),
    ]
    assert (
        change(decisions_of([*hello(), *chosen])).messages == change(decisions_of(hello())).messages
    )


def test_data_in_a_tool_result_reads_as_json() -> None:
    line = change(decisions_of([*hello()[:3], _result("a", "f")])).messages[-1]
    assert line.content == 'got {"é": 1}'


def test_the_shown_text_of_a_call_that_ended_early_is_a_message_that_says_so() -> None:
    (message,) = change(
        decisions_of(
            [
                TextInterrupted(
                    turn=1,
                    call=0,
                    agent=INTERVIEWER,
                    runner=RunnerId("r"),
                    text="What shall",
                    reason="stopped",
                )
            ]
        )
    ).messages
    assert (message.role, message.agent, message.content) == (
        "assistant",
        INTERVIEWER,
        "What shall",
    )
    assert message.interrupted == "stopped"
    assert message.to_ag2()["interrupted"] == "stopped"


def test_a_failed_tool_counts_as_an_error_and_its_message_is_the_error() -> None:
    failed = _result("a", "f").model_copy(
        update={"status": "error", "parts": [], "error": "no such plant"}
    )
    made = change(decisions_of([*hello()[:3], failed]))
    assert made.session.totals.errors == 1
    assert made.messages[-1].content == "no such plant"


@pytest.mark.parametrize(
    "changes", [{"type": "turn.dreamt"}, {"version": 1000, "body": {"turn": "first"}}]
)
def test_an_event_of_a_newer_release_only_moves_the_session_on(
    changes: dict[str, Any],
) -> None:
    strange = continued(interview(), lambda envelope: envelope.model_copy(update=changes), 2)
    made, whole = change(strange), change(decisions_of(interview()))
    assert made.session.last_digest == strange[-1].head.digest
    assert made.session == replace(whole.session, last_digest=made.session.last_digest)
    assert (made.stats, made.messages) == (whole.stats, whole.messages)


def test_a_gap_is_refused() -> None:
    with pytest.raises(SequenceGapError, match="expected event 3, got 4"):
        advance(after(*interview()[:2]), archived_events(decisions_of(interview())[3:]))


def test_known_events_change_nothing() -> None:
    whole = change(decisions_of(interview()))
    assert change(decisions_of(interview()), whole.session) == replace(
        whole, messages=(), effects=(), model_calls=()
    )


@given(st.integers(0, len(interview())))
def test_folding_in_two_steps_is_folding_in_one(cut: int) -> None:
    decisions = decisions_of(interview())
    first = advance(None, archived_events(decisions[:cut]))
    rest = advance(first.session if first else None, archived_events(decisions[cut:]))
    whole = change(decisions)
    assert rest is not None
    assert (rest.session, rest.stats) == (whole.session, whole.stats)
    assert (*(first.messages if first else ()), *rest.messages) == whole.messages


def test_a_chat_without_a_user_has_no_summary() -> None:
    nobodys = SpeakerSelected(turn=1, agent=AgentName("a"), by="initial")
    assert summary_of(after(nobodys)) is None


def test_the_summary_has_the_row_of_a_chat_list() -> None:
    summary = summary_of(after(*interview()))
    assert summary is not None
    assert (summary.status, summary.title, summary.last_seq) == (
        "completed",
        "Water the plants",
        18,
    )
