"""The commands of `mozaiks` that work on the files of workflows: new, validate, graph, test."""

import os
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Annotated

import typer

from services.orchestrator.cli.exit_codes import FAILED, INTERRUPTED, UNAVAILABLE, USAGE, fail
from services.orchestrator.cli.output import write
from services.orchestrator.cli.workflow_folders import DEFAULT, ROOT, Folder, OneWorkflow, existing

app = typer.Typer()
_PANEL = "Workflows"
_PYTEST_INTERRUPTED = 2


@app.command(rich_help_panel=_PANEL)
def new(
    name: Annotated[str, typer.Argument(help="The workflow's name, and that of its folder.")],
    path: Annotated[
        Path, typer.Option(help="The folder of all workflows.", show_default=DEFAULT)
    ] = ROOT,
) -> None:
    """Create a workflow that runs on the demo model, with a test."""
    from services.orchestrator.workflows.scaffold import ScaffoldError, create_workflow

    try:
        folder = create_workflow(name, path)
    except (ScaffoldError, OSError) as error:
        fail(str(error), USAGE)
    typer.echo(f"created {folder}")
    typer.echo(f"  mozaiks test {name}        plays its tests")
    typer.echo(f"  mozaiks run {name}         talks to it, if the product runs (make run)")
    typer.echo(f"  mozaiks run {name} --demo  starts a product for that, and talks to it")


@app.command(rich_help_panel=_PANEL)
def validate(
    path: Folder = ROOT,
    *,
    watch_files: Annotated[
        bool, typer.Option("--watch", help="Check again whenever a file changes, until Ctrl-C.")
    ] = False,
) -> None:
    """Report every problem of workflows at once.

    Each with its file, its place, the accepted values and the likely intention. Loads the files of
    tools and hooks, which executes them. The exit code is 1 where a workflow cannot be loaded.
    """
    folder = existing(path)
    is_loadable = _validated(folder)
    if watch_files:
        from watchfiles import watch

        typer.echo("watching; Ctrl-C ends it")
        for _ in watch(folder, raise_interrupt=False):
            typer.echo(f"\n{datetime.now().astimezone():%H:%M:%S}")
            is_loadable = _validated(folder)
    if not is_loadable:
        raise typer.Exit(FAILED)


def _validated(path: Path) -> bool:
    from services.orchestrator.cli.models import configured
    from services.orchestrator.cli.validation import check, report
    from services.orchestrator.workflows.loading import BrokenWorkflow

    checked = check(path, configured(), os.environ)
    if not checked:
        fail(f"{path}: contains no workflow (a folder with a workflow.json or orchestrator.yaml)")
    _print(report(checked))
    return not any(isinstance(one, BrokenWorkflow) for one in checked)


def _print(lines: Iterable[str]) -> None:
    """The lines, with their severities in colours on a terminal."""
    from rich.console import Console
    from rich.highlighter import RegexHighlighter
    from rich.theme import Theme

    class Severities(RegexHighlighter):
        highlights = (
            r"^  (?P<error>error) ",
            r"^  (?P<warning>warning) ",
            r": (?P<ok>ok)$",
            r" (?P<error>[1-9]\d* errors?)",
            r" (?P<warning>[1-9]\d* warnings?)",
        )

    theme = Theme({"error": "bold red", "warning": "yellow", "ok": "green"})
    console = Console(theme=theme, highlighter=Severities(), soft_wrap=True)
    for line in lines:
        console.print(line, markup=False, emoji=False)


@app.command(rich_help_panel=_PANEL)
def graph(
    workflow: OneWorkflow,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else it is printed.")
    ] = None,
    *,
    as_svg: Annotated[
        bool, typer.Option("--svg", help="An SVG; as well where the file's name ends in .svg.")
    ] = False,
) -> None:
    """Draw agents and handoffs, as a Mermaid flowchart or as an SVG."""
    from services.orchestrator.cli.mermaid import mermaid
    from services.orchestrator.cli.svg import svg
    from services.orchestrator.domain.workflow_graph import graph_of
    from services.orchestrator.workflows.loading import BrokenWorkflow, load

    loaded = load(existing(workflow), os.environ)
    if isinstance(loaded, BrokenWorkflow):
        fail("\n".join(loaded.problems))
    draw = svg if as_svg or (output is not None and output.suffix == ".svg") else mermaid
    write(draw(graph_of(loaded.workflow)), output)


@app.command("test", rich_help_panel=_PANEL)
def run_tests(
    path: Folder = ROOT,
    *,
    keyword: Annotated[
        str, typer.Option("-k", help="Only tests whose names match, as pytest's -k.")
    ] = "",
    update: Annotated[
        bool, typer.Option("--update", help="Write what is played into cassettes that differ.")
    ] = False,
) -> None:
    """Run the tests of workflows: the files test_*.py in the folder tests/ of each."""
    if find_spec("pytest") is None:
        fail("pytest is not installed", UNAVAILABLE)
    folder = existing(path)
    is_one = (folder / "tests").is_dir()
    folders = [folder / "tests"] if is_one else sorted(folder.glob("*/tests"))
    if not folders:
        fail(f"{folder}: no workflow has a folder tests/")
    with NamedTemporaryFile("w", suffix=".ini") as configuration:
        # The tests of workflows are no tests of a project that may be around them.
        configuration.write("[pytest]\n")
        configuration.flush()
        options = ["-c", configuration.name, "--rootdir", str(folder), "--import-mode=importlib"]
        options += ["-k", keyword] if keyword else []
        plugins = ["-p", "services.orchestrator.testkit.plugin", "-p", "no:cacheprovider"]
        plugins += ["-p", "no:asyncio", "-p", "no:anyio"]  # the plugin runs coroutines itself
        updating = ["--update-cassettes"] if update else []
        command = [sys.executable, "-m", "pytest", "-q", *options, *plugins, *updating]
        code = subprocess.run([*command, *map(str, folders)], check=False).returncode  # noqa: S603
    if code:
        raise typer.Exit(INTERRUPTED if code == _PYTEST_INTERRUPTED else FAILED)
