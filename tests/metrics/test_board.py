import contextlib
import secrets
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from contracts import event_log, subjects
from contracts.event_log import EMPTY, Head
from contracts.events.chat import ChatCancelled, ChatFailed
from contracts.events.turn import TurnCompleted, TurnFailed
from contracts.ids import AppId, ChatId, ChatKey, StreamSeq
from contracts.prices import Price
from contracts.subjects import InvalidSubjectError, parse
from services.chassis.direct_get import RawMessage
from services.chassis.event_log import START, take
from services.metrics.board import CHATS, OTHER, SAVED_BYTES, Board, UnreadableBoardError
from services.metrics.exposition import BoardCollector
from services.metrics.observations import BUCKETS, Durations
from tests.foreign import FOREIGN
from tests.logs import decisions, message, messages
from tests.metrics.story import AGENT, ANN, BEGAN, KEY, chat, log_of, told

PRICES = {"gpt-4o-mini": Price(prompt=0.5, completion=2.0)}
LATER = BEGAN + timedelta(minutes=1)
MANY = StreamSeq(10**9)


def counted(log: list[RawMessage], **limits: int) -> Board:
    """The board after these messages; it looks up what it has forgotten as the service does."""
    board = Board(PRICES, **limits)
    logs: dict[ChatKey, list[RawMessage]] = {}
    for one in log:
        key = board.forgotten(one.subject)
        board.record(one, EMPTY if key is None else head_of(logs.get(key, [])))
        with contextlib.suppress(InvalidSubjectError):
            logs.setdefault(parse(one.subject).key, []).append(one)
    return board


def head_of(log: list[RawMessage]) -> Head:
    """Where a chat's log ends."""
    place = START
    for one in log:
        place = take(place, one).place
    return place.head


def chats(number: int, app: str = "acme") -> list[RawMessage]:
    keys = [ChatKey(AppId(app), ChatId(f"chat {n}")) for n in range(number)]
    return log_of(*(told(chat(), key) for key in keys))


