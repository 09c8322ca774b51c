import contextlib
import secrets
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from contracts import event_log, subjects
from contracts.event_streams import Origin, spread_over
from contracts.events.budget import BudgetExceeded, BudgetWarned
from contracts.events.business import BusinessLogged
from contracts.events.chat import ChatCancelled, ChatErased, ChatFailed
from contracts.events.turn import ModelCallFailed, ToolDispatched, TurnCompleted, TurnFailed
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from contracts.prices import Price
from contracts.subjects import EVENTS, InvalidSubjectError, parse
from services.chassis.jetstream.direct_get import RawMessage
from services.chassis.jetstream.event_log import START, evaluate_and_log
from services.metrics.metrics_state import (
    OTHER,
    SAVED_BYTES,
    MetricsState,
    UnreadableStateError,
)
from services.metrics.observations import BUCKETS, ChatMetrics, TurnDurations
from services.metrics.prometheus import MetricsCollector
from services.metrics.tracked_chats import CHATS
from tests.foreign_messages import FOREIGN
from tests.logs import decisions, message, messages
from tests.metrics.story import AGENT, ANN, BEGAN, KEY, chat, decisions_of, log_of, returned, usage

PRICES = {"gpt-4o-mini": Price(prompt=0.5, completion=2.0)}
LATER = BEGAN + timedelta(minutes=1)
MANY = {EVENTS: StreamSeq(10**9)}


def counted(log: list[RawMessage], **limits: int) -> MetricsState:
    """The state after these messages; it reads evicted chats as the service does."""
    state = MetricsState(PRICES, **limits)
    logs: dict[ChatKey, list[RawMessage]] = {}
    for one in log:
        key = state.evicted_chat(one.subject)
        state.record(one, None if key is None else chat_of(state, logs.get(key, [])))
        with contextlib.suppress(InvalidSubjectError):
            logs.setdefault(parse(one.subject).key, []).append(one)
    return state


def chat_of(state: MetricsState, log: list[RawMessage]) -> ChatMetrics | None:
    """A chat as its log has it."""
    place, chat = START, None
    for one in log:
        commit = evaluate_and_log(place, one)
        place = commit.place
        if commit.events:
            chat = state.fold(chat, commit.events)
    return chat


def active(state: MetricsState) -> int:
    return state.in_state("running", "waiting")


def chats(number: int, app: str = "acme") -> list[RawMessage]:
    keys = [ChatKey(AppId(app), ChatId(f"chat {n}")) for n in range(number)]
    return log_of(*(decisions_of(chat(), key) for key in keys))


def test_a_performance_snapshot_has_the_totals_and_times_of_a_chat() -> None:
    (snapshot,) = counted(log_of(decisions_of(chat()))).snapshots(LATER)
    assert snapshot.model_dump() == {
        "chat_id": KEY.chat,
        "app_id": KEY.app,
        "workflow_name": "Generator",
        "user_id": ANN,
        "status": "completed",
        "last_event_at": snapshot.last_event_at,
        "started_at": BEGAN + timedelta(seconds=1),
        "ended_at": BEGAN + timedelta(seconds=11),
        "runtime_sec": 10.0,
        "agent_turns": 2,
        "tool_calls": 1,
        "errors": 1,
        "last_turn_duration_sec": 2.0,
        "prompt_tokens": 3000,
        "completion_tokens": 300,
        "cost": pytest.approx(3 * 0.5 + 0.3 * 2.0),
    }
    assert snapshot.last_event_at >= BEGAN + timedelta(seconds=11)


def test_a_chat_that_goes_on_runs_until_now() -> None:
    (snapshot,) = counted(log_of(decisions_of(chat()[:3]))).snapshots(LATER)
    assert (snapshot.ended_at, snapshot.runtime_sec) == (None, 59.0)


def test_the_aggregate_counts_the_chats_that_have_not_ended() -> None:
    failed = [*chat()[:3], ChatFailed(code="x", message="x")]
    cancelled = [*chat()[:3], ChatCancelled(user_id=ANN)]
    histories = [chat(), chat()[:5], failed, cancelled]
    log = log_of(
        *(decisions_of(h, ChatKey(KEY.app, ChatId(str(n)))) for n, h in enumerate(histories))
    )
    aggregate = counted(log).aggregate(LATER)
    assert (aggregate.active_chats, aggregate.tracked_chats) == (1, 4)
    assert (aggregate.total_agent_turns, aggregate.total_errors) == (2, 3)
    assert len(aggregate.chats) == 4


