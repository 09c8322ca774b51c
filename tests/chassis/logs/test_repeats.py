from services.chassis.logs.repeats import RepeatLimiter


def test_a_repeated_warning_is_logged_again_after_a_time_with_the_number_suppressed() -> None:
    limiter = RepeatLimiter(30.0)
    said = {
        (line, at): silent
        for at in range(0, 70, 5)
        for line in "ab"
        if (silent := limiter.suppressed(line, at)) is not None
    }
    assert said == {(line, at): (5 if at else 0) for at in (0, 30, 60) for line in "ab"}


def test_old_lines_are_forgotten() -> None:
    limiter = RepeatLimiter(1.0)
    for number in range(1000):
        assert limiter.suppressed(f"line {number}", number) == 0
    assert len(limiter._logged) <= 2
