"""What the events of a chat add up to, and that every reader of the log comes to the same."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.chat_snapshot import (
    MAX_PROMPT_CHARS,
    ChatSnapshot,
    ChatTotals,
    Fold,
    added_by,
    fold,
    title_of,
)
from contracts.codec import Fact, decode, open_event
from contracts.event_log import StoredEvent
from contracts.events import Event
from contracts.events.chat import (
    ChatCancelled,
    ChatCompleted,
    ChatFailed,
    ChatStarted,
    UserMessageReceived,
)
from contracts.events.human import (
    Approval,
    Audience,
    HumanAnswered,
    HumanAsked,
    QuestionEscalated,
    QuestionExpired,
    UiToolAnswered,
    UiToolRequested,
)
from contracts.events.parts import TextPart, Tokens
from contracts.events.turn import (
    USER,
    ModelRequested,
    ModelResponded,
    SpeakerSelected,
    ToolReturned,
    TurnCompleted,
    TurnFailed,
    UsageRecorded,
)
from contracts.ids import AgentName, AppId, ChatId, ChatKey, QuestionId, StreamSeq, UserId
from contracts.prices import PRICES
from services.metrics.observations import ChatMetrics, observe
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.state import ChatState
from services.persistence.domain.projection import advance
from services.persistence.store.interface import ArchivedEvent, Session
from services.transport.protocol.chat_projection import ChatView, apply
from tests.logs import decisions, stored

KEY = ChatKey(AppId("acme"), ChatId("chat 1"))
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ANN = UserId("ann")
WRITER = AgentName("Writer")
STARTED = ChatStarted(user_id=ANN, seed=7, client_request_id="r1")
HISTORIES = sorted((Path(__file__).parents[1] / "orchestrator" / "histories").glob("*.json"))


def snapshot_of(*events: Event | None) -> ChatSnapshot:
    """A chat of these events; None is one of a newer release."""
    envelopes = stored(decisions([event or STARTED for event in events], KEY))
    snapshot = ChatSnapshot.before(envelopes[0].envelope)
    for one, event in zip(envelopes, events, strict=True):
        snapshot = fold(snapshot, one.envelope, event)
    return snapshot


def selects(agent: AgentName = WRITER) -> SpeakerSelected:
    return SpeakerSelected(turn=1, agent=agent, by="initial")


def asks(question: str = "q1") -> HumanAsked:
    return HumanAsked(
        question_id=QuestionId(question),
        turn=1,
        agent=WRITER,
        tool_call_id="c1",
        ordinal=0,
        prompt="Which?",
    )


def shows(question: str = "q2", display: str = "artifact") -> UiToolRequested:
    body = {"turn": 1, "agent": WRITER, "tool_call_id": "c1", "ordinal": 0}
    named = {"question_id": question, "ui_tool_id": "plan", "component": "Plan"}
    return UiToolRequested.model_validate({**body, **named, "display": display})


def answers(question: str = "q1") -> HumanAnswered:
    return HumanAnswered(question_id=QuestionId(question), user_id=ANN, text="red")


def returns(status: str = "ok") -> ToolReturned:
    body = {"turn": 1, "call": 0, "agent": WRITER, "tool_call_id": "c1", "name": "look"}
    return ToolReturned.model_validate({**body, "status": status, "parts": [TextPart(text="x")]})


def uses(prompt: float | None, completion: float | None, cost: float | None) -> UsageRecorded:
    return UsageRecorded(
        turn=1,
        call=0,
        agent=WRITER,
        model="gpt-4o-mini",
        tokens=Tokens(prompt=prompt, completion=completion),
        duration=0.1,
        cost=cost,
    )


DONE = TurnCompleted(turn=1, agent=WRITER, text="Done.")
FAILED = TurnFailed(turn=1, agent=WRITER, code="X", message="x")
HEARD = UserMessageReceived(user_id=ANN, text="Water\n the  plants")


@pytest.mark.parametrize(
    ("events", "status"),
    [
        ([STARTED], "running"),
        ([STARTED, selects()], "running"),
        ([STARTED, selects(), asks()], "waiting"),
        ([STARTED, selects(), asks(), asks("other"), answers()], "waiting"),
        ([STARTED, selects(), asks(), answers()], "running"),
        ([STARTED, selects(), shows()], "waiting"),
        ([STARTED, selects(), asks(), QuestionExpired(question_id=QuestionId("q1"))], "running"),
        ([STARTED, selects(), asks(), FAILED], "running"),
        ([STARTED, selects(USER)], "waiting"),
        ([STARTED, selects(USER), HEARD], "running"),
        ([STARTED, selects(), HEARD], "running"),
        ([STARTED, selects(), asks(), ChatCompleted(reason="terminate", turns=1)], "completed"),
        ([STARTED, ChatFailed(code="X", message="x")], "failed"),
        ([STARTED, ChatCancelled(user_id=ANN)], "cancelled"),
        ([STARTED, ChatCancelled(user_id=ANN), asks()], "cancelled"),
    ],
)
def test_the_status_follows_the_events(events: list[Event], status: str) -> None:
    assert snapshot_of(*events).status == status


def test_a_question_is_open_until_it_is_answered_or_its_turn_or_the_chat_is_over() -> None:
    begun: list[Event] = [STARTED, selects(), asks(), shows()]
    open_questions = snapshot_of(*begun).open_questions
    assert [(one.question_id, one.kind) for one in open_questions] == [
        ("q1", "text"),
        ("q2", "component"),
    ]
    assert snapshot_of(*begun, answers()).open_questions == open_questions[1:]
    ends: list[Event] = [DONE, FAILED, ChatCancelled(user_id=ANN)]
    for end in ends:
        assert snapshot_of(*begun, end).open_questions == ()


def test_an_open_question_has_what_an_inbox_shows_and_who_may_answer_it() -> None:
    approval = Approval(tool="pay", digest="d" * 64, allow_always=True)
    update = {
        "prompt": "May pay be called?" + " really" * 100,
        "options": ["Approve", "Deny"],
        "approval": approval,
        "audience": Audience(users=[UserId("bob")], roles=["finance"]),
        "expires_at": NOON,
    }
    (asked,) = snapshot_of(STARTED, selects(), asks().model_copy(update=update)).open_questions
    assert len(asked.subject) == MAX_PROMPT_CHARS
    assert (asked.tool, asked.digest, asked.allow_always) == ("pay", "d" * 64, True)
    assert (asked.options, asked.expires_at) == (("Approve", "Deny"), NOON)
    assert asked.admits(UserId("bob"), None, ANN)
    assert asked.admits(UserId("zoe"), "finance", ANN)
    assert not asked.admits(ANN, None, ANN)
    assert not asked.admits(UserId("zoe"), "sales", ANN)
    (own,) = snapshot_of(STARTED, selects(), asks()).open_questions
    assert own.admits(ANN, None, ANN)
    assert not own.admits(UserId("bob"), "finance", ANN)


def test_an_escalated_question_is_open_to_its_first_audience_and_to_the_second() -> None:
    to = Audience(users=[UserId("zoe")], roles=["manager"])
    escalation = QuestionEscalated(question_id=QuestionId("q1"), to=to)
    (asked,) = snapshot_of(STARTED, selects(), asks(), escalation).open_questions
    assert asked.escalated
    assert asked.admits(ANN, None, ANN)
    assert asked.admits(UserId("zoe"), None, ANN)
    assert asked.admits(UserId("max"), "manager", ANN)
    assert not asked.admits(UserId("max"), None, ANN)


def test_a_refused_call_is_no_error() -> None:
    refused = ToolReturned(
        turn=1, call=0, agent=AgentName("A"), tool_call_id="c", name="pay", status="refused"
    )
    assert added_by(refused) == ChatTotals(tool_calls=1)


def test_the_last_artifact_is_the_one_that_was_opened_last_and_not_closed() -> None:
    first, second = shows("q2"), shows("q3")
    artifact = snapshot_of(STARTED, first, second).last_artifact
    assert artifact is not None
    assert (artifact.question_id, artifact.ui_tool_id, artifact.seq) == ("q3", "plan", 3)
    filled = UiToolAnswered(question_id=QuestionId("q3"), user_id=ANN, response={})
    assert snapshot_of(STARTED, first, second, filled).last_artifact is None
    assert snapshot_of(STARTED, shows(display="inline")).last_artifact is None
    ended = snapshot_of(STARTED, first, ChatCompleted(reason="terminate", turns=1))
    assert ended.last_artifact is not None


def test_totals_count_turns_tools_errors_tokens_and_cost() -> None:
    totals = snapshot_of(
        STARTED,
        *(selects(), returns(), returns("error"), uses(100.4, 10, 0.5), uses(None, None, None)),
        *(DONE, selects(), FAILED, ChatFailed(code="X", message="x")),
    ).totals
    assert (totals.agent_turns, totals.tool_calls, totals.errors) == (1, 2, 3)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.total_tokens) == (100, 10, 110)
    assert totals.cost == 0.5


def test_the_title_is_the_first_text_of_the_user_in_one_line() -> None:
    assert snapshot_of(STARTED, HEARD, HEARD).title == "Water the plants"
    assert snapshot_of(STARTED, selects(), asks(), answers(), HEARD).title == "red"
    assert title_of("word " * 50) == ("word " * 16)[:79] + "…"


def test_times_are_cut_to_milliseconds() -> None:
    snapshot = snapshot_of(STARTED, selects())
    assert snapshot.created_at == datetime(2026, 3, 1, 12, 0, 1, 123000, tzinfo=UTC)
    assert snapshot.last_updated_at == datetime(2026, 3, 1, 12, 0, 2, 123000, tzinfo=UTC)
    assert snapshot.turn_started_at == snapshot.last_updated_at


def test_an_end_has_a_time_and_only_a_completed_chat_a_completion() -> None:
    completed = snapshot_of(STARTED, ChatCompleted(reason="terminate", turns=1))
    assert completed.ended_at == completed.completed_at == completed.last_updated_at
    cancelled = snapshot_of(STARTED, ChatCancelled(user_id=ANN, reason="enough"))
    assert cancelled.ended_at is not None
    assert (cancelled.completed_at, cancelled.end_reason) == (None, "enough")


def test_an_event_of_a_newer_release_moves_the_chat_on_and_changes_nothing_else() -> None:
    known, newer = snapshot_of(STARTED, selects()), snapshot_of(STARTED, selects(), None)
    assert (newer.last_seq, newer.status, newer.speaker) == (3, known.status, known.speaker)
    assert newer.last_updated_at > known.last_updated_at


def test_an_event_that_is_known_changes_nothing() -> None:
    snapshot = snapshot_of(STARTED, selects(), returns())
    again = stored(decisions([STARTED, returns()], KEY))[1]
    assert fold(snapshot, again.envelope, again.event) is snapshot


# -- every reader comes to the same ---------------------------------------------------------------

QUESTIONS = st.sampled_from(["q1", "q2", "q3"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.sampled_from([WRITER, AgentName("Editor"), USER]).map(selects),
    QUESTIONS.map(asks),
    st.builds(shows, QUESTIONS, st.sampled_from(["inline", "artifact"])),
    QUESTIONS.map(answers),
    QUESTIONS.map(lambda q: UiToolAnswered(question_id=QuestionId(q), user_id=ANN, response={})),
    QUESTIONS.map(lambda q: QuestionExpired(question_id=QuestionId(q))),
    st.sampled_from(["ok", "error", "not_found"]).map(returns),
    st.builds(
        uses, st.sampled_from([None, 1.5, 100.0]), st.just(10.0), st.sampled_from([None, 0.25])
    ),
    st.sampled_from(
        [
            DONE,
            FAILED,
            HEARD,
            ModelRequested(turn=1, call=0, agent=WRITER, prompt=["Write."], digest="d"),
            ModelResponded(turn=1, call=0, agent=WRITER, text="A draft."),
            ChatCompleted(reason="terminate", turns=1),
            ChatFailed(code="X", message="x"),
            ChatCancelled(user_id=ANN),
        ]
    ),
)


def facts_of(snapshot: ChatSnapshot) -> dict[str, object]:
    """The fields that all readers share."""
    names = ChatSnapshot.__dataclass_fields__
    return {name: getattr(snapshot, name) for name in names}


def projected(events: Sequence[StoredEvent], cut: int) -> Session:
    """The session, written down in between."""
    archived = [ArchivedEvent(one, StreamSeq(one.envelope.seq)) for one in events]
    first = advance(None, archived[:cut])
    made = advance(None if first is None else first.session, archived[cut:])
    assert made is not None
    return made.session


def viewed(events: Sequence[StoredEvent]) -> ChatView:
    view = ChatView.before(events[0].envelope)
    for one in events:
        view = apply(view, one.envelope, one.event)
    return view


def counted(events: Sequence[StoredEvent], cut: int) -> ChatMetrics:
    """The metrics of two messages, which the cut separates."""
    chat = ChatMetrics.before(events[0].envelope)
    for message in (events[:cut], events[cut:]):
        if message:
            chat = observe(chat, message, PRICES, (chat.app_id, chat.workflow_name)).chat
    return chat


@given(st.lists(EVENTS, max_size=30), st.integers(0, 31))
def test_transport_persistence_and_metrics_know_the_same_of_any_chat(
    events: list[Event], cut: int
) -> None:
    log = stored(decisions([STARTED, *events], KEY))
    expected = facts_of(snapshot_of(STARTED, *events))
    assert facts_of(viewed(log)) == expected
    assert facts_of(projected(log, cut)) == expected
    assert facts_of(counted(log, cut)) == expected


@given(st.lists(EVENTS, max_size=30))
def test_several_events_are_folded_as_one_after_the_other(events: list[Event]) -> None:
    log = stored(decisions([STARTED, *events], KEY))
    before = ChatSnapshot.before(log[0].envelope)
    folded = Fold(before)
    for one in log:
        folded.apply(one.envelope, one.event)
    assert folded.result() == snapshot_of(STARTED, *events)
    assert before == ChatSnapshot.before(log[0].envelope)


@pytest.mark.parametrize("history", HISTORIES, ids=lambda file: file.stem)
def test_at_every_event_of_a_recorded_chat_the_orchestrator_knows_the_same(history: Path) -> None:
    recorded = json.loads(history.read_text())["envelopes"]
    envelopes = [decode(json.dumps(one).encode()) for one in recorded]
    state, snapshot = ChatState(), ChatSnapshot.before(envelopes[0])
    for envelope in envelopes:
        event = open_event(envelope)
        state = evolve(state, Fact(envelope, event))
        snapshot = fold(snapshot, envelope, event)
        turn = state.open_turn
        waits = () if turn is None else tuple(one.question_id for one in turn.unanswered)
        assert tuple(one.question_id for one in snapshot.open_questions) == waits, envelope.seq
        assert (snapshot.ended_at is None) == (state.ended is None), envelope.seq
        assert (snapshot.speaker == USER) == state.waits_for_user, envelope.seq
