"""The sample workflows have tests, and `mozaiks test` runs them."""

import subprocess
import sys
from pathlib import Path

from docs.generators.pages import ROOT


def mozaiks_test(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.orchestrator.cli", "test", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_every_sample_has_tests_and_they_pass() -> None:
    samples = {path.parent.name for path in (ROOT / "workflows").glob("*/agents.*")}
    tested = {path.parent.parent.name for path in (ROOT / "workflows").glob("*/tests/test_*.py")}
    assert samples == tested
    ran = mozaiks_test(ROOT / "workflows")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    assert "warning" not in ran.stdout


def test_a_test_that_fails_fails_the_command(tmp_path: Path) -> None:
    tests = tmp_path / "Bakery" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_bakery.py").write_text("async def test_it(): assert 1 == 2\n")
    ran = mozaiks_test(tmp_path / "Bakery")
    assert ran.returncode == 1
    assert "assert 1 == 2" in ran.stdout


def test_a_folder_without_tests_is_named(tmp_path: Path) -> None:
    assert "no workflow has a folder tests/" in mozaiks_test(tmp_path).stderr
