import os
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from infra.child_process import LOG_BYTES, Child, StartError, StopRequestedError


def python(code: str, log: Path) -> Child:
    return Child("sample", [sys.executable, "-c", code], log)


def test_one_that_dies_early_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = python("print('no such thing'); raise SystemExit(3)", tmp_path / "log")
    child.start()
    with pytest.raises(StartError, match=r"(?s)sample ended with code 3.*no such thing"):
        child.wait_until(lambda: False, seconds=20)


def test_one_that_never_gets_ready_is_given_up(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path / "log")
    child.start()
    with pytest.raises(StartError, match="was not ready within"):
        child.wait_until(lambda: False, seconds=0.1)
    child.kill()


def test_waiting_ends_when_we_are_asked_to_stop(tmp_path: Path) -> None:
    child = python("import time; time.sleep(60)", tmp_path / "log")
    child.start()
    with pytest.raises(StopRequestedError):
        child.wait_until(lambda: False, seconds=20, stop_requested=lambda: True)
    assert child.stop()
    assert child.ending == "was ended by SIGTERM"


def test_a_program_runs_to_its_end_or_none_of_it_is_left(tmp_path: Path) -> None:
    python("print('done')", tmp_path / "done").run_to_end(20)
    with pytest.raises(StartError, match=r"(?s)sample ended with code 3"):
        python("raise SystemExit(3)", tmp_path / "failed").run_to_end(20)
    slow = python("import time; time.sleep(60)", tmp_path / "slow")
    with pytest.raises(StartError, match=r"did not end within 0\.1 s"):
        slow.run_to_end(0.1)
    assert slow.ending == "was ended by SIGKILL"
    with pytest.raises(StopRequestedError):
        slow.run_to_end(20, stop_requested=lambda: True)
    assert not slow.running


def larger(log: Path, size: int) -> bool:
    return log.stat().st_size > size


def test_once_paused_no_thread_of_it_does_anything_until_it_is_resumed(tmp_path: Path) -> None:
    counting = (
        "import itertools, threading, time\n"
        "def count():\n"
        "    for number in itertools.count():\n"
        "        print(number, flush=True)\n"
        "for _ in range(8): threading.Thread(target=count, daemon=True).start()\n"
        "time.sleep(60)\n"
    )
    child = python(counting, tmp_path / "log")
    child.start()
    try:
        child.wait_until(lambda: bool(child.written()), seconds=20)
        for _ in range(5):
            child.pause()
            size = child.log.stat().st_size
            time.sleep(0.05)
            assert child.log.stat().st_size == size
            child.resume()
            child.wait_until(partial(larger, child.log, size), seconds=20)
        child.pause()
        assert child.stop(20)
        child.pause()  # nothing to pause any more
    finally:
        child.kill()


def test_one_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('deaf', flush=True); time.sleep(60)"
    )
    child = python(stubborn, tmp_path / "log")
    child.start()
    child.wait_until(lambda: "deaf" in child.written(), seconds=20)
    assert not child.stop(0.1)
    assert child.ending == "was ended by SIGKILL"


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="sample could not be started"):
        Child("sample", [str(tmp_path / "nowhere")], tmp_path / "log").start()


def test_a_large_log_is_put_aside_at_the_start(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * (LOG_BYTES + 1))
    child = python("print('new')", log)
    child.start()
    child.stop(20)
    assert log.stat().st_size < 100
    assert (tmp_path / "log.1").stat().st_size == LOG_BYTES + 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's parent death signal")
def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    parent = (
        "import sys, time; from pathlib import Path; from infra.child_process import Child\n"
        f"child = Child('c', [sys.executable, '-c', 'import time; time.sleep(60)'], Path({str(tmp_path / 'log')!r}))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    descriptor = os.pidfd_open(child) if alive(child) else None
    if descriptor is not None:
        assert select.select([descriptor], [], [], 20)[0], "the child outlived its parent"
        os.close(descriptor)


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
