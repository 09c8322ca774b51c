"""What a command writes: into a file, or onto its output."""

from pathlib import Path

import typer

from services.orchestrator.cli.exit_codes import USAGE, fail


def write(text: str, output: Path | None) -> None:
    """Write the text into the file, else onto the output. Ends the command with USAGE if it cannot."""
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    except OSError as error:
        fail(f"--output: {error}", USAGE)
