"""The commands of `mozaiks`: what they print, and their exit codes."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner, Result

from services.orchestrator.cli import workflow_folders
from services.orchestrator.cli.__main__ import app
from services.orchestrator.cli.embedded import embedded_environment
from services.orchestrator.domain.workflow_graph import graph_of
from services.orchestrator.workflows.loading import LoadedWorkflow, load

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"
SAMPLES = ["Brainstorm", "Debate", "Generator", "Helpdesk", "HelloWorld", "Postcard"]
WORKFLOW: dict[str, Any] = {"workflow_name": "Bakery", "orchestration_pattern": "round_robin"}
AGENTS: dict[str, Any] = {"agents": {"Counter": {}, "Oven": {}}}
TOOL = {"agent": "Counter", "file": "till.py", "function": "sell"}


def mozaiks(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def write(folder: Path, **sections: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, content in {"workflow": WORKFLOW, "agents": AGENTS, **sections}.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def test_validate_reports_everything_and_fails_on_errors(tmp_path: Path) -> None:
    write(tmp_path / "Bakery")
    write(tmp_path / "Mill", workflow={**WORKFLOW, "workflow_name": "Mill", "max_turn": 3})
    found = mozaiks("validate", str(tmp_path))
    assert found.exit_code == 1
    assert "Bakery: ok" in found.output
    assert "did you mean: max_turns?" in found.output
    assert "2 workflows, 1 error, 0 warnings" in found.output


def test_validate_accepts_one_workflow_and_succeeds_with_warnings(tmp_path: Path) -> None:
    variables = {"definitions": {"menu": {"source": {"type": "external"}}}}
    found = mozaiks("validate", str(write(tmp_path / "Bakery", context_variables=variables)))
    assert found.exit_code == 0
    assert "1 workflow, 0 errors, 1 warning" in found.output


HOOK = {
    "hook_type": "update_agent_state",
    "hook_agent": "Counter",
    "filename": "till.py",
    "function": "greet",
}
BROKEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "a tool that is no function": (
        {"tools": {"tools": [TOOL]}},
        "sell = 1\n",
        "has no function sell",
    ),
    "a tool without a schema": (
        {"tools": {"tools": [TOOL]}},
        "def sell(**more): ...\n",
        "**more has no schema",
    ),
    "a tool with a list of arguments": (
        {"tools": {"tools": [TOOL]}},
        "def sell(*breads): ...\n",
        "*breads has no schema",
    ),
    "a tool that takes no names": (
        {"tools": {"tools": [TOOL]}},
        "def sell(bread, /, count=1): ...\n",
        "bread is positional-only",
    ),
    "a hook that takes less than it is given": (
        {"hooks": {"hooks": [{**HOOK, "hook_type": "process_message_before_send"}]}},
        "def greet(message): ...\n",
        "is called with (sender, message, recipient, silent): too many positional arguments",
    ),
    "a hook that wants more than it is given": (
        {"hooks": {"hooks": [HOOK]}},
        "def greet(agent, messages, chat): ...\n",
        "is called with (agent, messages): missing a required argument: 'chat'",
    ),
    "a hook that is missing": (
        {"hooks": {"hooks": [HOOK]}},
        "",
        "hooks.json",
    ),
    "a lifecycle tool that is missing": (
        {
            "tools": {
                "tools": [],
                "lifecycle_tools": [
                    {"trigger": "before_chat", "file": "till.py", "function": "open_shop"}
                ],
            }
        },
        "",
        "has no function open_shop",
    ),
    "an import that is missing": (
        {"tools": {"tools": [TOOL]}},
        "from .prices import PRICES\ndef sell(): ...\n",
        "No module named 'prices'",
    ),
    "a provider without a key": (
        {
            "agents": {
                "agents": {
                    "Counter": {"llm_config": {"provider": "mistral", "model": "m"}},
                    "Oven": {},
                }
            }
        },
        "",
        "MISTRAL_API_KEY is not set",
    ),
}


@pytest.mark.parametrize(("sections", "code", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_validate_says_what_the_orchestrator_will_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    code: str,
    message: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    folder = write(tmp_path / "Bakery", **sections)
    (folder / "till.py").write_text(code)
    found = mozaiks("validate", str(folder))
    assert found.exit_code == 1
    assert message in " ".join(found.output.split())
    assert "mozaiks_tools_" not in found.output


def test_validate_without_a_workflow_fails(tmp_path: Path) -> None:
    assert mozaiks("validate", str(tmp_path)).exit_code == 1


@pytest.mark.parametrize("command", ["validate", "graph", "test"])
def test_a_folder_that_does_not_exist_is_a_wrong_argument_with_the_nearest_name(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "Bakery")
    monkeypatch.setattr(workflow_folders, "ROOT", tmp_path)
    found = mozaiks(command, "Bakerry")
    assert found.exit_code == 2
    assert "Bakerry" in found.output
    assert "did you mean Bakery?" in found.output


@pytest.mark.parametrize("command", ["validate", "graph"])
def test_a_workflow_may_be_named_instead_of_its_folder(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "Bakery")
    monkeypatch.setattr(workflow_folders, "ROOT", tmp_path)
    assert mozaiks(command, "Bakery").exit_code == 0


def test_a_new_workflow_has_no_problems_and_passes_its_test_and_is_created_once(
    tmp_path: Path,
) -> None:
    assert mozaiks("new", "Bakery", "--path", str(tmp_path)).exit_code == 0
    assert "1 workflow, 0 errors, 0 warnings" in mozaiks("validate", str(tmp_path)).output
    tested = subprocess.run(
        [sys.executable, "-m", "services.orchestrator.cli", "test", str(tmp_path / "Bakery")],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (tested.returncode, "1 passed" in tested.stdout) == (0, True), tested.stdout
    assert mozaiks("new", "bakery", "--path", str(tmp_path)).exit_code == 2
    assert mozaiks("new", "../Mill", "--path", str(tmp_path)).exit_code == 2


def test_a_graph_shows_speakers_and_handoffs(tmp_path: Path) -> None:
    rules = [
        {"source_agent": "Counter", "target_agent": "user", "handoff_type": "after_work"},
        {
            "source_agent": "Counter",
            "target_agent": "Oven",
            "handoff_type": "condition",
            "condition_type": "llm",
            "condition": 'The visitor says "bake"',
        },
    ]
    folder = write(
        tmp_path / "Bakery",
        workflow={**WORKFLOW, "orchestration_pattern": "default"},
        handoffs={"handoff_rules": rules},
    )
    found = mozaiks("graph", str(folder))
    assert found.exit_code == 0
    assert found.output.splitlines() == [
        "flowchart TD",
        '  n0["Counter"]',
        '  n1["Oven"]',
        "  n2([user])",
        '  n0 -. "The visitor says #34;bake#34;" .-> n1',
        "  n0 --> n2",
    ]


def test_a_graph_shows_the_choice_of_a_pattern(tmp_path: Path) -> None:
    found = mozaiks("graph", str(write(tmp_path / "Bakery")))
    assert found.output.splitlines() == [
        "flowchart TD",
        '  n0["Counter"]',
        '  n1["Oven"]',
        "  n2{{RoundRobinPattern}}",
        "  n0 --> n2",
        "  n1 --> n2",
        "  n2 -.-> n0",
        "  n2 -.-> n1",
    ]


@pytest.mark.parametrize("name", SAMPLES)
def test_an_svg_has_every_speaker_and_an_arrow_of_its_own_for_each_handoff(name: str) -> None:
    loaded = load(ROOT / "workflows" / name)
    assert isinstance(loaded, LoadedWorkflow)
    graph = graph_of(loaded.workflow)
    found = mozaiks("graph", str(ROOT / "workflows" / name), "--svg")
    drawn = ElementTree.fromstring(found.output)
    texts = [one.text for one in drawn.iter(f"{SVG}text")]
    assert [node.name for node in graph.nodes] == texts[: len(graph.nodes)]
    paths = [one.attrib["d"] for one in drawn.findall(f"{SVG}path")]
    assert len(paths) == len(graph.edges)
    starts_and_ends = [
        height
        for path in paths
        for height in (path.partition("H")[0].split()[1], path.rpartition("H")[0].split()[-1])
    ]
    assert len(set(starts_and_ends)) == 2 * len(graph.edges)
    labels = [one.attrib["y"] for one in drawn.iter(f"{SVG}text") if one.get("class") == "label"]
    assert len(set(labels)) == len(labels) == sum(bool(edge.label) for edge in graph.edges)


def test_a_condition_of_any_characters_is_drawn(tmp_path: Path) -> None:
    rule = {"source_agent": "Counter", "target_agent": "Oven", "condition_type": "llm"}
    condition = 'a < b & "c" ' + "条件" * 100
    rules = [{**rule, "handoff_type": "condition", "condition": condition}]
    folder = write(tmp_path / "Bakery", handoffs={"handoff_rules": rules})
    file = tmp_path / "drawings" / "bakery.svg"
    assert mozaiks("graph", str(folder), "-o", str(file)).exit_code == 0
    drawn = ElementTree.fromstring(file.read_text())
    assert [one.text for one in drawn.iter(f"{SVG}title")] == [condition]
    labels = [one.text for one in drawn.iter(f"{SVG}text") if one.get("class") == "label"]
    assert [len(one or "") for one in labels] == [60]


def test_a_file_that_cannot_be_written_is_a_wrong_argument(tmp_path: Path) -> None:
    found = mozaiks("graph", str(write(tmp_path / "Bakery")), "-o", str(tmp_path))
    assert found.exit_code == 2
    assert "--output" in found.output


def test_a_workflow_that_does_not_load_has_no_graph(tmp_path: Path) -> None:
    found = mozaiks("graph", str(write(tmp_path / "Bakery", agents={})))
    assert found.exit_code == 1


def test_a_chat_without_a_product_fails_with_its_address_and_what_to_do() -> None:
    found = mozaiks("run", "Bakery", "--address", "http://127.0.0.1:1")
    assert found.exit_code == 3
    assert "no product answers at http://127.0.0.1:1" in found.output
    assert "make run" in found.output
    assert "--embedded" in found.output


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "an address that is none": (("--address", "bakery"), "--address: 'bakery'"),
    "a port that is none": (("--address", "http://h:many"), "--address: 'http://h:many'"),
    "a chat in an embedded product": (("--embedded", "--chat", "c"), "--chat"),
    "an address with the demo model": (("--demo", "--address", "http://h"), "--address"),
    "two models": (("--demo", "--model", "m"), "--model, --demo"),
    "a model without a provider": (("--model", "m"), "OPENAI_API_KEY"),
    "an unknown option": (("--modell", "m"), "No such option"),
    "an unknown workflow": (("--demo",), "did you mean Bakery?"),
}


@pytest.mark.parametrize(("options", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_run_does_not_accept_is_refused_by_name_before_anything_starts(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "Bakery")
    monkeypatch.setattr(workflow_folders, "ROOT", tmp_path)
    for name in ("OPENAI_API_KEY", "DEFAULT_LLM_PROVIDER"):
        monkeypatch.delenv(name, raising=False)
    name = "Bakerry" if message.startswith("did you mean") else "Bakery"
    found = mozaiks("run", name, *options)
    assert found.exit_code == 2
    assert message in found.output


def test_an_embedded_product_is_not_started_for_a_workflow_that_does_not_load(
    tmp_path: Path,
) -> None:
    found = mozaiks("run", str(write(tmp_path / "Bakery", agents={})), "--demo")
    assert found.exit_code == 1
    assert "agents.json" in found.output


def test_the_address_of_the_environment_is_no_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOZAIKS_ADDRESS", "http://127.0.0.1:1")
    found = mozaiks("run", str(write(tmp_path / "Bakery", agents={})), "--demo")
    assert "--address" not in found.output


def test_the_environment_of_an_embedded_product_has_no_servers_ports_or_keys_of_others(
    tmp_path: Path,
) -> None:
    given = {
        "NATS_URL": "nats://theirs",
        "MONGODB_URI": "mongodb://theirs",
        "ORCHESTRATOR_PORT": "8002",
        "OPENAI_API_KEY": "sk",
        "LOG_LEVEL": "DEBUG",
    }
    with_model = embedded_environment(given, tmp_path, model="m", demo=False)
    with_demo = embedded_environment(given, tmp_path, model=None, demo=True)
    assert with_model["DEFAULT_LLM_MODEL"] == "m"
    assert with_model["OPENAI_API_KEY"] == "sk"
    assert "OPENAI_API_KEY" not in with_demo
    for found in (with_model, with_demo):
        assert (found["PORT"], found["NATS_PORT"]) == ("0", "0")
        assert found["LOG_LEVEL"] == "DEBUG"
        assert not {"NATS_URL", "MONGODB_URI", "ORCHESTRATOR_PORT"} & found.keys()


def test_every_command_has_help_and_names_the_exit_codes() -> None:
    found = mozaiks("--help")
    assert found.exit_code == 0
    for name in ("new", "validate", "run", "graph", "test", "record", "show", "audit", "streams"):
        assert f" {name} " in found.output
        assert mozaiks(name, "--help").exit_code == 0
    assert "Exit codes" in found.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_names_of_workflows(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "Bakery")
    write(tmp_path / "Mill")
    monkeypatch.setattr(workflow_folders, "ROOT", tmp_path)

    def completed(line: str) -> str:
        environment = {
            "_MOZAIKS_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        ran = CliRunner().invoke(app, prog_name="mozaiks", env=environment)
        assert ran.stderr == ""
        return ran.stdout

    assert "validate" in completed("mozaiks val")
    found = completed("mozaiks run B")
    assert "Bakery" in found
    assert "Mill" not in found
    assert "--watch" in completed("mozaiks validate --w")
    assert "redrive" in completed("mozaiks dead-letters re")


DEAD_LETTERS = "services.chassis.dead_letters.__main__"
PROGRAMS: list[tuple[str, str, list[str]]] = [
    ("audit", "services.orchestrator.audit", []),
    ("verify", "services.persistence.verify", []),
    ("import-chats", "services.persistence.import_chats", []),
    ("runtime-log export", "services.persistence.runtime_log", []),
    *(
        (f"dead-letters {name}", DEAD_LETTERS, [name])
        for name in ("list", "redrive", "drop", "show")
    ),
]


@pytest.mark.parametrize(("words", "module", "arguments"), PROGRAMS)
def test_a_command_of_a_service_has_the_options_of_its_program(
    words: str,
    module: str,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`mozaiks` checks and completes them; the program executes them."""
    command: Any = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    ours = {name for one in command.params for name in one.opts if name.startswith("--")}
    program = find_spec(module)
    assert program is not None
    assert program.origin is not None
    monkeypatch.setattr(sys, "argv", [module, *arguments, "--help"])
    with pytest.raises(SystemExit):
        run_path(program.origin, run_name="__main__")
    theirs = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    assert theirs == ours


def test_a_command_of_a_service_ends_with_the_code_of_its_program() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "services.orchestrator.cli", "dead-letters", "list", "--limit", "1"],
        env={"PYTHONPATH": str(ROOT), "NATS_URL": "nats://127.0.0.1:1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 3
    assert "nats://127.0.0.1:1" in ran.stderr
