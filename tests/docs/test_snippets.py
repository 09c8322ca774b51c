"""Every code block of README and docs/ is checked; a block that no check knows fails the test run."""

import asyncio
import contextlib
import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from contracts.business_events import RuntimeBusinessEvent
from contracts.event_log import read_event
from contracts.events.business import BusinessLogged
from contracts.events.human import Approval, Audience
from contracts.events.turn import TurnStopped
from contracts.ids import AgentName, UserId
from docs.generators.pages import ROOT, Page, Snippet, pages
from infra.plan import build_plan, summary
from infra.ports import free_port
from mozaiks_client.frames import UnknownData, parse
from services.chassis.answer_links import AnswerLinks
from services.chassis.logs.context import log_context, user_hash
from services.chassis.logs.formats import Lines
from services.chassis.nats.access import access_of
from services.chassis.nats.connection import Connection
from services.chassis.process.probes import Probes
from services.chassis.settings import Settings
from services.orchestrator.cli.__main__ import app as author_commands
from services.orchestrator.domain.log_lines import log_lines
from services.orchestrator.runtime.question_notices import QuestionNotices
from services.persistence.domain.backup_plan import Manifest
from services.persistence.drill import report
from services.persistence.maintenance.restorer import Restored
from services.persistence.maintenance.verifier import Verified
from services.transport.protocol.client_message_parser import parse_frame
from tests.docs.commands import METRICS_ROUTES, PORTS, PROBES, check, commands
from tests.story import KEY, NOON, STARTED, asked, given, speaks

SNIPPETS = [snippet for page in pages() for snippet in page.snippets]
WORKFLOW_FILE = re.compile(r"workflows/(\w+)/([\w./]+)")
PLAYED = {"talk.py", "output of talk.py", "mozaiks run Bakery", "user in nats-server.conf"}
"""Run by test_getting_started.py and test_examples.py."""


def check_commands(snippet: Snippet) -> None:
    for words in commands(snippet.text):
        check(words)


def check_python(snippet: Snippet) -> None:
    """A program of its own is run; a copy of a file of the repository is that file."""
    if snippet.title:
        assert snippet.text == (ROOT / snippet.title).read_text()
        return
    exec(compile(snippet.text, str(snippet), "exec"), {})


def check_workflow_test(snippet: Snippet) -> None:
    (file,) = (ROOT / "workflows").glob(f"*/tests/{snippet.title}")
    assert snippet.text == file.read_text()


def check_frame(snippet: Snippet) -> None:
    frame = parse(snippet.text)
    assert not isinstance(frame.data, UnknownData)


def check_client_message(snippet: Snippet) -> None:
    parse_frame(snippet.text, limit=10_000)


def check_event(snippet: Snippet) -> None:
    line = json.dumps(json.loads(snippet.text), separators=(",", ":")).encode()
    stored = read_event(line)
    assert stored.event is not None
    assert snippet.title == f"event {stored.event.type}"


def check_milestone(snippet: Snippet) -> None:
    found = RuntimeBusinessEvent.model_validate_json(snippet.text)
    assert json.loads(found.model_dump_json()) == json.loads(snippet.text)


def check_ready_answer(snippet: Snippet) -> None:
    """What a service answers whose NATS does not run."""
    port = free_port()
    connection = Connection(
        access_of(Settings(nats_url=f"nats://127.0.0.1:{port}"), "test"), "test"
    )

    async def open_for_a_moment() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await connection.open()

    asyncio.run(open_for_a_moment())
    probes = Probes(CollectorRegistry())
    probes.ready_when(nats=lambda: connection.problem)
    answer = probes.page("/ready")
    assert answer is not None
    assert json.loads(answer[2].decode().replace(str(port), "4222")) == json.loads(snippet.text)


def check_make_run_output(snippet: Snippet) -> None:
    plan = build_plan({})
    started = summary(
        plan, nats_url="nats://127.0.0.1:4222", mongodb_uri="mongodb://127.0.0.1:20411"
    )
    assert snippet.text == f"starting ...\n{started}\n"


def check_log_line(snippet: Snippet) -> None:
    (line,) = log_lines(
        [TurnStopped(turn=2, agent=AgentName("Writer"), user_id=UserId("ana"), by="stop")], ""
    )
    record = logging.LogRecord("x", logging.INFO, "x", 1, line.message, (), None)
    record.__dict__ |= line.fields
    with log_context(
        app="acme", chat="0c5b3a9e-1", user=user_hash("acme", "ana"), run="52f0c1aa-9"
    ):
        written = Lines("orchestrator").format(record)
    assert written.split(" ", 2)[2] == snippet.text.strip().split(" ", 2)[2]


def check_mongosh(snippet: Snippet) -> None:
    store = "".join(
        path.read_text() for path in (ROOT / "services/persistence/store").rglob("*.py")
    )
    for collection in re.findall(r"\bdb\.(\w+)\.", snippet.text):
        name = re.sub(r"^(workflow_stats_)\w+", r"\1", collection)  # one for each app and workflow
        assert f'"{name}"' in store, collection


def check_question_metadata(snippet: Snippet) -> None:
    """The metadata of the business event about a question that waits for an approval."""
    shown = json.loads(snippet.text)
    links = AnswerLinks(b"s" * 32, "https://chat.example.com", timedelta(days=7))
    update = {
        "approval": Approval(tool=shown["tool"], digest=shown["digest"]),
        "audience": Audience(roles=["finance"]),
        "send_links": True,
    }
    question = asked().model_copy(update=update)
    state = given(STARTED, speaks()).state
    (event,) = QuestionNotices(links).asked(question, KEY, state, NOON)
    assert isinstance(event, BusinessLogged)
    assert event.metadata.keys() == shown.keys()
    assert event.metadata["links"][0].keys() == shown["links"][0].keys()


