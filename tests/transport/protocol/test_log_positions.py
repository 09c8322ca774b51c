from contracts.ids import Seq, StreamSeq
from services.transport.protocol.log_positions import STEP, LogPositions


def test_the_nearest_position_at_or_before_an_event_is_found() -> None:
    positions = LogPositions()
    for seq in range(1, 10 * STEP):
        positions.add(Seq(seq), StreamSeq(seq * 7))
    assert len(positions) == 10
    for seq in range(1, 10 * STEP):
        near = positions.at_or_before(Seq(seq))
        assert near is not None
        assert seq - STEP < near / 7 <= seq


def test_before_the_first_position_nothing_is_known() -> None:
    positions = LogPositions()
    assert positions.at_or_before(Seq(1)) is None
    positions.add(Seq(5), StreamSeq(9))
    assert positions.at_or_before(Seq(4)) is None


def test_a_position_that_is_added_twice_is_kept_once() -> None:
    positions = LogPositions()
    for _ in range(2):
        for seq in (1, STEP + 1):
            positions.add(Seq(seq), StreamSeq(seq))
    assert len(positions) == 2
