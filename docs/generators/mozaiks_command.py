"""The page of the command `mozaiks`: its commands, their arguments and options, its exit codes."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from services.orchestrator.cli import exit_codes
from services.orchestrator.cli.__main__ import app
from services.orchestrator.cli.workflow_folders import DEFAULT

PAGE = Path(__file__).parents[1] / "reference" / "mozaiks_command.md"
_HEAD = """# The mozaiks command

One command for authors of workflows and for operators. `make setup` writes it to `.venv/bin/mozaiks`; in a shell with that folder on
its `PATH` (`. .venv/bin/activate`) it is `mozaiks`, as on these pages. `python -m services.orchestrator.cli` is the same, from the
repository's folder. `mozaiks --help` lists the commands, and each command has its own `--help`.

Commands read the [settings](../runtime/configuration_reference.md) of the services from the environment: `WORKFLOWS_PATH` for those
on workflows, `NATS_URL` (and `MONGODB_URI`) for those on chats and operations. `run`, `export` and `chats` call the transport over HTTP:
`MOZAIKS_ADDRESS` and `MOZAIKS_TOKEN` are its address and an access token.

`mozaiks --install-completion` teaches the shell (bash, zsh, fish) to complete commands, options and names of workflows.

What only the build or `make run` calls are modules, each behind a target of the Makefile: `infra` (`make run`), `contracts.schema`
and `services.orchestrator.workflows` (`make schemas`), `contracts.compatibility` (`make check`), `docs.generators` (`make reference`,
`make docs`, `make diagrams`), `benchmarks` (`make bench`) and `tests.chaos` (`make chaos`). The services themselves are
`services.transport`, `services.orchestrator`, `services.persistence` and `services.metrics`.
"""
_CODES = {
    "0": "Done; also a chat that completed, or that the user left.",
    str(
        exit_codes.FAILED
    ): "It was done, and something is wrong: a workflow does not load, a test or a chat failed, data differ.",
    str(exit_codes.USAGE): "The arguments are wrong; nothing was done.",
    str(exit_codes.UNAVAILABLE): "A server does not answer, or something is not installed.",
    str(exit_codes.INTERRUPTED): "Ctrl-C.",
}


def text() -> str:
    lines = [_HEAD, "## Exit codes\n", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in _CODES.items()]
    for words, command in _commands("mozaiks", typer.main.get_command(app)):
        lines += _section(words, command)
    return "\n".join(lines) + "\n"


def _commands(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands, those of groups included, in the order of the help."""
    if not hasattr(command, "commands"):
        yield words, command
        return
    for name, one in command.commands.items():
        yield from _commands(f"{words} {name}", one)


def _section(words: str, command: Any) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    usage = " ".join([words, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])])
    yield f"\n## {words}\n"
    yield f"```sh\n{usage}\n```\n"
    yield "\n".join(inspect.cleandoc(command.help or "").splitlines())
    if command.params:
        yield "\n| argument | meaning | default |"
        yield "|---|---|---|"
        yield from (_row(one) for one in [*arguments, *options])


def _usage(argument: Any) -> str:
    name = f"{argument.name.upper()}{' ...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def _row(one: Any) -> str:
    is_option = one.param_type_name == "option"
    name = ", ".join(f"`{word}`" for word in one.opts) if is_option else one.name.upper()
    variable = f" Environment: `{one.envvar}`." if one.envvar else ""
    return f"| {name} | {one.help or ''}{variable} | {_default(one)} |"


def _default(one: Any) -> str:
    if one.required:
        return "required"
    shown = one.show_default if isinstance(one.show_default, str) else one.default
    if shown in (None, False, ""):
        return ""
    return str(shown) if one.show_default == DEFAULT else f"`{shown}`"
