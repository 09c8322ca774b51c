import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.logs import log_file
from services.chassis.logs.log_file import FILE_NAME, KEPT_FILES, LogFile

WRITER = """
import logging, sys
from pathlib import Path
from services.chassis.logs import log_file
from services.chassis.logs.log_file import LogFile
log_file.CLOSE_SECONDS = 50  # the machine may be slow
file = LogFile(Path(sys.argv[1]), max_bytes=int(sys.argv[3]))
for number in range(int(sys.argv[4])):
    file.emit(logging.makeLogRecord({"msg": f"{sys.argv[2]} {number} " + "x" * 60}))
file.close()
"""


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits until all lines are written, however slow the machine is."""
    monkeypatch.setattr(log_file, "CLOSE_SECONDS", 50)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[LogFile]:
    file = LogFile(tmp_path / "logs")
    yield file
    file.close()


def line(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text})


def written(folder: Path) -> list[str]:
    files = sorted(folder.glob(f"{FILE_NAME}*"))
    return [text for file in files for text in file.read_text(encoding="utf-8").splitlines()]


def test_lines_are_in_a_folder_and_a_file_of_the_user_alone(
    opened: LogFile, tmp_path: Path
) -> None:
    opened.emit(line("öl"))
    opened.close()
    assert written(tmp_path / "logs") == ["öl"]
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "logs" / FILE_NAME).stat().st_mode) == 0o600


def test_several_processes_rotate_one_file_and_lose_no_line(tmp_path: Path) -> None:
    names, lines = ("a", "b", "c"), 100
    arguments = [str(3 * lines * 80 // (KEPT_FILES - 1)), str(lines)]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name, *arguments])
        for name in names
    ]
    assert [writer.wait(50) for writer in writers] == [0, 0, 0]
    found = [tuple(text.split()[:2]) for text in written(tmp_path)]
    assert sorted(found) == sorted((name, str(n)) for name in names for n in range(lines))
    assert len(list(tmp_path.glob(f"{FILE_NAME}*"))) > 1


def test_an_old_file_is_removed(tmp_path: Path) -> None:
    file = LogFile(tmp_path, max_bytes=200)
    for number in range(100):
        file.emit(line(f"{number:03} {'x' * 60}"))
    file.close()
    assert len(list(tmp_path.glob(f"{FILE_NAME}*"))) == KEPT_FILES + 1
    assert written(tmp_path)[-1].startswith("0") or "099" in "".join(written(tmp_path))


def test_a_disk_that_cannot_be_written_costs_lines_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("no folder")
    file = LogFile(tmp_path / "logs")
    for number in range(50):
        file.emit(line(str(number)))
    file.close()
    assert file.lost == 50
    [said] = [record for record in caplog.records if record.name == log_file.__name__]
    assert said.getMessage() == "the log file cannot be written"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")  # noqa: PTH110
def test_a_full_disk_costs_lines_and_what_comes_later_is_written(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.symlink_to("/dev/full")
    file = LogFile(tmp_path)
    for number in range(50):
        file.emit(line(str(number)))
    file.close()
    assert file.lost == 50
    path.unlink()
    again = LogFile(tmp_path)
    again.emit(line("room again"))
    again.close()
    assert (again.lost, written(tmp_path)) == (0, ["room again"])


def test_lines_that_a_slow_disk_cannot_take_are_counted_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "WAITING_LINES", 10)
    monkeypatch.setattr(log_file, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(LogFile, "_write_all", lambda _: None)  # a disk that never answers
    file = LogFile(tmp_path)
    for number in range(30):
        file.emit(line(str(number)))
    assert file.lost == 20
    file.close()
