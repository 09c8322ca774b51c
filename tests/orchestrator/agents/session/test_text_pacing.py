"""The rule that merges streamed text into deltas, on a clock of its own."""

from itertools import accumulate, repeat

import pytest

from services.orchestrator.agents.session.text_pacing import (
    BUSY_WINDOW_SECONDS,
    MAX_CHARS,
    WINDOW_SECONDS,
    WORTH_CHUNKS,
    TextPacing,
)

CHARS = 5


def publications(
    arrivals: list[float], pacing: TextPacing | None = None, chars: int = CHARS
) -> list[tuple[float, list[float]]]:
    """Each publication: its time, and when its chunks had arrived."""
    pacing = pacing or TextPacing()
    found: list[tuple[float, list[float]]] = []
    waiting: list[float] = []
    timer: float | None = None
    for now in [*arrivals, float("inf")]:
        if timer is not None and timer <= now:
            found.append((timer, waiting))
            pacing = pacing.after_publication(timer)
            waiting, timer = [], None
        if now == float("inf"):
            break
        waiting = [*waiting, now]
        pacing = pacing.after_chunk(now)
        due = pacing.due(now, chars * len(waiting))
        if due <= now:
            found.append((now, waiting))
            pacing = pacing.after_publication(now)
            waiting, timer = [], None
        else:
            timer = due
    return found


def spaced(seconds: float, number: int) -> list[float]:
    return list(accumulate(repeat(seconds, number - 1), initial=100.0))


def delays(found: list[tuple[float, list[float]]]) -> list[float]:
    return [time - arrived for time, chunks in found for arrived in chunks]


@pytest.mark.parametrize("spacing", [WINDOW_SECONDS / WORTH_CHUNKS + 1e-6, 0.01, 0.02, 1.0])
def test_a_chunk_of_a_slow_model_is_not_delayed(spacing: float) -> None:
    found = publications(spaced(spacing, 100))
    late = [seconds for seconds in delays(found[10:]) if seconds]
    assert late == []  # the first ones may wait, until the speed of the model is known


def test_a_slow_model_whose_chunks_come_in_pairs_is_not_delayed() -> None:
    found = publications([at for at in spaced(0.04, 100) for _ in range(2)])
    assert not any(delays(found[10:]))


@pytest.mark.parametrize("spacing", [0.0, 0.0001, 0.001, 0.002, 0.005])
def test_every_chunk_is_published_once_in_order_and_within_the_window(spacing: float) -> None:
    arrivals = spaced(spacing, 500)
    found = publications(arrivals)
    assert [arrived for _, chunks in found for arrived in chunks] == arrivals
    assert max(delays(found)) <= WINDOW_SECONDS + 1e-9


def test_the_first_chunk_of_a_burst_is_published_at_once_and_the_others_together() -> None:
    found = publications([100.0] * 20)
    assert [(time, len(chunks)) for time, chunks in found] == [
        (100.0, 1),
        (100.0 + WINDOW_SECONDS, 19),
    ]


def test_a_long_fast_text_becomes_as_many_deltas_as_a_screen_shows() -> None:
    found = publications(spaced(0.001, 1000))
    assert 1.0 / WINDOW_SECONDS - 5 <= len(found) <= 1.0 / WINDOW_SECONDS + 5


def test_a_text_that_slows_down_is_not_delayed_any_more() -> None:
    fast = spaced(0.001, 200)
    slow = [fast[-1] + 0.05 * place for place in range(1, 10)]
    found = publications(fast + slow)
    assert [time for time, _ in found[-9:]] == slow


def busy(loop_round: float) -> TextPacing:
    pacing = TextPacing()
    for _ in range(20):
        pacing = pacing.after_loop_round(loop_round)
    return pacing


def test_a_busy_process_merges_chunks_that_are_further_apart() -> None:
    assert len(publications(spaced(0.02, 100), busy(0.005))) == 100
    assert len(publications(spaced(0.02, 100), busy(0.02))) <= 30
    assert busy(0.02).due(5.0, CHARS) == 5.0  # the first chunk is published at once all the same


def test_a_process_that_stands_still_does_not_hold_text_for_long() -> None:
    stuck = TextPacing(published_at=1.0).after_loop_round(60.0)
    assert stuck.due(1.0, CHARS) == 1.0 + BUSY_WINDOW_SECONDS


def test_much_text_does_not_wait() -> None:
    pacing = TextPacing(published_at=100.0)
    assert pacing.due(100.001, MAX_CHARS - 1) > 100.001
    assert pacing.due(100.001, MAX_CHARS) == 100.001
