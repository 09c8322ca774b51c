"""An app waits for one turn of each other app, whatever they have waiting; nothing is lost or starved."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from services.chassis.consumers.fair_queue import FairQueue, Shares


def queue(limit: int = 100, per_app: int = 100, **weights: int) -> FairQueue[int]:
    return FairQueue(Shares(limit, per_app, weights))


def with_items(waiting: FairQueue[int], app: str, numbers: Iterable[int]) -> FairQueue[int]:
    for number in numbers:
        waiting.add(app, number)
    return waiting


def taken(waiting: FairQueue[int], most: int = 1000) -> list[str]:
    """The apps of the items that may begin now, in their order."""
    found: list[str] = []
    while len(found) < most and (one := waiting.take()) is not None:
        found.append(one[0])
    return found


def test_an_app_with_one_item_waits_for_one_of_another_that_has_thousands() -> None:
    waiting = with_items(queue(), "noisy", range(10_000))
    assert taken(waiting, 5) == ["noisy"] * 5
    waiting.add("quiet", 1)
    assert taken(waiting, 3) == ["noisy", "quiet", "noisy"]


def test_apps_take_turns_and_the_items_of_each_keep_their_order() -> None:
    waiting = queue()
    for app in ("a", "b", "c"):
        with_items(waiting, app, range(2))
    assert [waiting.take() for _ in range(7)] == [
        *[("a", 0), ("b", 0), ("c", 0)],
        *[("a", 1), ("b", 1), ("c", 1)],
        None,
    ]


def test_an_app_has_as_many_turns_in_a_rotation_as_its_weight() -> None:
    waiting = queue(heavy=3)
    for app in ("heavy", "light"):
        with_items(waiting, app, range(10))
    assert taken(waiting, 8) == [*["heavy"] * 3, "light", *["heavy"] * 3, "light"]


def test_an_app_at_its_limit_leaves_the_rest_to_others() -> None:
    waiting = with_items(queue(limit=4, per_app=2), "noisy", range(100))
    assert taken(waiting) == ["noisy", "noisy"]
    waiting.add("quiet", 1)
    assert taken(waiting) == ["quiet"]
    waiting.release("noisy")
    assert taken(waiting) == ["noisy"]
    assert (waiting.in_use, waiting.waiting) == (3, 97)


def test_nothing_begins_beyond_the_limit_of_all() -> None:
    waiting = queue(limit=2)
    for app in ("a", "b", "c"):
        waiting.add(app, 1)
    assert taken(waiting) == ["a", "b"]
    assert waiting.is_full
    waiting.release("a")
    assert taken(waiting) == ["c"]


def test_an_item_that_is_added_first_is_the_next_of_its_app() -> None:
    waiting = with_items(queue(), "a", [1, 2])
    waiting.add("a", 0, first=True)
    assert [waiting.take() for _ in range(3)] == [("a", 0), ("a", 1), ("a", 2)]


def test_the_newest_items_of_the_app_that_has_most_are_dropped() -> None:
    waiting = with_items(with_items(queue(), "noisy", range(5)), "quiet", [7, 8])
    assert waiting.drop(3) == [("noisy", 4), ("noisy", 3), ("noisy", 2)]
    assert Counter(app for app, _ in waiting.drop(2)) == {"noisy": 1, "quiet": 1}
    assert taken(waiting) == ["noisy", "quiet"]


def test_thousands_of_apps_cost_no_more_than_two() -> None:
    waiting = queue(limit=10_000, per_app=1)
    for number in range(5_000):
        with_items(waiting, f"app-{number}", range(2))
    assert len(taken(waiting, 10_000)) == 5_000  # each is at its limit, and is looked at once
    assert waiting.take() is None
    waiting.release("app-4999")
    assert waiting.take() == ("app-4999", 1)


APPS = ("a", "b", "c", "d")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(APPS)),
        st.tuples(st.just("take"), st.just("")),
        st.tuples(st.just("release"), st.sampled_from(APPS)),
        st.tuples(st.just("drop"), st.just("")),
    ),
    max_size=200,
)


@given(
    STEPS,
    st.integers(1, 5),
    st.integers(1, 4),
    st.dictionaries(st.sampled_from(APPS), st.integers(1, 4)),
)
def test_limits_hold_nothing_is_lost_and_no_app_is_passed_over(
    steps: list[tuple[str, str]], limit: int, per_app: int, weights: dict[str, int]
) -> None:
    waiting: FairQueue[int] = FairQueue(Shares(limit, per_app, weights))
    lanes: dict[str, deque[int]] = defaultdict(deque)
    used: Counter[str] = Counter()
    passed: dict[str, Counter[str]] = defaultdict(Counter)
    """By app that could take one: how often each other has, since it last did."""
    for number, (step, app) in enumerate(steps):
        match step:
            case "add":
                waiting.add(app, number)
                lanes[app].append(number)
            case "release" if used[app]:
                waiting.release(app)
                used[app] -= 1
            case "take":
                able = {one for one in APPS if lanes[one] and used[one] < per_app}
                found = waiting.take()
                if found is None:
                    assert not able or used.total() >= limit
                    continue
                taker, item = found
                assert taker in able
                assert item == lanes[taker].popleft()
                used[taker] += 1
                passed.pop(taker, None)
                for other in able - {taker}:
                    passed[other][taker] += 1
                    assert passed[other][taker] <= weights.get(taker, 1)
            case "drop":
                longest = max(len(lane) for lane in lanes.values()) if lanes else 0
                for owner, item in waiting.drop(1):
                    assert len(lanes[owner]) == longest
                    assert item == lanes[owner].pop()
            case _:
                pass
        for one in APPS:
            if not lanes[one] or used[one] >= per_app:
                passed.pop(one, None)  # it could not take its turn
        assert waiting.waiting == sum(map(len, lanes.values()))
        assert waiting.in_use == used.total()


def test_what_enters_without_waiting_counts_as_what_was_taken() -> None:
    waiting = queue(limit=3, per_app=2)
    assert [waiting.enter("a") for _ in range(3)] == [True, True, False]
    assert (waiting.enter("b"), waiting.enter("c")) == (True, False)
    with_items(waiting, "a", [1])
    assert taken(waiting) == []
    waiting.release("a")
    assert taken(waiting) == ["a"]
