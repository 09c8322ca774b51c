import json
import logging
import sys
from typing import Any

import pytest

from services.chassis.logs.context import log_context, trace_id, user_hash
from services.chassis.logs.formats import CONTINUED, JsonLines, Lines
from services.chassis.secrets import REDACTED, process_redactor


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
    _, _, *rest = line.split()
    assert rest == ["🔶", "WARNING", "tiny", "said", "hi", "chat=c1", "count=3"]


def test_a_plain_line_is_followed_by_the_exception() -> None:
    first, second, *_ = Lines("tiny").format(failed()).splitlines()
    assert "said hi" in first
    assert second.startswith(f"{CONTINUED}Traceback")


FORGED = "hi\n2026-01-01 00:00:00.000 INFO paid\r\x1b[2J\x9b1A\u2028\u202eevil\ud800\x00"


@pytest.mark.parametrize("formatter", [JsonLines("tiny"), Lines("tiny")], ids=["json", "lines"])
@pytest.mark.parametrize("place", ["message", "extra", "context", "exception"])
def test_nothing_that_a_user_writes_begins_a_line_or_moves_the_cursor(
    formatter: logging.Formatter, place: str
) -> None:
    extra = {"said": FORGED} if place == "extra" else {}
    made = record("%s", FORGED if place == "message" else "hi", **extra)
    if place == "exception":
        made.exc_info = (ValueError, ValueError(FORGED), None)
    with log_context(chat=FORGED if place == "context" else None):
        line = formatter.format(made)
    first, *others = line.split("\n")
    assert all(other.startswith(CONTINUED) for other in others)
    assert all(part.isprintable() for part in (first, *others))
    line.encode()  # can be written


def test_a_line_belongs_to_the_chat_app_user_and_trace_of_its_work() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with (
        log_context(app="acme", user=user_hash("acme", "ana")),
        log_context(trace=trace, chat="c-1"),
    ):
        told = json.loads(JsonLines("tiny").format(record(app="other")))
        shown = Lines("tiny").format(record(chat="01234567-89ab"))
    assert (told["app"], told["chat"], told["trace"]) == ("other", "c-1", trace)
    assert told["user"] == user_hash("acme", "ana")
    assert "ana" not in told["user"]
    assert "chat=01234567… " in shown
    assert "trace=0af76519…" in shown
    assert "chat" not in json.loads(JsonLines("tiny").format(record()))


def test_only_lines_for_a_terminal_have_colours() -> None:
    assert "\x1b[" not in Lines("tiny").format(record())
    assert Lines("tiny", colours=True).format(record()).startswith("\x1b[33m")


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "x-api-key", "Authorization", "password", "cookie"]
)
def test_a_field_named_like_a_secret_has_no_value(name: str) -> None:
    for formatter in (JsonLines("tiny"), Lines("tiny")):
        for extra in ({name: "hunter2"}, {"headers": {name: "hunter2"}}):
            line = formatter.format(record(**extra))
            if isinstance(formatter, JsonLines) or name in extra:
                assert "hunter2" not in line


def test_a_secret_is_found_in_json_although_json_escapes_its_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHOP_TOKEN", 'schl\u00fcssel"\n1')
    process_redactor.cache_clear()
    try:
        line = JsonLines("tiny").format(record(why='is schl\u00fcssel"\n1!'))
    finally:
        process_redactor.cache_clear()
    assert json.loads(line)["why"] == f"is {REDACTED}!"


@pytest.mark.parametrize(
    ("traceparent", "found"),
    [
        (
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "0af7651916cd43dd8448eb211c80319c",
        ),
        ("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        ("00-short-b7-01", None),
        ("x" * 10_000, None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_is_named_where_its_header_has_the_form_of_w3c(
    traceparent: str | None, found: str | None
) -> None:
    assert trace_id(traceparent) == found