def test_a_tenant_asks_for_its_own_numbers() -> None:
    theirs = ChatKey(AppId("other corp"), KEY.chat)
    state = counted(log_of(decisions_of(chat()), decisions_of(chat()[:3], theirs)))
    aggregate = state.aggregate(LATER, theirs.app)
    assert (aggregate.active_chats, aggregate.total_prompt_tokens) == (1, 1000)
    assert [snapshot.app_id for snapshot in aggregate.chats] == [theirs.app]


def test_a_message_that_is_delivered_twice_is_counted_once() -> None:
    log = chats(2)
    assert counted([*log, *log]).aggregate(LATER) == counted(log).aggregate(LATER)


def test_an_event_stored_twice_is_counted_once() -> None:
    history = decisions_of(chat())
    twice = counted(log_of(history, history))
    assert twice.aggregate(LATER) == counted(log_of(history)).aggregate(LATER)


@given(st.integers(0, 33))
def test_saved_and_loaded_anywhere_it_counts_as_if_never_stopped(cut: int) -> None:
    log = chats(3)
    saved = counted(log[:cut]).save()
    again = MetricsState(PRICES)
    again.load(saved, newest=MANY)
    for one in log:  # what was counted already comes again
        again.record(one)
    whole = counted(log)
    assert again.aggregate(LATER) == whole.aggregate(LATER)
    assert again.totals == whole.totals
    assert again.states == whole.states
    assert page(again) == page(whole)
    assert again.positions == whole.positions


def test_the_tracked_chats_are_bounded_and_the_totals_whole() -> None:
    state = counted(chats(9), chats=4)
    assert len(state.chats) == 4
    assert state.aggregate(LATER).total_agent_turns == 18


def test_ended_chats_are_evicted_before_open_ones() -> None:
    first = ChatKey(KEY.app, ChatId("open"))
    log = log_of(decisions_of(chat()[:3], first), *(decisions_of(chat(), k) for k in _keys(5)))
    state = counted(log, chats=3)
    names = {snapshot.chat_id for snapshot in state.snapshots(LATER)}
    assert names == {"open", "3", "4"}


def _keys(number: int) -> list[ChatKey]:
    return [ChatKey(KEY.app, ChatId(str(n))) for n in range(number)]


def test_an_evicted_open_chat_is_still_active_and_counted() -> None:
    early, late = decisions_of(chat())[:3], decisions_of(chat())[3:]
    others = [decisions_of(chat()[:2], key) for key in _keys(3)]
    state = counted(log_of(early, *others, late), chats=2, running=2)
    aggregate = state.aggregate(LATER)
    assert (aggregate.active_chats, aggregate.total_prompt_tokens) == (3, 3000)


def test_too_many_workflows_share_one_row() -> None:
    histories = [decisions_of(chat(), key, f"Workflow{n}") for n, key in enumerate(_keys(5))]
    state = counted(log_of(*histories), label_sets=3)
    assert len(state.totals) == 4
    assert state.states[OTHER]["completed"] == 2
    assert state.aggregate(LATER).total_agent_turns == 10


def test_a_full_state_fits_into_one_value() -> None:
    keys = [
        ChatKey(AppId(secrets.token_hex(36)), ChatId(secrets.token_hex(36))) for _ in range(600)
    ]
    extra = [ChatKey(AppId("a"), ChatId(secrets.token_hex(36))) for _ in range(CHATS)]
    state = counted(
        log_of(*(decisions_of(chat(), key, secrets.token_hex(36)) for key in [*keys, *extra]))
    )
    value = state.save()
    assert len(value) < SAVED_BYTES
    again = MetricsState(PRICES)
    again.load(value, newest=MANY)
    assert again.totals == state.totals


@pytest.mark.parametrize("value", [b"", b"not compressed", b"\x78\x01\x03\x00\x00\x00\x00\x01"])
def test_a_value_that_is_not_a_saved_state_is_rejected(value: bytes) -> None:
    with pytest.raises(UnreadableStateError):
        MetricsState(PRICES).load(value, newest=MANY)


def test_a_state_of_another_log_is_rejected() -> None:
    state = counted(chats(1))
    fresh = MetricsState(PRICES)
    with pytest.raises(UnreadableStateError, match="saved at 11 of a log that ends at 10"):
        fresh.load(state.save(), newest={EVENTS: StreamSeq(10)})
    assert fresh.positions == {EVENTS: 0}


