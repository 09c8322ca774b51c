"""A file of events is read whole or refused with its line."""

from pathlib import Path

import pytest

from contracts.events.turn import VariablesChanged
from services.orchestrator.agents.replay.log_file import LogFileError, read_log_file
from tests.golden_logs.golden import EVENTS, golden_logs

LARGE = next(log for log in golden_logs() if log.name == "large")
HELLO = next(log for log in golden_logs() if log.name == "hello")


def write(folder: Path, lines: list[bytes]) -> Path:
    path = folder / EVENTS
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.fixture
def lines() -> list[bytes]:
    return (HELLO.folder / EVENTS).read_bytes().splitlines()


def test_a_file_has_the_whole_values_of_its_events() -> None:
    log = LARGE.read()
    stock = [
        fact.event.changed["stock"]
        for fact in log.facts
        if isinstance(fact.event, VariablesChanged) and "stock" in fact.event.changed
    ]
    assert [len(one) for one in stock] == [792_000]
    assert len(log.values) == 1


def test_a_value_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, (LARGE.folder / EVENTS).read_bytes().splitlines())
    with pytest.raises(LogFileError, match="values: there is no file"):
        read_log_file(path)


def test_a_missing_line_is_named(tmp_path: Path, lines: list[bytes]) -> None:
    path = write(tmp_path, [*lines[:3], *lines[4:]])
    with pytest.raises(LogFileError, match="line 4: seq: 5 where 4 comes next"):
        read_log_file(path)


def test_a_changed_line_is_found_by_the_digest_in_the_next(
    tmp_path: Path, lines: list[bytes]
) -> None:
    changed = lines[2].replace(b'"cause":"', b'"cause":"x')
    assert changed != lines[2]
    path = write(tmp_path, [*lines[:2], changed, *lines[3:]])
    with pytest.raises(LogFileError, match="line 4: previous: is not the digest"):
        read_log_file(path)


@pytest.mark.parametrize(
    ("content", "why"), [([b"{}"], "line 1: no event envelope"), ([], "there is no event")]
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: list[bytes], why: str) -> None:
    with pytest.raises(LogFileError, match=why):
        read_log_file(write(tmp_path, content))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="No such file"):
        read_log_file(tmp_path / "none.jsonl")