def check_prometheus_config(snippet: Snippet) -> None:
    """Ports, pages and the file of rules are those of the product."""
    told = yaml.safe_load(snippet.text)
    assert all((ROOT / file).is_file() for file in told["rule_files"])
    for job in told["scrape_configs"]:
        assert job.get("metrics_path", "/metrics") in PROBES | METRICS_ROUTES
        for target in job["static_configs"][0]["targets"]:
            assert int(target.rpartition(":")[2]) in PORTS


def check_drill_output(snippet: Snippet) -> None:
    """The lines that a drill prints, with other numbers."""
    now = datetime(2026, 11, 26, tzinfo=UTC)
    manifest = Manifest(format=1, layout=4, began_at=now, ended_at=now, files=())
    printed = report(manifest, Restored(), Verified(), 1.5, 2.5, now)
    assert without_numbers(snippet.text) == without_numbers(printed)


def without_numbers(text: str) -> str:
    return re.sub(r"\d[\d.:-]*", "#", text).strip()


CHECKS: Mapping[tuple[str, str], Callable[[Snippet], None]] = {
    ("sh", ""): check_commands,
    ("python", ""): check_python,
    ("python", "docs/examples/subscribe.py"): check_python,
    ("python", "test_postcard.py"): check_workflow_test,
    ("json", "frame"): check_frame,
    ("json", "client message"): check_client_message,
    ("json", "event business.logged"): check_event,
    ("json", "message business.milestone"): check_milestone,
    ("json", "metadata of question.waiting"): check_question_metadata,
    ("json", "answer of GET /ready"): check_ready_answer,
    ("text", "output of make run"): check_make_run_output,
    ("text", "log line"): check_log_line,
    ("text", "output of mozaiks drill"): check_drill_output,
    ("javascript", "mongosh"): check_mongosh,
    ("yaml", "prometheus.yaml"): check_prometheus_config,
}
"""By language and title. A new kind of block needs a check here."""


def is_workflow_file(snippet: Snippet) -> bool:
    return WORKFLOW_FILE.fullmatch(snippet.title) is not None


@pytest.mark.parametrize(
    "snippet",
    [s for s in SNIPPETS if not is_workflow_file(s) and s.title not in PLAYED],
    ids=str,
)
def test_a_code_block_is_true(snippet: Snippet) -> None:
    check_block = CHECKS.get((snippet.language, snippet.title))
    assert check_block is not None, (
        f"{snippet}: no check for a block of {snippet.language or 'no language'} "
        f"titled {snippet.title!r}; add one to CHECKS, or give the block a known title"
    )
    check_block(snippet)


def workflow_folders() -> list[tuple[str, str]]:
    """Each workflow that a page shows: the page and the workflow's name."""
    found = [(s.page, WORKFLOW_FILE.fullmatch(s.title)) for s in SNIPPETS]
    return sorted({(page, match[1]) for page, match in found if match})


def write_workflow(page: str, name: str, folder: Path) -> Path:
    """The files of a workflow as a page shows them; the folder that holds it."""
    shown: dict[str, list[str]] = defaultdict(list)
    for snippet in SNIPPETS:
        match = WORKFLOW_FILE.fullmatch(snippet.title)
        if snippet.page == page and match and match[1] == name:
            shown[match[2]].append(snippet.text)
    for path, texts in shown.items():
        assert len(texts) == 1, f"{page} shows {path} of {name} twice"
        target = folder / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(texts[0])
    return folder / name


@pytest.mark.parametrize(("page", "name"), workflow_folders())
def test_a_workflow_of_a_page_validates_and_its_tools_load(
    page: str, name: str, tmp_path: Path
) -> None:
    ran = CliRunner().invoke(
        author_commands, ["validate", str(write_workflow(page, name, tmp_path))]
    )
    printed = ran.output
    assert ran.exit_code == 0, printed
    assert printed.endswith("1 workflow, 0 errors, 0 warnings\n"), printed


def test_the_readme_and_getting_started_show_the_same_bakery() -> None:
    def shown(page: str) -> dict[str, str]:
        return {s.title: s.text for s in SNIPPETS if s.page == page and is_workflow_file(s)}

    readme, longer = shown("README.md"), shown("docs/getting_started.md")
    same = {title for title in readme if not title.endswith("demo.json")}
    assert len(same) == 3
    assert {t: readme[t] for t in same} == {t: longer[t] for t in same}


def test_every_fence_is_read_as_a_snippet() -> None:
    """A fence that the parser does not see would escape every check."""
    for page in pages():
        fences = len(re.findall(r"^ *(?:```|~~~)", page.text, re.MULTILINE))
        assert fences == 2 * len(page.snippets), page.path


@pytest.mark.parametrize(
    "text",
    ["```rust\nfn main() {}\n```\n", '```json\n{"a": 1}\n```\n', "```\nwhat is this\n```\n"],
)
def test_a_block_of_an_unknown_kind_has_no_check(text: str) -> None:
    (snippet,) = Page("docs/new.md", text).snippets
    assert (snippet.language, snippet.title) not in CHECKS