@pytest.mark.parametrize("place", [1, 5, 11])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_message_that_is_not_an_event_of_its_chat_only_counts_as_rejected(
    kind: str, place: int
) -> None:
    history = decisions_of(chat())
    subject = subjects.event(KEY, "runtime")
    log = [*messages(history[:place]), *messages(history[place:], place + 2)]
    foreign = RawMessage(StreamSeq(place + 1), subject, FOREIGN[kind](history[place - 1]))
    state = counted(sorted([*log, foreign], key=lambda one: one.position))
    assert state.aggregate(LATER) == counted(log).aggregate(LATER)
    assert (state.positions[EVENTS], state.rejected) == (12, 1)


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_same_holds_for_an_evicted_chat(kind: str) -> None:
    history = decisions_of(chat())
    others = [decision for key in _keys(3) for decision in decisions_of(chat(), key)]
    foreign = RawMessage(StreamSeq(90), subjects.event(KEY, "runtime"), FOREIGN[kind](history[4]))
    real = [*messages(history[:5]), *messages(others, 6), *messages(history[5:], 91)]
    state = counted([*real[:38], foreign, *real[38:]], chats=2, running=2)
    assert state.aggregate(LATER) == counted(real, chats=2, running=2).aggregate(LATER)
    whole = counted(real).aggregate(LATER)
    assert state.aggregate(LATER).total_agent_turns == whole.total_agent_turns
    assert (active(state), state.rejected) == (0, 1)


def test_the_end_of_an_evicted_chat_that_is_stored_twice_ends_it_once() -> None:
    ended = decisions_of(chat())
    others = [decisions_of(chat()[:2], key) for key in _keys(3)]
    again = counted(log_of(ended, *others, ended[-1:]), chats=2, running=2)
    assert (active(again), again.rejected) == (3, 1)


def test_the_beginning_of_an_evicted_chat_that_is_stored_twice_begins_it_once() -> None:
    begun = decisions_of(chat()[:2])
    others = [decisions_of(chat()[:2], key) for key in _keys(3)]
    again = counted(log_of(begun, *others, begun[:1]), chats=2, running=2)
    assert (active(again), again.rejected) == (4, 1)


def test_what_was_evicted_and_rejected_is_known_after_a_restart() -> None:
    begun = decisions_of(chat()[:2])
    log = log_of(begun, begun[:1], *(decisions_of(chat()[:2], key) for key in _keys(3)))
    state = MetricsState(PRICES)
    state.load(counted(log, chats=2, running=2).save(), newest=MANY)
    assert (state.rejected, state.evicted_chat(subjects.event(KEY, "runtime"))) == (1, KEY)


@pytest.mark.parametrize("subject", ["mozaiks.evt.00.acme.c.chat", "mozaiks.evt.elsewhere"])
def test_a_message_whose_subject_names_no_chat_is_rejected(subject: str) -> None:
    (real,) = decisions_of(chat()[:1])
    state = counted([RawMessage(StreamSeq(1), subject, real.data)])
    assert (state.positions[EVENTS], state.rejected, len(state.chats)) == (1, 1, 0)


def test_an_event_of_a_newer_release_has_its_place_and_adds_nothing() -> None:
    (dreamt,) = decisions([TurnFailed(turn=1, agent=AGENT, code="x", message="x")], KEY)
    newer = dreamt.data.replace(b"turn.failed", b"turn.dreamt")
    first = event_log.read(subjects.event(KEY, "runtime"), newer)
    (after,) = decisions([TurnCompleted(turn=1, agent=AGENT, text="x")], KEY, head=first.head)
    state = counted([message(first, 1), message(after, 2)])
    aggregate = state.aggregate(LATER)
    assert (aggregate.total_errors, aggregate.total_agent_turns, state.rejected) == (0, 1, 0)


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    turns = TurnDurations().plus(BUCKETS[0]).plus(BUCKETS[-1] + 1).plus(0.6)
    assert turns.counts == (1, 1, *(0,) * (len(BUCKETS) - 2), 1)


def page(state: MetricsState) -> str:
    registry = CollectorRegistry()
    registry.register(MetricsCollector(state, lambda: LATER, 30))
    return generate_latest(registry).decode()


