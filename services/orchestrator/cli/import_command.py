"""`mozaiks import`: copy a workflow of the predecessor into the folder of all workflows."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.orchestrator.cli.exit_codes import FAILED, USAGE, fail
from services.orchestrator.cli.workflow_folders import DEFAULT, ROOT

if TYPE_CHECKING:
    from services.orchestrator.workflows.migration.importing import ImportReport

app = typer.Typer()


@app.command("import", rich_help_panel="Workflows")
def import_folder(
    folder: Annotated[Path, typer.Argument(help="The folder of a workflow of the predecessor.")],
    to: Annotated[
        Path, typer.Option(help="The folder of all workflows.", show_default=DEFAULT)
    ] = ROOT,
    name: Annotated[
        str | None, typer.Option(help="The workflow's new name, and that of its folder.")
    ] = None,
) -> None:
    """Copy a workflow of the predecessor, rewritten for this product.

    Lists what was changed, what is left out, and what you have to decide. Nothing is overwritten.
    Loads the files of tools and hooks, which executes them.
    """
    from services.orchestrator.cli.models import configured
    from services.orchestrator.cli.validation import check
    from services.orchestrator.workflows.manifest.diagnostics import Problem
    from services.orchestrator.workflows.migration.importing import (
        ImportRefusedError,
        InvalidManifestsError,
        import_workflow,
    )

    models = configured()

    def problems(draft: Path) -> Sequence[Problem]:
        return [one for found in check(draft, models, os.environ) for one in found.diagnostics]

    try:
        report = import_workflow(folder, to, name, problems)
    except InvalidManifestsError as error:
        fail(str(error), FAILED)
    except (ImportRefusedError, OSError) as error:
        fail(str(error), USAGE)
    for line in _lines(report):
        typer.echo(line)


def _lines(report: "ImportReport") -> Iterator[str]:
    yield f"imported {report.files} files into {report.folder}"
    yield from _listed("changed", report.changed)
    yield from _listed("read otherwise, or left out, as by the predecessor", report.left_out)
    yield from _listed("to be decided by you", report.decisions)


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)
