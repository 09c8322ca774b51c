import json
import logging
import sys
from typing import Any

from services.chassis.logs.formats import JsonLines, Lines


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