def test_a_chat_in_numbers() -> None:
    (snapshot,) = counted(log_of(told(chat()))).snapshots(LATER)
    assert snapshot.model_dump() == {
        "chat_id": KEY.chat,
        "app_id": KEY.app,
        "workflow_name": "Generator",
        "user_id": ANN,
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


def test_a_chat_that_goes_on_runs_until_now() -> None:
    (snapshot,) = counted(log_of(told(chat()[:3]))).snapshots(LATER)
    assert (snapshot.ended_at, snapshot.runtime_sec) == (None, 59.0)


def test_the_aggregate_counts_the_chats_that_have_not_ended() -> None:
    failed = [*chat()[:3], ChatFailed(code="x", message="x")]
    cancelled = [*chat()[:3], ChatCancelled(user_id=ANN)]
    histories = [chat(), chat()[:5], failed, cancelled]
    log = log_of(*(told(h, ChatKey(KEY.app, ChatId(str(n)))) for n, h in enumerate(histories)))
    aggregate = counted(log).aggregate(LATER)
    assert (aggregate.active_chats, aggregate.tracked_chats) == (1, 4)
    assert (aggregate.total_agent_turns, aggregate.total_errors) == (2, 3)
    assert len(aggregate.chats) == 4


def test_a_tenant_asks_for_its_own_numbers() -> None:
    theirs = ChatKey(AppId("other corp"), KEY.chat)
    board = counted(log_of(told(chat()), told(chat()[:3], theirs)))
    aggregate = board.aggregate(LATER, theirs.app)
    assert (aggregate.active_chats, aggregate.total_prompt_tokens) == (1, 1000)
    assert [snapshot.app_id for snapshot in aggregate.chats] == [theirs.app]


def test_a_message_told_twice_is_counted_once() -> None:
    log = chats(2)
    assert counted([*log, *log]).aggregate(LATER) == counted(log).aggregate(LATER)


def test_an_event_stored_twice_is_counted_once() -> None:
    history = told(chat())
    twice = counted(log_of(history, history))
    assert twice.aggregate(LATER) == counted(log_of(history)).aggregate(LATER)


@given(st.integers(0, 33))
def test_saved_and_loaded_anywhere_it_counts_as_if_never_stopped(cut: int) -> None:
    log = chats(3)
    saved = counted(log[:cut]).save()
    again = Board(PRICES)
    again.load(saved, newest=MANY)
    for one in log:  # what was counted already comes again
        again.record(one)
    whole = counted(log)
    assert again.aggregate(LATER) == whole.aggregate(LATER)
    assert again.totals == whole.totals
    assert again.position == whole.position


def test_the_tracked_chats_are_bounded_and_the_totals_whole() -> None:
    board = counted(chats(9), chats=4)
    assert board.tracked_chats == 4
    assert board.aggregate(LATER).total_agent_turns == 18


def test_ended_chats_leave_before_open_ones() -> None:
    first = ChatKey(KEY.app, ChatId("open"))
    log = log_of(told(chat()[:3], first), *(told(chat(), k) for k in _keys(5)))
    board = counted(log, chats=3)
    names = {snapshot.chat_id for snapshot in board.snapshots(LATER)}
    assert names == {"open", "3", "4"}


def _keys(number: int) -> list[ChatKey]:
    return [ChatKey(KEY.app, ChatId(str(n))) for n in range(number)]


def test_a_chat_that_left_while_open_is_still_active_and_counted_on() -> None:
    early, late = told(chat())[:3], told(chat())[3:]
    others = [told(chat()[:2], key) for key in _keys(3)]
    board = counted(log_of(early, *others, late), chats=2)
    aggregate = board.aggregate(LATER)
    assert (aggregate.active_chats, aggregate.total_prompt_tokens) == (3, 3000)


def test_too_many_workflows_share_one_row() -> None:
    histories = [told(chat(), key, f"Workflow{n}") for n, key in enumerate(_keys(5))]
    board = counted(log_of(*histories), label_sets=3)
    assert len(board.totals) == 4
    assert board.totals[OTHER].counts.started == 2
    assert board.aggregate(LATER).total_agent_turns == 10


def test_a_full_board_fits_into_one_value() -> None:
    keys = [
        ChatKey(AppId(secrets.token_hex(36)), ChatId(secrets.token_hex(36))) for _ in range(600)
    ]
    extra = [ChatKey(AppId("a"), ChatId(secrets.token_hex(36))) for _ in range(CHATS)]
    board = counted(log_of(*(told(chat(), key, secrets.token_hex(36)) for key in [*keys, *extra])))
    value = board.save()
    assert len(value) < SAVED_BYTES
    again = Board(PRICES)
    again.load(value, newest=MANY)
    assert again.totals == board.totals


@pytest.mark.parametrize("value", [b"", b"not compressed", b"\x78\x01\x03\x00\x00\x00\x00\x01"])
def test_a_value_that_is_no_board_is_refused(value: bytes) -> None:
    with pytest.raises(UnreadableBoardError):
        Board(PRICES).load(value, newest=MANY)


def test_a_board_of_another_log_is_refused() -> None:
    board = counted(chats(1))
    fresh = Board(PRICES)
    with pytest.raises(UnreadableBoardError, match="saved at 11 of a log that ends at 10"):
        fresh.load(board.save(), newest=StreamSeq(10))
    assert fresh.position == 0


@pytest.mark.parametrize("place", [1, 5, 11])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_message_that_is_no_event_of_its_chat_is_counted_as_rejected_and_nothing_else_changes(
    kind: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    history = told(chat())
    subject = subjects.event(KEY, "runtime")
    log = [*messages(history[:place]), *messages(history[place:], place + 2)]
    foreign = RawMessage(StreamSeq(place + 1), subject, FOREIGN[kind](history[place - 1]))
    board = counted(sorted([*log, foreign], key=lambda one: one.position))
    assert board.aggregate(LATER) == counted(log).aggregate(LATER)
    assert (board.position, board.rejected) == (12, 1)
    (line,) = caplog.records
    assert (line.__dict__["position"], line.__dict__["subject"]) == (place + 1, subject)


@pytest.mark.parametrize("kind", FOREIGN)
def test_so_it_is_where_the_board_has_forgotten_the_chat(kind: str) -> None:
    history = told(chat())
    others = [decision for key in _keys(3) for decision in told(chat(), key)]
    foreign = RawMessage(StreamSeq(90), subjects.event(KEY, "runtime"), FOREIGN[kind](history[4]))
    real = [*messages(history[:5]), *messages(others, 6), *messages(history[5:], 91)]
    board = counted([*real[:38], foreign, *real[38:]], chats=2)
    assert board.aggregate(LATER) == counted(real, chats=2).aggregate(LATER)
    whole = counted(real).aggregate(LATER)
    assert board.aggregate(LATER).total_agent_turns == whole.total_agent_turns
    assert (board.active_chats, board.rejected) == (0, 1)


def test_an_end_of_a_forgotten_chat_that_is_stored_twice_ends_it_once() -> None:
    ended = told(chat())
    others = [told(chat()[:2], key) for key in _keys(3)]
    again = counted(log_of(ended, *others, ended[-1:]), chats=2)
    assert (again.active_chats, again.rejected) == (3, 1)


def test_a_beginning_of_a_forgotten_chat_that_is_stored_twice_begins_it_once() -> None:
    begun = told(chat()[:2])
    others = [told(chat()[:2], key) for key in _keys(3)]
    again = counted(log_of(begun, *others, begun[:1]), chats=2)
    assert (again.active_chats, again.rejected) == (4, 1)


def test_what_was_forgotten_and_rejected_is_known_after_a_restart() -> None:
    begun = told(chat()[:2])
    log = log_of(begun, begun[:1], *(told(chat()[:2], key) for key in _keys(3)))
    board = Board(PRICES)
    board.load(counted(log, chats=2).save(), newest=MANY)
    assert (board.rejected, board.forgotten(subjects.event(KEY, "runtime"))) == (1, KEY)


@pytest.mark.parametrize("subject", ["mozaiks.evt.00.acme.c.chat", "mozaiks.evt.elsewhere"])
def test_a_message_whose_subject_names_no_chat_is_rejected(subject: str) -> None:
    (real,) = told(chat()[:1])
    board = counted([RawMessage(StreamSeq(1), subject, real.data)])
    assert (board.position, board.rejected, board.tracked_chats) == (1, 1, 0)


def test_an_event_of_a_newer_release_has_its_place_and_adds_nothing() -> None:
    (dreamt,) = decisions([TurnFailed(turn=1, agent=AGENT, code="x", message="x")], KEY)
    newer = dreamt.data.replace(b"turn.failed", b"turn.dreamt")
    first = event_log.read(subjects.event(KEY, "runtime"), newer)
    (after,) = decisions([TurnCompleted(turn=1, agent=AGENT, text="x")], KEY, head=first.head)
    board = counted([message(first, 1), message(after, 2)])
    aggregate = board.aggregate(LATER)
    assert (aggregate.total_errors, aggregate.total_agent_turns, board.rejected) == (0, 1, 0)


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    turns = Durations().plus(BUCKETS[0]).plus(BUCKETS[-1] + 1).plus(0.6)
    assert turns.counts == (1, 1, *(0,) * (len(BUCKETS) - 2), 1)


def page(board: Board, *, per_chat: bool = False) -> str:
    registry = CollectorRegistry()
    registry.register(BoardCollector(board, per_chat=per_chat))
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


def test_no_series_names_a_chat_or_a_user_unless_asked_for() -> None:
    board = counted(chats(2))
    assert "chat 1" not in page(board)
    assert ANN not in page(board).replace("mozaiks", "")
    series = 'mozaiks_chat_agent_turns_total{app="acme",chat_id="chat 1",workflow="Generator"} 2.0'
    assert series in page(board, per_chat=True)


def test_label_values_of_any_id_are_escaped() -> None:
    nasty = ChatKey(AppId('a"b\\c\nd'), ChatId("1"))
    families = text_string_to_metric_families(page(counted(log_of(told(chat(), nasty)))))
    apps = {
        sample.labels["app"] for family in families for sample in family.samples if sample.labels
    }
    assert apps == {'a"b\\c\nd'}
