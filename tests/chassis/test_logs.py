import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from services.chassis.logs import JsonLines, Lines, RepeatLimiter, configure


def record(message: str = "said %s", *told: object, **extra: Any) -> logging.LogRecord:
    return logging.getLogger("somewhere").makeRecord(
        "somewhere", logging.WARNING, "file.py", 1, message, told or ("hi",), None, extra=extra
    )


def failed() -> logging.LogRecord:
    made = record()
    try:
        int("the coffee\nis cold")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_json_line_parses_and_carries_its_extras() -> None:
    line = JsonLines("tiny").format(record(chat="c 1", count=3, odd=object, text="a\nb ü"))
    assert "\n" not in line
    told = json.loads(line)
    assert told["msg"] == "said hi"
    assert (told["level"], told["service"], told["logger"]) == ("WARNING", "tiny", "somewhere")
    assert (told["chat"], told["count"], told["text"]) == ("c 1", 3, "a\nb ü")
    assert told["ts"].endswith("+00:00")
    assert "taskName" not in told


def test_a_json_line_carries_the_exception_in_one_line() -> None:
    line = JsonLines("tiny").format(failed())
    assert "\n" not in line
    assert r"the coffee\nis cold" in json.loads(line)["exception"]


def test_a_plain_line_names_time_level_service_message_and_extras() -> None:
    line = Lines("tiny").format(record(chat="c1", count=3))
    _, rest = line.split(" ", 1)
    assert rest.split() == ["WARNING", "tiny", "said", "hi", "chat=c1", "count=3"]


def test_a_plain_line_is_followed_by_the_exception() -> None:
    first, second, *_ = Lines("tiny").format(failed()).splitlines()
    assert "said hi" in first
    assert second.startswith("Traceback")


@pytest.fixture
def own_logging() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    kept = (root.level, root.handlers[:])
    yield root
    root.setLevel(kept[0])
    root.handlers[:] = kept[1]


@pytest.mark.usefixtures("own_logging")
def test_every_logger_of_the_process_writes_to_standard_error_in_one_form(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure("tiny", "INFO", as_json=True)
    logging.getLogger("a.b").info("heard", extra={"chat": "c1"})
    logging.getLogger("a.b").debug("too quiet")
    logging.getLogger("httpx").info("too chatty")
    written = capsys.readouterr()
    [line] = written.err.splitlines()
    assert (json.loads(line)["msg"], json.loads(line)["chat"]) == ("heard", "c1")
    assert written.out == ""


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
