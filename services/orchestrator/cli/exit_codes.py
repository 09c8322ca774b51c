"""The exit codes of `mozaiks`, the same for every command."""

from typing import NoReturn

import typer

FAILED = 1
"""It was done, and something is wrong: a workflow is invalid, a test or a chat failed, data differ."""
USAGE = 2
"""The arguments are wrong; nothing was done. It is the code of Typer as well."""
UNAVAILABLE = 3
"""A server does not answer, or what is needed is not installed."""
INTERRUPTED = 130
"""Ctrl-C: 128 and the number of SIGINT, as in a shell."""


def fail(why: str, code: int = FAILED) -> NoReturn:
    """End the command with the reason on the error output. Raises typer.Exit."""
    typer.echo(why, err=True)
    raise typer.Exit(code)
