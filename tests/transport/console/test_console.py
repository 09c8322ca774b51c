"""The console's own tests under node, its types, and what its sources must never contain."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.console import PACKAGES, SOURCES, ConsoleBuildError, Node, digest, find_node, install
from tests.conftest import missing

CODE = sorted((SOURCES / "src").rglob("*.ts*"))
STYLES = sorted((SOURCES / "src").rglob("*.css"))
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser|srcdoc"
    r"|dangerouslySetInnerHTML|rehype-raw"
)
ELSEWHERE = re.compile(r"https?://|url\(|@import")


@pytest.fixture(scope="module")
def node() -> Node:
    found = find_node()
    if found is None:
        missing("no Node.js: make setup installs it")
    try:
        install(found)
    except ConsoleBuildError as error:
        missing(str(error))
    return found


@pytest.mark.parametrize(
    "command",
    [
        ("vitest", "vitest.mjs", "run"),
        ("typescript", "bin/tsc", "--noEmit"),
    ],
    ids=["logic", "types"],
)
def test_the_logic_of_the_page_passes_its_tests_and_its_types_fit(
    node: Node, command: tuple[str, str, str]
) -> None:
    package, program, argument = command
    ran = subprocess.run(
        [node.program, str(PACKAGES / package / program), argument],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_text_is_never_inserted_as_markup() -> None:
    found = {path.name: MARKUP.findall(path.read_text(encoding="utf-8")) for path in CODE}
    assert {name: words for name, words in found.items() if words} == {}


def test_the_page_loads_nothing_from_elsewhere() -> None:
    found = {path.name: ELSEWHERE.findall(path.read_text(encoding="utf-8")) for path in STYLES}
    assert {name: words for name, words in found.items() if words} == {}
    assert ELSEWHERE.findall((SOURCES / "index.html").read_text(encoding="utf-8")) == []


def test_the_lock_file_names_no_registry_and_every_package_has_a_digest() -> None:
    lock = (SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    packages = lock.count('"node_modules/')
    assert lock.count('"integrity": "sha512-') == packages


def test_a_changed_source_is_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.ts").write_text("one")
    monkeypatch.setattr("infra.console.SOURCES", tmp_path)
    before = digest()
    assert digest() == before
    (tmp_path / "src" / "main.ts").write_text("two")
    assert digest() != before


def test_a_build_that_fails_says_which_step_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\n")
    failing = tmp_path / "node"
    failing.write_text("#!/bin/sh\necho 'ENOTFOUND: no such registry'\nexit 7\n")
    failing.chmod(0o755)
    monkeypatch.setattr("infra.console.CACHE", tmp_path / "cache")
    with pytest.raises(ConsoleBuildError, match=r"(?s)`npm ci`.*exit code 7.*ENOTFOUND") as raised:
        install(Node(str(failing), str(npm)))
    assert "registry" in str(raised.value)
