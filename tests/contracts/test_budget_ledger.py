"""What the entries of a ledger add up to, in whatever order and however often they come."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from contracts.budget_ledger import (
    EMPTY,
    PAGE,
    Balance,
    Counted,
    Entry,
    Granted,
    Held,
    Occupied,
    Page,
    Refused,
    Released,
    Resumed,
    Settled,
    Warned,
    hold,
)
from contracts.budgets import Limit, Period

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMIT = Limit(unit="tokens", period="hour", soft=80, hard=100)


def held(tokens: int, holder: str = "c1", call: str = "0", runner: str = "r1") -> Held:
    return Held(time=NOON, holder=holder, call=call, runner=runner, amounts={"tokens": tokens})


def settled(tokens: int, holder: str = "c1", call: str = "0") -> Settled:
    return Settled(time=NOON, holder=holder, call=call, used={"tokens": tokens})


def used(balance: Balance, period: Period = "total", now: datetime = NOON) -> int:
    return balance.used(period, "tokens", now)


def ask(
    balance: Balance, wanted: Held, least: int = 1, limit: Limit = LIMIT
) -> Granted | Refused | Occupied:
    return hold(balance, [limit], wanted, {"tokens": least})


def test_a_hold_takes_room_until_it_is_settled_by_what_was_used() -> None:
    balance = EMPTY.after([held(60)])
    granted = ask(balance, held(60, "c2"))
    assert isinstance(granted, Granted)
    assert granted.entry.amounts == {"tokens": 40}
    balance = balance.after([granted.entry, settled(10), settled(25, "c2")])
    assert (used(balance), balance.held, balance.holds) == (35, {"tokens": 0}, {})


def test_what_has_no_room_for_the_least_is_refused_and_told_why() -> None:
    busy = ask(EMPTY.after([held(95)]), held(20, "c2"), least=10)
    assert isinstance(busy, Refused)
    assert busy.may_free
    spent = ask(EMPTY.after([held(95), settled(95)]), held(20, "c2"), least=10)
    assert isinstance(spent, Refused)
    assert not spent.may_free
    assert (spent.status.used, spent.status.resets_at) == (95, NOON.replace(minute=0) + HOUR)


def test_a_hold_grows_within_the_room_and_counts_once() -> None:
    balance = EMPTY.after([held(20)])
    granted = ask(balance, held(150))
    assert isinstance(granted, Granted)
    assert balance.after([granted.entry]).held == {"tokens": 100}


def test_a_holder_has_one_call_at_a_time_and_one_runner() -> None:
    balance = EMPTY.after([held(20)])
    assert isinstance(ask(balance, held(5, runner="r2")), Occupied)
    assert isinstance(ask(balance, held(5, call="1")), Occupied)
    resumed = balance.after([Resumed(time=NOON, holder="c1", runner="r2")])
    assert isinstance(ask(resumed, held(5, runner="r2")), Granted)
    assert isinstance(ask(resumed, held(5, runner="r1")), Occupied)


def test_a_call_that_is_repeated_after_a_lost_process_counts_as_often_as_it_was_begun() -> None:
    again = [Resumed(time=NOON, holder="c1", runner=f"r{number}") for number in (2, 3)]
    balance = EMPTY.after([held(50), *again, held(50, runner="r3"), settled(30)])
    window = balance.windows["total"]
    assert (window.used, window.repeated) == ({"tokens": 30}, {"tokens": 60})
    assert (window.calls, window.repeated_calls, used(balance)) == (1, 2, 90)


def test_a_call_counts_in_the_windows_in_which_it_began() -> None:
    balance = EMPTY.after([held(50), settled(30)])
    assert (used(balance, "hour"), used(balance, "day")) == (30, 30)
    assert (used(balance, "hour", NOON + HOUR), used(balance, "day", NOON + HOUR)) == (0, 30)
    late = held(50).model_copy(update={"time": NOON + HOUR, "holder": "c2"})
    balance = balance.after([late, held(9, "c3"), settled(5, "c2"), settled(9, "c3")])
    assert used(balance, "hour", NOON + HOUR) == 5
    assert used(balance, "total", NOON + HOUR) == 44


def test_a_clock_that_is_behind_opens_no_earlier_window() -> None:
    late = held(50).model_copy(update={"time": NOON + HOUR})
    balance = EMPTY.after([late, settled(50)])
    assert used(balance, "hour", NOON) == 50


def test_a_soft_limit_warns_once_in_each_window() -> None:
    granted = ask(EMPTY, held(80))
    assert isinstance(granted, Granted)
    assert [one.limit for one in granted.warnings] == [LIMIT]
    warned = EMPTY.after([Warned(time=NOON, unit="tokens", period="hour")])
    again = ask(warned, held(80))
    assert isinstance(again, Granted)
    assert again.warnings == ()
    later = ask(warned, held(80).model_copy(update={"time": NOON + HOUR}))
    assert isinstance(later, Granted)
    assert len(later.warnings) == 1


def test_what_is_counted_anew_replaces_what_was_counted() -> None:
    balance = EMPTY.after([held(5), settled(5)])
    balance = balance.after([Counted(time=NOON, used={"tokens": 3})])
    assert used(balance) == 3


def test_a_page_is_read_as_it_was_written() -> None:
    entries: tuple[Entry, ...] = (held(5), Resumed(time=NOON, holder="c1", runner="r2"))
    page = Page(page_id="p", entries=entries, balance=EMPTY.after(entries))
    assert PAGE.validate_json(page.model_dump_json()) == page


# -- any interleaving ---------------------------------------------------------------------------

HOLDERS = ("c1", "c2", "c3")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(HOLDERS),
        st.sampled_from(("hold", "settle", "release", "kill", "again")),
        st.integers(0, 60),
    ),
    max_size=60,
)


class World:
    """Chats that call models in processes which are killed; `log` is what their logs say was used."""

    def __init__(self) -> None:
        self.balance = EMPTY
        self.log: dict[str, list[int]] = {holder: [] for holder in HOLDERS}
        self.runner = dict.fromkeys(HOLDERS, 0)
        self.repeats = 0
        self.repeated = 0
        self.entries: list[Entry] = []

    def do(self, holder: str, step: str, tokens: int) -> None:
        open_hold = self.balance.holds.get(holder)
        call = str(len(self.log[holder]))
        runner = f"r{self.runner[holder]}"
        match step:
            case "hold":
                answer = ask(self.balance, held(tokens, holder, call, runner), 0, LIMIT)
                if isinstance(answer, Granted):
                    self.add(answer.entry)
            case "settle" if open_hold is not None and open_hold.runner == runner:
                self.log[holder].append(tokens)
                self.repeated += tokens * open_hold.repeats
                self.add(settled(tokens, holder, open_hold.call))
            case "release" if open_hold is not None and open_hold.runner == runner:
                self.add(Released(time=NOON, holder=holder, call=open_hold.call))
            case "kill":
                self.runner[holder] += 1
                if open_hold is not None:
                    runner = f"r{self.runner[holder]}"
                    self.add(Resumed(time=NOON, holder=holder, runner=runner))
            case "again" if self.entries:  # an entry without an open hold of its call
                last = self.entries[-1]
                if isinstance(last, Settled | Released):
                    self.add(last)
            case _:
                pass

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.balance = self.balance.after([entry])


@given(STEPS)
def test_whatever_happens_the_ledger_has_what_the_logs_have(
    steps: list[tuple[str, str, int]],
) -> None:
    world = World()
    for holder, step, tokens in steps:
        world.do(holder, step, tokens)
        open_holds = [one.amounts["tokens"] for one in world.balance.holds.values()]
        assert world.balance.held.get("tokens", 0) == sum(open_holds)
    window = world.balance.windows.get("total")
    in_logs = [tokens for used in world.log.values() for tokens in used]
    assert sum(in_logs) == (0 if window is None else window.used.get("tokens", 0))
    assert len(in_logs) == (0 if window is None else window.calls)
    assert world.repeated == (0 if window is None else window.repeated.get("tokens", 0))


@given(STEPS, st.integers(1, 7))
def test_a_ledger_folded_in_parts_is_the_same(steps: list[tuple[str, str, int]], size: int) -> None:
    world = World()
    for holder, step, tokens in steps:
        world.do(holder, step, tokens)
    parts = EMPTY
    for first in range(0, len(world.entries), size):
        stored = Balance.model_validate_json(parts.model_dump_json())
        parts = stored.after(world.entries[first : first + size])
    assert parts == world.balance


@given(STEPS)
def test_what_is_held_and_used_is_above_the_limit_by_no_more_than_calls_used_beyond_their_hold(
    steps: list[tuple[str, str, int]],
) -> None:
    """The documented rule: a hold is never granted beyond the limit."""
    world, beyond = World(), 0
    for holder, step, tokens in steps:
        before = world.balance.holds.get(holder)
        calls = len(world.log[holder])
        world.do(holder, step, tokens)
        if before is not None and len(world.log[holder]) > calls:
            beyond += max(tokens * (1 + before.repeats) - before.amounts["tokens"], 0)
        taken = used(world.balance, "hour") + world.balance.held.get("tokens", 0)
        assert taken <= 100 + beyond