def test_prometheus_reads_totals_by_app_and_workflow() -> None:
    text = page(counted(chats(2)))
    labels = '{app="acme",workflow="Generator"}'
    assert f"mozaiks_agent_turns_total{labels} 4.0" in text
    assert f"mozaiks_tool_calls_total{labels} 2.0" in text
    assert f"mozaiks_errors_total{labels} 2.0" in text
    assert f"mozaiks_prompt_tokens_total{labels} 6000.0" in text
    assert f"mozaiks_completion_tokens_total{labels} 600.0" in text
    assert f"mozaiks_cost_total{labels} 4.2" in text
    assert "mozaiks_active_chats 0.0" in text
    assert "mozaiks_tracked_chats 2.0" in text
    assert "mozaiks_rejected_messages_total 0.0" in text
    assert f"mozaiks_turn_duration_seconds_count{labels} 4.0" in text
    assert list(text_string_to_metric_families(text))


def test_no_series_names_a_chat_or_a_user() -> None:
    state = counted(chats(2))
    assert "chat 1" not in page(state)
    assert f'"{ANN}"' not in page(state)


def test_label_values_of_any_id_are_escaped() -> None:
    nasty = ChatKey(AppId('a"b\\c\nd'), ChatId("1"))
    families = text_string_to_metric_families(page(counted(log_of(decisions_of(chat(), nasty)))))
    apps = {
        sample.labels["app"]
        for family in families
        for sample in family.samples
        if "app" in sample.labels
    }
    assert apps == {'a"b\\c\nd'}


def dispatched() -> ToolDispatched:
    body = {"turn": 1, "call": 0, "agent": AGENT, "tool_call_id": "c", "name": "f"}
    more = {"idempotency_key": "k", "arguments_digest": "d", "effect": "once", "attempt": 1}
    return ToolDispatched.model_validate({**body, **more})


