"""What the documentation names in backticks exists: commands, paths, variables, routes, events, frames."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import get_args

import pytest

from contracts.commands import Command
from contracts.events import EVENT_TYPES
from contracts.wire.frames import FRAMES
from docs.generators import configuration, metrics
from docs.generators.pages import ROOT, Page, pages
from tests.docs.commands import (
    METRICS_ROUTES,
    PROBES,
    UnknownCommandError,
    check,
    commands,
    has_route,
)

PAGES = {page.path: page for page in pages()}
FOLDERS = (
    r"(?:contracts|services|workflows|infra|tests|docs|benchmarks|mozaiks_client|requirements)"
)
PATH = re.compile(rf"{FOLDERS}/[\w./*{{}}<>,-]*")
COMMAND = re.compile(r"(?:make|python|mozaiks) .+")
ROUTE = re.compile(r"(GET|POST) (/\S*)")
CONSTANT = re.compile(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z]{4,}")
EVENT_OR_FRAME = re.compile(r"(?:chat|turn|human|ui|run|business|client|user)(?:\.[a-z_]+)+")
METRIC = re.compile(r"mozaiks_[a-z_]+")
OF_EXPORTS = {"python verify.py ."}
"""Commands of the files that an export writes."""
MODULES = {"mozaiks_client"}
"""Named like a metric."""
ELSEWHERE = {"BREAD_SOLD", "MESSAGES_SNAPSHOT", "STATE_SNAPSHOT", "MALLOC_ARENA_MAX", "PATH"}
"""Of examples, of AG-UI's protocol, of glibc and of the shell."""
EXAMPLES = {"workflows/Bakery/", "turn.call", "reply.content(retries)"}
"""Of examples, and of AG2."""

SOURCES = (
    *(f"{top}/**/*.py" for top in ("contracts", "services", "infra", "workflows")),
    *("contracts/*.py", "infra/*.py", "workflows/*.py", "mozaiks_client/*.py", "Makefile"),
    *("services/transport/console/src/**/*.ts*", "infra/setup.sh"),
)


@cache
def source() -> str:
    """The product's own code: where a name in the documentation must occur."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return "\n".join((ROOT / path).read_text() for path in listed.stdout.split())


def inline(pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
    """What the pages have in backticks of one kind, each with its page."""
    for path, page in PAGES.items():
        for code in page.inline:
            if (match := pattern.fullmatch(code)) and code not in EXAMPLES:
                yield path, match


def test_commands_in_the_text_exist() -> None:
    wrong = []
    for page, found in inline(COMMAND):
        if found[0] in OF_EXPORTS:
            continue
        for words in commands(found[0]):
            try:
                check(words)
            except UnknownCommandError as error:
                wrong.append(f"{page}: {found[0]}: {error}")
    assert wrong == []


def test_paths_in_the_text_exist() -> None:
    def exists(path: str) -> bool:
        return bool(list(ROOT.glob(path))) if "*" in path else (ROOT / path).exists()

    named = [(page, found[0]) for page, found in inline(PATH) if "<" not in found[0]]
    assert [(page, path) for page, path in named if not exists(path)] == []
    assert len(named) > 50


def test_routes_in_the_text_exist() -> None:
    named = [(page, found[1], found[2].partition("?")[0]) for page, found in inline(ROUTE)]
    others = PROBES | METRICS_ROUTES
    assert [one for one in named if one[2] not in others and not has_route(*one[1:])] == []


def test_variables_and_constants_in_the_text_exist() -> None:
    known = configuration.variables() | ELSEWHERE | set(re.findall(r"\b[A-Z_0-9]+\b", source()))
    assert [(page, name[0]) for page, name in inline(CONSTANT) if name[0] not in known] == []


def test_events_and_frames_in_the_text_exist() -> None:
    known = {*EVENT_TYPES, *(frame.frame_type for frame in FRAMES)}
    known |= set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+)"', source()))
    assert [(page, name[0]) for page, name in inline(EVENT_OR_FRAME) if name[0] not in known] == []


def test_metrics_in_the_text_exist() -> None:
    known = {
        one.name.removesuffix("_total")
        for registry in metrics.registries().values()
        for one in metrics.documented(registry)
    }
    named = [(page, name[0].removesuffix("_total")) for page, name in inline(METRIC)]
    assert [one for one in named if one[1] not in known | MODULES] == []


def test_the_references_have_every_command_event_and_frame() -> None:
    reference = PAGES["docs/reference/events.md"].text + PAGES["docs/reference/websocket.md"].text
    names = {*EVENT_TYPES, *(frame.frame_type for frame in FRAMES)}
    names |= {command.model_fields["name"].default for command in get_args(Command)}
    assert [name for name in sorted(names) if f"### {name}\n" not in reference] == []


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md"])
def test_links_of_a_page_outside_the_site_lead_somewhere(path: str) -> None:
    links = [link for link in PAGES[path].links if "://" not in link]
    assert [link for link in links if not (ROOT / link.partition("#")[0]).exists()] == []


def test_names_in_backticks_are_read_from_the_text_and_not_from_code_blocks() -> None:
    page = Page("x.md", "Use `make run`.\n\n```sh\nmake `walk`\n```\n")
    assert page.inline == ["make run"]


def test_functions_in_the_text_exist() -> None:
    """`runtime.ask(...)`, `decide(command, state)`: the last name is one that the product defines."""
    defined = set(re.findall(r"\bdef (\w+)\(", source()))
    called = re.compile(r"(?:await )?[a-z_.]*?\b([a-z_]+)\((.*)\)")
    assert [(page, name[0]) for page, name in inline(called) if name[1] not in defined] == []
