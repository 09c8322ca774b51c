"""The console's own tests under node, and what its sources must never contain."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CONSOLE = HERE.parents[2] / "services" / "transport" / "console"
SOURCES = sorted(path for path in CONSOLE.iterdir() if path.suffix in {".js", ".html", ".css"})
STORIES = sorted(HERE.glob("*.test.mjs"))
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|DOMParser|srcdoc"
)
ELSEWHERE = re.compile(r"https?://|url\(|@import")


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.name)
def test_the_page_logic_passes_its_tests_under_node(story: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip(f"node is not installed: {story.name} was not run")
    ran = subprocess.run(
        [node, "--test", str(story)], capture_output=True, text=True, timeout=25, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_text_is_never_inserted_as_markup(source: Path) -> None:
    assert MARKUP.findall(source.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_page_loads_nothing_from_elsewhere(source: Path) -> None:
    assert ELSEWHERE.findall(source.read_text(encoding="utf-8")) == []


def test_every_file_that_the_page_names_exists() -> None:
    named = re.findall(r'"/console/([^"]+)"', (CONSOLE / "old.html").read_text(encoding="utf-8"))
    imported = [
        name
        for path in CONSOLE.glob("*.js")
        for name in re.findall(r'from "\./([^"]+)"', path.read_text(encoding="utf-8"))
    ]
    missing = [name for name in {*named, *imported} if not (CONSOLE / name).is_file()]
    assert missing == []