def sample(metrics: MetricsState, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(MetricsCollector(metrics, lambda: LATER, 30))
    return registry.get_sample_value(name, {"app": "acme", "workflow": "Generator", **labels})


def test_model_calls_and_tools_are_counted_by_agent_model_tool_and_outcome() -> None:
    asked = usage().model_copy(update={"provider": "openai"})
    cached = asked.model_copy(update={"cached": True, "cost": 0.0})
    failed = ModelCallFailed(turn=1, call=0, agent=AGENT, code="ANSWER_CUT", message="x")
    events = [*chat()[:2], dispatched(), returned("error"), asked, cached, failed]
    state = counted(log_of(decisions_of(events)))
    model = {"agent": AGENT, "provider": "openai", "model": asked.model or ""}
    assert sample(state, "mozaiks_model_calls_total", **model, outcome="ok") == 1
    assert sample(state, "mozaiks_model_calls_total", **model, outcome="cached") == 1
    unknown = {"agent": AGENT, "provider": "unknown", "model": "unknown"}
    code = failed.code
    assert sample(state, "mozaiks_model_calls_total", **unknown, outcome=code) == 1
    assert sample(state, "mozaiks_model_tokens_total", **model, kind="prompt") == 2000
    assert sample(state, "mozaiks_model_cost_dollars_total", **model) == pytest.approx(0.7)
    tool = {"agent": AGENT, "tool": "f", "status": "error"}
    assert sample(state, "mozaiks_tool_results_total", **tool) == 1
    text = page(state)
    assert 'mozaiks_tool_duration_seconds_sum{tool="f",workflow="Generator"} 1.0' in text
    assert (
        'mozaiks_tool_duration_seconds_bucket{le="0.5",tool="f",workflow="Generator"} 0.0' in text
    )


def test_each_chat_is_in_one_state() -> None:
    waiting, failed = chat()[:10], [*chat()[:3], ChatFailed(code="BROKEN", message="x")]
    histories = [chat(), chat()[:5], waiting, failed]
    log = log_of(
        *(decisions_of(h, ChatKey(KEY.app, ChatId(str(n)))) for n, h in enumerate(histories))
    )
    for state in (counted(log), counted(log, chats=1, running=1)):
        for status in ("completed", "running", "waiting", "failed"):
            assert sample(state, "mozaiks_chats", state=status) == 1, status
        assert sample(state, "mozaiks_failures_total", what="chat", code="BROKEN") == 1


def test_a_running_chat_of_which_nothing_comes_is_stalled() -> None:
    running, waiting = decisions_of(chat()[:3]), chat()[:10]
    log = log_of(running, decisions_of(waiting, ChatKey(KEY.app, ChatId("2"))))
    for state in (counted(log), counted(log, chats=1, running=1)):
        assert sample(state, "mozaiks_stalled_chats") == 1
        (found,) = state.stalled(LATER, 30)
        assert (found.chat_id, found.silent_sec) == (KEY.chat, 57)
        assert state.stalled(LATER, 58) == []
        again = MetricsState(PRICES)
        again.load(state.save(), newest=MANY)
        assert again.stalled(LATER, 30) == [found]
    moved = counted([*log, *messages(decisions_of(chat())[3:], len(log) + 1)])
    assert moved.stalled(LATER, 30) == []
    assert sample(moved, "mozaiks_stalled_chats") == 0


def test_names_that_workflows_make_up_have_a_bounded_number_of_series() -> None:
    named = [
        returned().model_copy(update={"name": f"tool {number}", "tool_call_id": f"c{number}"})
        for number in range(40)
    ]
    state = counted(log_of(decisions_of([*chat()[:2], *named])), series=10)
    text = page(state)
    assert text.count("\nmozaiks_tool_results_total{") == 11
    other = dict.fromkeys(("app", "workflow", "agent", "tool", "status"), "other")
    assert sample(state, "mozaiks_tool_results_total", **other) == 30


def test_limits_of_budgets_and_business_events_are_counted() -> None:
    limit = {"scope": "app", "unit": "cost", "period": "day", "used": 2.0, "hard": 1.0}
    who = {"turn": 1, "agent": AGENT, "model": "m"}
    events = [
        *chat()[:2],
        BudgetWarned.model_validate({**limit, "soft": 0.5}),
        BudgetExceeded.model_validate({**limit, **who}),
        BudgetExceeded.model_validate({**limit, **who, "reason": "unpriced"}),
        BusinessLogged(log_event_type="ORDER_PLACED", message="x"),
    ]
    state = counted(log_of(decisions_of(events)))
    for level in ("soft", "hard", "unpriced"):
        labels = {"scope": "app", "unit": "cost", "period": "day", "level": level}
        assert sample(state, "mozaiks_budget_limits_total", **labels) == 1
    assert sample(state, "mozaiks_business_events_total", type="ORDER_PLACED") == 1


def test_a_stalled_chat_that_is_erased_is_not_stalled_any_more() -> None:
    running = decisions_of(chat()[:3])
    others = [decisions_of(chat()[:3], key) for key in _keys(3)]
    erasure = ChatErased(status="cancelled", created_at=BEGAN, ended_at=BEGAN, prompt_tokens=1000)
    (erased,) = decisions([erasure], KEY, workflow="Generator", head=running[-1].head)
    log = log_of(running, *others)
    end = message(erased, len(log) + 1)
    for limits in ({}, {"chats": 1, "running": 1}):
        state = MetricsState(PRICES, **limits)
        for one in log:
            state.record(one)
        state.record(end)  # its other events are removed from the log
        assert KEY.chat not in [one.chat_id for one in state.stalled(LATER, 0)]
        assert sample(state, "mozaiks_chats", state="running") == 3
        assert sample(state, "mozaiks_chats", state="cancelled") == 1


@pytest.mark.parametrize("read", range(12))
def test_events_that_were_moved_are_counted_once_wherever_counting_was(read: int) -> None:
    log = chats(4)
    positions = [one.position for one in log]
    last = StreamSeq(positions[len(positions) // 2])
    wanted = spread_over(2)
    moved = [one for one in log if wanted.holds("EVENTS_32", one.subject)]
    rest = [one for one in log if one not in moved]
    assert moved
    assert rest
    # The old stream still has what was moved, up to its last position.
    old = [one for one in log if one in rest or one.position <= last]
    state = MetricsState(PRICES)
    step = len(old) * read // 12
    for one in old[:step]:
        state.record(one)
    state.follow("EVENTS_32", Origin(EVENTS, last), wanted)
    for one in moved:
        state.record(one, stream="EVENTS_32")
    for one in old[step:]:
        state.record(one)
    again = MetricsState(PRICES)
    again.load(state.save(), newest={EVENTS: positions[-1], "EVENTS_32": positions[-1]})
    assert again.positions == state.positions
    assert state.aggregate(LATER).model_dump(exclude={"chats"}) == counted(log).aggregate(
        LATER
    ).model_dump(exclude={"chats"})
    assert state.rejected == 0
