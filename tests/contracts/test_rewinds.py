"""Which events count after rewinds: one rule, whatever was rewound how often."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.ids import Seq
from contracts.rewinds import DroppedRange, counts, is_dropped, with_rewind


def ranges(*rewinds: tuple[int, int]) -> tuple[DroppedRange, ...]:
    found: tuple[DroppedRange, ...] = ()
    for to_seq, rewind in rewinds:
        found = with_rewind(found, Seq(to_seq), Seq(rewind))
    return found


def test_what_lies_between_a_rewind_and_its_target_does_not_count() -> None:
    dropped = ranges((3, 7))
    assert [seq for seq in range(1, 10) if is_dropped(dropped, Seq(seq))] == [4, 5, 6]


def test_files_usage_and_the_rewinds_themselves_count_in_any_case() -> None:
    dropped = ranges((3, 7))
    assert counts(dropped, Seq(5), "turn.usage_recorded")
    assert counts(dropped, Seq(5), "chat.attachment_uploaded")
    assert not counts(dropped, Seq(5), "turn.completed")


def test_a_rewind_further_back_contains_the_one_before() -> None:
    assert ranges((8, 12), (3, 15)) == (DroppedRange(Seq(3), Seq(15)),)


def test_rewinds_at_different_places_are_kept_apart() -> None:
    assert ranges((3, 7), (9, 12)) == ranges((3, 7)) + ranges((9, 12))


@given(st.lists(st.integers(0, 30), max_size=12))
def test_the_ranges_drop_what_a_stack_of_events_drops(actions: list[int]) -> None:
    """Model: a stack of positions; a rewind takes off what is above its target, and is put on."""
    stack, dropped, seq = [1], ranges(), 1
    for action in actions:
        seq += 1
        if action % 3 == 0:
            to_seq = stack[action // 3 % len(stack)]
            stack = [one for one in stack if one <= to_seq]
            dropped = with_rewind(dropped, Seq(to_seq), Seq(seq))
        stack.append(seq)
    assert [one for one in range(1, seq + 1) if not is_dropped(dropped, Seq(one))] == stack
